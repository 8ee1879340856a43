"""Runs the events of a queue when they are due, and sees to it that each has an end.

An event ends when its function has succeeded, or when the rules give it up. Its end is told to
whoever is configured; a failure that nobody is told of is kept as a dead event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sandbox.clock import Clock
from sandbox.errors import FnboxError
from sandbox.invocation import Invocation, Outcome
from sandbox.metrics import Metrics
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import rules
from sandbox.queue.lanes import Lanes
from sandbox.queue.outbox import Outbox
from sandbox.queue.records import messages
from sandbox.queue.rules import SUCCESS, Again, Ending, Policy
from sandbox.queue.store import Event, EventQueue

_log = logging.getLogger(__name__)


class Dispatcher:
    """Runs events through `run`, as InvokeService.invoke does, until it is closed."""

    def __init__(
        self,
        queue: EventQueue,
        outbox: Outbox,
        run: Callable[[Invocation], Outcome],
        policy: Callable[[FunctionReference, str | None], Policy],
        clock: Clock,
        metrics: Metrics,
        *,
        parallel: int = 32,
        retry_scale: float = 1.0,
    ) -> None:
        """At most `parallel` events run at once; `retry_scale` multiplies all delays.

        `policy(reference, executed_version)` is asked whenever something is to be decided.
        """
        self._queue = queue
        self._outbox = outbox
        self._invoke = run
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._scale = retry_scale
        self._lanes: Lanes[FunctionKey, Event] = Lanes(
            queue.lease, self._run, clock, parallel=parallel, name="dispatcher"
        )

    def __repr__(self) -> str:
        running, waiting = self._lanes.census()
        return f"<Dispatcher running={running} functions_waiting={waiting}>"

    @property
    def running(self) -> int:
        return self._lanes.running

    def start(self) -> None:
        """Begin, with the events that an earlier run left in the queue."""
        self._queue.on_put(self._lanes.note)
        self._lanes.start(self._queue.due().items())

    def wake(self) -> None:
        """Look at the clock again: for tests that move it."""
        self._lanes.wake()

    def close(self, timeout: float) -> bool:
        """Start no more events, wait `timeout` seconds for those that run; True when all ended.

        Those that did not end stay leased and run again after the next start.
        """
        return self._lanes.close(timeout)

    def _run(self, event: Event) -> float | None:
        """Run an event once; when it is due again, None when it has ended."""
        reference = event.invocation.reference
        policy = self._policy(reference, None)
        ending = rules.before(event, policy, self._age(event))
        if ending is None:
            result = self._attempt(event)
            if isinstance(result, Outcome):
                policy = self._policy(reference, result.executed_version)
            else:
                policy = self._policy(reference, None)
            step = rules.after(event, policy, self._age(event), result)
            if isinstance(step, Again):
                due_at = self._clock.wall() + step.delay * self._scale
                self._queue.release(event, due_at, refused=step.refused)
                self._metrics.events_retried.inc()
                return due_at
            ending = step
        self._end(event, ending, policy)
        return None

    def _attempt(self, event: Event) -> Outcome | Exception:
        self._metrics.event_age.observe(self._clock.wall() - event.enqueued_at)
        trace = event.invocation.trace
        trace.attempt = event.attempts
        if event.attempts == 1:
            trace.enqueued_at = event.enqueued_at
        try:
            return self._invoke(event.invocation)
        except FnboxError as error:
            return error
        except Exception as error:  # noqa: BLE001 - this is the thread's top
            _log.exception("%r met a defect", event)
            return error

    def _end(self, event: Event, ending: Ending, policy: Policy) -> None:
        told = messages(event, ending, policy, self._clock.wall())
        failed = ending.condition != SUCCESS
        self._outbox.end(event, ending, told, lost=failed and not told)
        if failed:
            _log.warning("%r is given up: %s: %s", event, ending.condition, ending.message)
            self._metrics.events_dropped.labels(ending.condition).inc()

    def _age(self, event: Event) -> float:
        return rules.age(event, self._clock.wall(), self._scale)
