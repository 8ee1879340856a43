"""The values that travel: what is asked of a function and what came of it."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field

from sandbox.names import FunctionReference

LOG_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Invocation:
    """One request to run a function."""

    reference: FunctionReference
    payload: bytes | memoryview
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    client_context: str | None = None
    """Decoded JSON text."""
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an invocation. A function that failed is an Outcome too."""

    payload: bytes | bytearray | memoryview
    """What the runtime posted, or the platform's own error document."""
    function_error: str | None
    """`Unhandled` when the function failed, else None."""
    executed_version: str
    log_tail: bytes
    """The last 4,096 bytes of this invocation's log."""
    duration_ms: float


class LogTail:
    """Keeps the last bytes written, in memory bounded by twice the size."""

    __slots__ = ("_chunks", "_held", "_size")

    def __init__(self, size: int = LOG_TAIL_BYTES) -> None:
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._size = size

    def write(self, data: bytes) -> None:
        if len(data) > self._size:
            data = data[-self._size :]
        self._chunks.append(data)
        self._held += len(data)
        while self._held - len(self._chunks[0]) >= self._size:
            self._held -= len(self._chunks.popleft())

    def bytes(self) -> bytes:
        return b"".join(self._chunks)[-self._size :]
