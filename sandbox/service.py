"""Invoking a function: from who was named to what came of it.

Nothing on this path asks the database or the container engine, unless an
environment has to be started.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from sandbox.catalog.catalog import Catalog
from sandbox.catalog.records import Version
from sandbox.environments.pool import EnvironmentPool
from sandbox.errors import (
    CallerError,
    Conflict,
    EngineError,
    FnboxError,
    NotFound,
    TooManyRequests,
)
from sandbox.invocation import Invocation, Outcome, ResponseStream
from sandbox.metrics import Metrics
from sandbox.names import FunctionKey, FunctionReference

_LOGGER = logging.getLogger(__name__)

_ACTIVATION_SECONDS = 2.0
"""How long a call waits for a function that is still Pending.

On AWS it gets 409 at once. Here a function is Active within milliseconds of its
creation, so a script that does not wait would fail or not by chance; a function
that stays Pending for longer gets AWS's answer.
"""


class InvokeService:
    """What the API and the event queue call."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        pool: EnvironmentPool,
        put_event: Callable[[Invocation], None],
        metrics: Metrics,
        wait_timeout: float,
        account_concurrency: int,
    ) -> None:
        self._catalog = catalog
        self._pool = pool
        self._put_event = put_event
        self._metrics = metrics
        self._wait_timeout = wait_timeout
        self._account_concurrency = account_concurrency
        self._running: Counter[str | FunctionKey] = Counter()
        """Calls, by account and by function."""
        self._settled = threading.Condition()
        catalog.on_change(self._changed)

    def invoke(self, invocation: Invocation) -> Outcome:
        """Run an invocation and wait for its end.

        Raises NotFound, Conflict while the function is Pending, TooManyRequests,
        EngineError when no container can be had, EnvironmentFailed when one broke.
        """
        metrics = self._metrics
        try:
            outcome = self._run(invocation)
        except TooManyRequests:
            metrics.throttles.inc()
            raise
        except CallerError:
            raise
        except FnboxError:
            metrics.platform_errors.inc()
            raise
        metrics.runs.observe(outcome.duration_ms / 1000)
        if outcome.function_error is not None:
            metrics.function_errors.inc()
        return outcome

    def _run(self, invocation: Invocation) -> Outcome:
        version = self._active(invocation.reference)
        key = invocation.reference.key
        self._admit(key)
        try:
            environment = self._pool.lease(version, self._wait_timeout)
            lost = True
            try:
                outcome = environment.invoke(invocation)
                lost = False
            finally:
                self._pool.release(environment, lost=lost)
            return outcome
        finally:
            self._dismiss(key)

    def stream(self, invocation: Invocation) -> ResponseStream:
        """Run an invocation, in the background; returns once its response begins, or ends.

        It runs to its end whether or not the response is read. Raises what `invoke`
        raises, unless the response has begun: then the stream's `outcome` raises it.
        """
        stream = ResponseStream()
        threading.Thread(
            target=self._stream,
            args=(replace(invocation, stream=stream), stream),
            name="stream",
            daemon=True,
        ).start()
        stream.begin()
        return stream

    def _stream(self, invocation: Invocation, stream: ResponseStream) -> None:
        try:
            stream.end(self.invoke(invocation))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            stream.end(error)

    def enqueue(self, invocation: Invocation) -> None:
        """Accept an event; returns when it is on disk. Raises NotFound, Conflict."""
        self._active(invocation.reference)
        self._put_event(invocation)
        self._metrics.events_accepted.inc()

    def check(self, reference: FunctionReference) -> None:
        """Raise what `invoke` would raise before anything runs."""
        self._active(reference)

    def activate(self, key: FunctionKey, version: str) -> None:
        """Complete a function's creation or update, in the background."""
        threading.Thread(
            target=self._activate, args=(key, version), name="activate", daemon=True
        ).start()

    def activate_unsettled(self) -> None:
        """Complete what an earlier run left in progress."""
        for key, version in self._catalog.unsettled():
            self._catalog.activate(key, version)

    def _activate(self, key: FunctionKey, version: str) -> None:
        self._catalog.activate(key, version)
        with self._settled:
            self._settled.notify_all()
        try:
            self._pool.prepare(self._catalog.resolve(FunctionReference(key, version)))
        except NotFound:
            return  # deleted meanwhile
        except EngineError as error:
            _LOGGER.warning("%s cannot run yet: %s", key.qualified(version), error)

    def _active(self, reference: FunctionReference) -> Version:
        version = self._catalog.resolve(reference)
        if version.state == "Pending":
            with self._settled:
                self._settled.wait_for(
                    lambda: self._catalog.resolve(reference).state != "Pending",
                    _ACTIVATION_SECONDS,
                )
            version = self._catalog.resolve(reference)
            if version.state == "Pending":
                raise Conflict(
                    "The operation cannot be performed at this time. "
                    "The function is currently in the following state: Pending"
                )
        return version

    def _admit(self, key: FunctionKey) -> None:
        """Count a call, within what its function has reserved and what its account has."""
        running = self._running
        reserved = self._catalog.function(key).reserved_concurrency
        if reserved is not None and running[key] >= reserved:
            raise TooManyRequests("ReservedFunctionConcurrentInvocationLimitExceeded")
        if running[key.account] >= self._account_concurrency:
            raise TooManyRequests("ConcurrentInvocationLimitExceeded")
        running[key.account] += 1
        running[key] += 1

    def _dismiss(self, key: FunctionKey) -> None:
        running = self._running
        running[key.account] -= 1
        if running[key] == 1:
            del running[key]
        else:
            running[key] -= 1

    def _changed(self, key: FunctionKey) -> None:
        try:
            function = self._catalog.function(key)
        except NotFound:
            self._pool.retire(key, ())
        else:
            self._pool.retire(key, [*function.versions.values(), function.serving])
