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

from sandbox.access.limits import AccountLimits
from sandbox.catalog.catalog import Catalog
from sandbox.catalog.records import Version
from sandbox.catalog.reservations import provisioned_total
from sandbox.environments.pool import EnvironmentPool
from sandbox.environments.settling import release_settled
from sandbox.environments.turns import Turns
from sandbox.errors import (
    CallerError,
    Conflict,
    EngineError,
    FnboxError,
    ImageMissing,
    NotFound,
    PullFailed,
    RecursiveInvocation,
    TooManyRequests,
)
from sandbox.invocation import Invocation, Outcome, ResponseStream
from sandbox.lineage import RUNS, runs_before
from sandbox.metrics import Metrics
from sandbox.names import FunctionKey, FunctionReference
from sandbox.traces.store import Traces

_LOGGER = logging.getLogger(__name__)

_ACTIVATION_SECONDS = 2.0
"""How long a call waits for a function that is still Pending.

On AWS it gets 409 at once. Here a function is Active within milliseconds of its
creation, so a script that does not wait would fail or not by chance; a function
that stays Pending for longer gets AWS's answer.
"""

_TENANT_MISSING = (
    "The invoked function is enabled with tenancy configuration. "
    "Add a valid tenant ID in your request and try again."
)
# no capture shows what AWS says in these two cases
_TENANT_TOO_MANY = (
    "The invoked function is not enabled with tenancy configuration. "
    "Remove the tenant ID from your request and try again."
)
_RECURSIVE = (
    "The function has been called too often in one chain of requests: a recursive loop was "
    "detected and the invocation was stopped."
)


class InvokeService:
    """What the API and the event queue call."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        pool: EnvironmentPool,
        put_event: Callable[[Invocation], None],
        metrics: Metrics,
        traces: Traces,
        wait_timeout: float,
        limits: AccountLimits,
        turns: Turns,
    ) -> None:
        self._catalog = catalog
        self._pool = pool
        self._put_event = put_event
        self._metrics = metrics
        self._traces = traces
        self._wait_timeout = wait_timeout
        self._limits = limits
        self._turns = turns
        self._running: Counter[FunctionKey] = Counter()
        self._sharing: Counter[tuple[str, str]] = Counter()
        """Calls of functions that reserve nothing, by account and region."""
        self._memory: Counter[str] = Counter()
        """MiB of the functions that run, by account, where that is limited."""
        self._settled = threading.Condition()
        catalog.on_change(self._changed)

    def invoke(self, invocation: Invocation) -> Outcome:
        """Run an invocation and wait for its end.

        Raises NotFound, Conflict while the function is Pending or Failed, CallerError for a
        tenant too many or too few, RecursiveInvocation, TooManyRequests,
        EngineError when no container can be had, EnvironmentFailed when one broke.
        """
        metrics = self._metrics
        try:
            with self._traces.of(invocation):
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
        version = self._active(invocation.reference, invocation.tenant_id)
        shares, memory_mib = self._admit(invocation, version)
        try:
            invocation.trace.version = version.version
            invocation.trace.routed = self._traces.now()
            turn = self._turns.take(version.arn)
            try:
                outcome = self._run_leased(invocation, version)
                turn.duration_ms = outcome.duration_ms
                return outcome
            finally:
                self._turns.end(turn)
        finally:
            self._dismiss(invocation.reference.key, shares, memory_mib)

    def _run_leased(self, invocation: Invocation, version: Version) -> Outcome:
        environment = self._pool.lease(version, self._wait_timeout, invocation.tenant_id)
        lost = True
        try:
            outcome = environment.invoke(invocation)
            lost = False
        finally:
            if environment.settling is None or lost:
                self._pool.release(environment, lost=lost)
            else:
                release_settled(self._pool, environment)
        return outcome

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
        """Accept an event; returns when it is on disk. Raises NotFound, Conflict, CallerError."""
        invocation.trace.accepted = True
        with self._traces.of(invocation):
            self._active(invocation.reference, invocation.tenant_id)
            invocation.trace.routed = self._traces.now()
            self._put_event(invocation)
        self._metrics.events_accepted.inc()

    def check(self, reference: FunctionReference, tenant_id: str | None = None) -> None:
        """Raise what `invoke` would raise before anything runs."""
        self._active(reference, tenant_id)

    def activate(self, key: FunctionKey, version: str) -> None:
        """Complete a function's creation or update, in the background."""
        threading.Thread(
            target=self._activate, args=(key, version), name="activate", daemon=True
        ).start()

    def activate_unsettled(self) -> None:
        """Complete what an earlier run left in progress; images may still have to be pulled."""
        for key, version in self._catalog.unsettled():
            if self._catalog.function(key).versions[version].package_type == "Image":
                self.activate(key, version)
            else:
                self._catalog.activate(key, version)

    def _activate(self, key: FunctionKey, version: str) -> None:
        self._catalog.activate(key, version, self._failure(key, version))
        with self._settled:
            self._settled.notify_all()
        try:
            self._pool.prepare(self._catalog.resolve(FunctionReference(key, version)))
        except NotFound:
            return  # deleted meanwhile
        except EngineError as error:
            _LOGGER.warning("%s cannot run yet: %s", key.qualified(version), error)

    def _failure(self, key: FunctionKey, version: str) -> tuple[str, str] | None:
        """Pull what has to be; why a creation or update cannot be completed: its reason's code
        and text.

        An image that is gone stays so; a runtime's can still be built, and an engine started.
        """
        try:
            found = self._catalog.version(FunctionReference(key, version))
            self._pool.provide(found)
        except ImageMissing:
            return "ImageDeleted", f"Source image {found.image_uri} does not exist."
        except PullFailed as error:
            return "InternalError", str(error)
        except (NotFound, EngineError):
            return None
        return None

    def _active(self, reference: FunctionReference, tenant_id: str | None) -> Version:
        version = self._catalog.resolve(reference)
        if version.state != "Active":
            with self._settled:
                self._settled.wait_for(
                    lambda: self._catalog.resolve(reference).state != "Pending",
                    _ACTIVATION_SECONDS,
                )
            version = self._catalog.resolve(reference)
            if version.state != "Active":
                raise Conflict(
                    "The operation cannot be performed at this time. "
                    f"The function is currently in the following state: {version.state}"
                )
        if version.tenant_isolation != (tenant_id is not None):
            raise CallerError(_TENANT_MISSING if tenant_id is None else _TENANT_TOO_MANY)
        return version

    def _admit(self, invocation: Invocation, version: Version) -> tuple[bool, int]:
        """Count a call, within what its function has reserved; else within what it has
        provisioned, or what nobody keeps of its account's concurrency, which all other functions
        share: then True. Also returns the memory that was counted. Raises TooManyRequests, and
        RecursiveInvocation for once too often in a chain."""
        running, key = self._running, invocation.reference.key
        function = self._catalog.function(key)
        if runs_before(invocation.trace_id) >= RUNS and function.recursive_loop != "Allow":
            raise RecursiveInvocation(_RECURSIVE)
        memory_mib, room = 0, self._limits.memory_mib(key.account)
        if room is not None:
            memory_mib = version.memory_size
            if self._memory[key.account] + memory_mib > room:
                raise TooManyRequests("ConcurrentInvocationLimitExceeded")
        reserved = function.reserved_concurrency
        shares = False
        if reserved is not None:
            if running[key] >= reserved:
                raise TooManyRequests("ReservedFunctionConcurrentInvocationLimitExceeded")
        elif not function.provisioned or running[key] >= provisioned_total(function):
            shares = True
            sharing, place = self._sharing, key[:2]
            most = self._limits.concurrency(key.account)
            if sharing[place] >= most - self._catalog.reserved(*place):
                raise TooManyRequests("ConcurrentInvocationLimitExceeded")
            sharing[place] += 1
        running[key] += 1
        if memory_mib:
            self._memory[key.account] += memory_mib
        return shares, memory_mib  # to the end, whatever is reserved meanwhile

    def _dismiss(self, key: FunctionKey, shares: bool, memory_mib: int) -> None:
        if memory_mib:
            self._memory[key.account] -= memory_mib
        if shares:
            self._sharing[key[:2]] -= 1
        running = self._running
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
