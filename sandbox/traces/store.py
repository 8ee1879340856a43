"""The traces of recent invocations, in memory: bounded by their number and by their bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from sandbox.clock import Clock
from sandbox.errors import CallerError, TooManyRequests
from sandbox.invocation import Invocation
from sandbox.traces.record import Trace

TRACE_BYTES = 1024
"""What a trace is taken to hold, beside what its function sends."""


class Traces:
    """Begins, ends and keeps traces. Safe to be used by many threads."""

    def __init__(
        self,
        clock: Clock,
        *,
        count: int,
        max_bytes: int,
        on_end: Callable[[Trace], None] | None = None,
    ) -> None:
        """`on_end` is called with each trace that has ended, and must return at once."""
        self.now = clock.monotonic
        self._wall = clock.wall
        self._count = count
        self._max_bytes = max_bytes
        self._on_end = on_end
        self._lock = threading.Lock()
        self._kept: deque[Trace] = deque()
        """The oldest first, those that go on too."""
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """In bytes."""
        return self._bytes

    def of(self, invocation: Invocation) -> _Noting:
        """Note when the block begins and ends, and what it raises."""
        return _Noting(self, invocation)

    def begin(self, invocation: Invocation) -> None:
        """Note that an invocation begins."""
        trace = invocation.trace
        trace.began = self.now()
        trace.wall = self._wall()
        trace.reference = invocation.reference
        trace.request_id = invocation.request_id
        trace.header = invocation.trace_id
        trace.keep = self._keep
        with self._lock:
            self._kept.append(trace)
            self._bytes += TRACE_BYTES
            if len(self._kept) > self._count or self._bytes > self._max_bytes:
                self._evict()

    def end(self, trace: Trace, error: BaseException | None = None) -> None:
        """Note that it has ended, and what kept it from an outcome."""
        if error is not None:
            trace.status = _status(error)
            trace.error_type = getattr(error, "code", type(error).__name__)
            trace.message = str(error)
        elif not trace.status:
            trace.status = "success"
        trace.ended = self.now()
        if self._on_end is not None:
            self._on_end(trace)

    def find(self, identifier: str, account: str | None = None) -> list[Trace]:
        """The traces with a request id, or with a trace id `1-…`, the oldest first; of functions of
        one account, or of all."""
        root = f"Root={identifier};"
        return [
            trace
            for trace in self._all(account)
            if trace.request_id == identifier or (trace.header or "").startswith(root)
        ]

    def recent(self, limit: int, account: str | None = None) -> list[Trace]:
        """The last to begin, the latest first; of one account's functions, or of all."""
        return self._all(account)[: -limit - 1 : -1]

    def _all(self, account: str | None) -> list[Trace]:
        with self._lock:
            kept = list(self._kept)
        if account is None:
            return kept
        return [one for one in kept if one.reference and one.reference.key.account == account]

    def _keep(self, trace: Trace, data: bytes) -> None:
        with self._lock:
            if trace.keep is None:
                return  # evicted meanwhile
            trace.segments = [*trace.segments, data]
            self._bytes += len(data)
            self._evict()

    def _evict(self) -> None:
        """Forget the oldest until the rest fits. The lock is held."""
        while self._kept and (len(self._kept) > self._count or self._bytes > self._max_bytes):
            trace = self._kept.popleft()
            trace.keep = None
            self._bytes -= TRACE_BYTES + sum(map(len, trace.segments))
            trace.segments = ()  # its environment holds it for longer


class _Noting:
    """A context manager that costs less than a generator would."""

    __slots__ = ("_invocation", "_traces")

    def __init__(self, traces: Traces, invocation: Invocation) -> None:
        self._traces = traces
        self._invocation = invocation

    def __enter__(self) -> None:
        self._traces.begin(self._invocation)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._traces.end(self._invocation.trace, error)


def _status(error: BaseException) -> str:
    if isinstance(error, TooManyRequests):
        return "throttled"
    return "refused" if isinstance(error, CallerError) else "failed"
