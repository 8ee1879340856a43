"""Runs the events of a queue when they are due.

One thread decides: it wakes when an event is put, when one has run and when the next is due, and
sleeps otherwise. Each event runs in a thread of its own, a bounded number at once, of which no
function may take all: a backlog of one does not keep the events of another waiting.

When to try again is Lambda's rule for asynchronous invocation: a function that fails runs twice
more, after one and two minutes; a call that is refused, or that the platform fails, is put off
from one second up to five minutes; what has not succeeded six hours after its acceptance is
given up. https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from sandbox.clock import Clock
from sandbox.errors import CallerError, Conflict, FnboxError, StorageError, TooManyRequests
from sandbox.invocation import Invocation, Outcome
from sandbox.names import FunctionKey
from sandbox.queue.store import Event, EventQueue

RETRY_DELAYS = (60.0, 120.0)
"""Seconds before a function that failed runs again."""
BACK_OFF = (1.0, 300.0)
"""Seconds before a call that was refused is tried again: at first, and at most."""
MAXIMUM_ATTEMPTS = 1 + len(RETRY_DELAYS)
MAXIMUM_AGE = 21_600.0
"""Seconds after which an event is given up."""

_log = logging.getLogger(__name__)


class Again(NamedTuple):
    """An event is to run again."""

    delay: float
    """Seconds from now."""
    refused: bool
    """Whether this run does not count as an attempt."""


class Dispatcher:
    """Runs events through `run`, as InvokeService.invoke does, until it is closed."""

    def __init__(
        self,
        queue: EventQueue,
        run: Callable[[Invocation], Outcome],
        clock: Clock,
        *,
        parallel: int = 32,
        retry_scale: float = 1.0,
    ) -> None:
        """At most `parallel` events run at once; `retry_scale` multiplies all delays."""
        self._queue = queue
        self._invoke = run
        self._clock = clock
        self._parallel = parallel
        self._scale = retry_scale
        self._changed = threading.Condition()
        # the functions with events that are not leased, and when the first of each is due
        self._due: dict[FunctionKey, float] = {}
        self._running: Counter[FunctionKey] = Counter()
        self._closing = False
        self._thread = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)

    def __repr__(self) -> str:
        with self._changed:
            return (
                f"<Dispatcher running={self._running.total()} functions_waiting={len(self._due)}>"
            )

    def start(self) -> None:
        """Begin, with the events that an earlier run left in the queue."""
        self._queue.on_put(self._note)
        for key, due_at in self._queue.due().items():
            self._note(key, due_at)
        self._thread.start()

    def wake(self) -> None:
        """Look at the clock again: for tests that move it."""
        with self._changed:
            self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Start no more events, wait `timeout` seconds for those that run; True when all ended.

        Those that did not end stay leased and run again after the next start.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        with self._changed:
            return self._changed.wait_for(lambda: not self._running.total(), timeout)

    def _note(self, key: FunctionKey, due_at: float) -> None:
        with self._changed:
            self._due[key] = min(due_at, self._due.get(key, due_at))
            self._changed.notify_all()

    def _dispatch(self) -> None:
        while (chosen := self._choose()) is not None:
            key, limit = chosen
            try:
                events, next_due = self._queue.lease(key, limit)
            except StorageError as error:
                _log.error("events of %s cannot be read: %s", key.arn, error)
                events, next_due = [], self._clock.wall() + BACK_OFF[0]
            if next_due is not None:
                self._note(key, next_due)
            self._ended(key, limit - len(events))
            for event in events:
                thread = threading.Thread(target=self._run, args=(event,), daemon=True)
                thread.start()

    def _choose(self) -> tuple[FunctionKey, int] | None:
        """Wait for a function whose events may run now; how many of them. None: closing."""
        with self._changed:
            while not self._closing:
                now = self._clock.wall()
                later = None
                for key, due_at in self._due.items():
                    if due_at > now:
                        later = min(due_at, later or due_at)
                    elif share := fair_share(
                        self._parallel, self._running.total(), self._running[key]
                    ):
                        # taken out: what is put from now on is noted anew, behind the others
                        del self._due[key]
                        self._running[key] += share
                        return key, share
                self._changed.wait(None if later is None else later - now)
            return None

    def _ended(self, key: FunctionKey, count: int) -> None:
        """Make room: so many events of a function have run, or were not there to be run."""
        with self._changed:
            self._running[key] -= count
            if not self._running[key]:
                del self._running[key]
            self._changed.notify_all()

    def _run(self, event: Event) -> None:
        key = event.invocation.reference.key
        try:
            again = self._attempt(event)
            if again is None:
                self._queue.complete(event)
            else:
                due_at = self._clock.wall() + again.delay
                self._queue.release(event, due_at, refused=again.refused)
                self._note(key, due_at)
        except StorageError as error:
            # it stays leased, and runs again after the next start
            _log.error("event %s cannot be put away: %s", event.invocation.request_id, error)
        finally:
            self._ended(key, 1)

    def _attempt(self, event: Event) -> Again | None:
        """Run an event; when to run it again, or None when it is done or given up."""
        if event.attempts > MAXIMUM_ATTEMPTS:
            _give_up(event, "the control plane ended during its attempts")
            return None
        try:
            outcome = self._invoke(event.invocation)
        except FnboxError as error:
            why = f"{type(error).__name__}: {error}"
            again = after_error(event, error)
        except Exception as error:  # noqa: BLE001 - this is the thread's top
            _log.exception("event %s met a defect", event.invocation.request_id)
            why = repr(error)
            again = after_error(event, error)
        else:
            if outcome.function_error is None:
                return None
            why = "the function failed"
            again = after_failure(event)
        if again is None:
            _give_up(event, why)
            return None
        again = again._replace(delay=again.delay * self._scale)
        if self._clock.wall() + again.delay > event.enqueued_at + MAXIMUM_AGE:
            _give_up(event, f"too old for another attempt; {why}")
            return None
        return again


def fair_share(parallel: int, running: int, own: int) -> int:
    """How many more events a function may start, of `parallel` in all.

    With `running` in all and `own` of its own, half of what it does not leave to others: a lone
    function takes half of all, two a third each, and a newcomer always finds room but when all
    are busy with functions that had none.
    """
    free = parallel - running
    if own == 0:
        return min(free, max(1, free // 2))
    return max(0, (free - own) // 2)


def after_failure(event: Event) -> Again | None:
    """When to run an event again whose function failed."""
    if event.attempts > len(RETRY_DELAYS):
        return None
    return Again(RETRY_DELAYS[event.attempts - 1], refused=False)


def after_error(event: Event, error: Exception) -> Again | None:
    """When to run an event again that met an error; not when it can only meet it again."""
    if isinstance(error, CallerError) and not isinstance(error, TooManyRequests | Conflict):
        return None
    first, most = BACK_OFF
    # 2 to the 20th is more than any delay
    return Again(min(most, first * 2 ** min(event.refusals, 20)), refused=True)


def _give_up(event: Event, why: str) -> None:
    request, arn = event.invocation.request_id, event.invocation.reference.arn
    _log.warning("event %s of %s is given up: %s", request, arn, why)
