"""What travels: what is asked of a function, its response in pieces, what came of it."""

from __future__ import annotations

import queue
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sandbox.names import FunctionReference
from sandbox.traces.record import Trace

LOG_TAIL_BYTES = 4096
STREAM_BYTES = 200 * 2**20
"""The longest response that is streamed."""
WINDOW_BYTES = 512 * 2**10
"""How much of a streamed response may be on its way to a reader."""

Payload = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Invocation:
    """One request to run a function."""

    reference: FunctionReference
    payload: bytes | memoryview
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    client_context: str | None = None
    """Decoded JSON text."""
    cognito_identity: str | None = None
    """JSON text with `cognitoIdentityId` and `cognitoIdentityPoolId`."""
    tenant_id: str | None = None
    """Given exactly when the function isolates its tenants."""
    trace_id: str | None = None
    """As the function is called with it: `Root=…;Parent=…;Sampled=…;Lineage=…`."""
    stream: ResponseStream | None = None
    """Where the response goes as it comes; None: it comes whole, in the Outcome."""
    tail: bool = False
    """Whether the caller waits for the end of the log: it comes after extensions are done."""
    trace: Trace = field(default_factory=Trace, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an invocation. A function that failed is an Outcome too."""

    payload: Payload
    """What the runtime posted, or the platform's own error document. A response that
    went into a stream is not here."""
    function_error: str | None
    """`Unhandled` when the function failed, else None."""
    executed_version: str
    log_tail: bytes
    """The last 4,096 bytes of this invocation's log."""
    duration_ms: float


class ResponseStream:
    """A response on its way, piece by piece, from one writer to one reader.

    The writer never blocks. It may write `WINDOW_BYTES`, and then as much as it has been
    told that the reader has taken: so no reader makes memory grow, and no writer waits
    for a reader that has left.
    """

    def __init__(self) -> None:
        self.executed_version = ""
        self.content_type: str | None = None
        """The runtime's. Both are known once `begin` has returned."""
        self.begun = False
        """Whether anything has been written."""
        self._pieces: queue.SimpleQueue[Payload | None] = queue.SimpleQueue()
        self._first: Payload | None = None
        self._outcome: Outcome | BaseException | None = None
        self._ended = False
        self._taken = 0
        self._left = False
        self._more: Callable[[int], None] = lambda _: None

    # The writer's side.

    def open(self, executed_version: str, more: Callable[[int], None]) -> None:
        """Before the first piece. `more` is called with a number of bytes that may be written."""
        self.executed_version = executed_version
        self._more = more

    def write(self, piece: Payload, content_type: str | None = None) -> None:
        """The next piece, not empty; the type goes with the first."""
        self.begun = True
        self.content_type = content_type or self.content_type
        if not self._left:
            self._pieces.put(piece)

    def end(self, outcome: Outcome | BaseException) -> None:
        """What came of it all; the last thing that the writer says."""
        self._outcome = outcome
        self._ended = True
        self._pieces.put(None)

    # The reader's side.

    def begin(self) -> None:
        """Wait for the first piece, or for the end; raises an exception that came instead."""
        self._first = self._pieces.get()
        if self._first is None:
            self.outcome()

    def __iter__(self) -> Iterator[Payload]:
        """The pieces; each counts as taken when the next is asked for."""
        piece = self._first
        while piece is not None:
            yield piece
            self._taken += len(piece)
            # not for each piece, since it costs a frame; nor once all has been written
            if self._taken >= WINDOW_BYTES // 2 and not self._ended:
                self._more(self._taken)
                self._taken = 0
            piece = self._pieces.get()

    def outcome(self) -> Outcome:
        """What came of it, after the last piece. Raises, once, what kept it from an outcome."""
        if isinstance(self._outcome, Outcome):
            return self._outcome
        assert self._outcome is not None, "the stream has not ended, or has raised"
        try:
            raise self._outcome
        finally:
            self._outcome = None  # its traceback holds this stream, and the call with its payload

    def leave(self) -> None:
        """Nobody reads any more: what is still written is dropped, and nothing waits."""
        self._left = True
        if not self._ended:
            self._more(STREAM_BYTES)


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
