"""What a client may take its time over: bounds on what is received of a connection.

A head has so many bytes, and its connection so many seconds in which it is idle or sends it (see
`worker`). A body has to come at a pace: after a grace of `BODY_SECONDS`, time that was spent
waiting for it has to be matched by bytes. Memory is taken for what has come, never for what a
Content-Length promises; of all that come at once together only so much (see `worker`).
"""

from __future__ import annotations

import socket
import time

import gevent
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import LimitRequestHeaders, ParseException

HEAD_BYTES = 64 * 2**10
"""Of a head, and of what was read with its end."""
BODY_SECONDS = 30.0
BODY_RATE = 1024.0
"""Bytes a second, on average, that a body has to come at after that."""
UNREAD_BYTES = 256 * 2**20
"""Of a body that nobody wanted: so much is received, since many clients hear an answer only once
they have sent all; then the connection is closed."""

_UNREAD_IN_CHUNKS = 2**20
"""Of one in chunks: each costs as much as thousands of bytes, and may hold a single one."""
_FIRST_BYTES = 32 * 2**10
_BLOCK_BYTES = 512 * 2**10
"""What a body comes in is made of zeros first: in a block of this size they stay in caches."""
_PIECE_BYTES = 64 * 2**10


class Receiver:
    """A connection's receiving side, for gunicorn's parser as for `Body`."""

    __slots__ = (
        "_client",
        "_held",
        "_left",
        "_reads",
        "_received",
        "_since",
        "_slow",
        "_waited",
        "reading",
    )

    def __init__(self, client: socket.socket, slow: dict[socket.socket, Receiver]) -> None:
        """`slow` holds those that wait for their client; `is_late` says how long they may."""
        self._client = client
        self._slow = slow
        self._held = b""
        self._reads = 0
        self._since = 0.0
        self.begin_body()

    def begin_head(self, held: bytes) -> None:
        """`held` was read already. It is given in the pieces that are asked for: of more than it
        needs gunicorn makes a copy for every chunk, and chunks may be of one byte."""
        self._held = held
        self._reads = 0
        self._left: int | None = HEAD_BYTES
        self.reading = 0

    def begin_body(self) -> None:
        self._left = None
        self._received = 0
        self._waited = 0.0
        self.reading = 0
        """Bytes that are kept until the rest of what is read of a body is there."""

    def take_held(self) -> bytes:
        """What belongs to the next request."""
        held, self._held = self._held, b""
        return held

    def recv(self, size: int) -> bytes:
        """As a socket's; raises LimitRequestHeaders within a head that is too long."""
        self._reads += 1
        if self._reads > 1:
            gevent.sleep(0)  # where there is always something to read nobody else would run
        if self._held:
            data, self._held = self._held[:size], self._held[size:]
        else:
            self._before()
            data = self._client.recv(size)
            self._after(len(data))
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise LimitRequestHeaders("limit request header section size")
        return data

    def recv_into(self, view: memoryview) -> int:
        self._before()
        count = self._client.recv_into(view)
        self._after(count)
        return count

    def is_late(self, now: float) -> bool:
        """Whether the body that is waited for comes too slowly."""
        return self._left is None and self._waits(now) > BODY_SECONDS + self._received / BODY_RATE

    def cost(self, now: float) -> float:
        """Of the memory that it keeps, in byte-seconds of waiting for the client."""
        return self.reading * self._waits(now)

    def _waits(self, now: float) -> float:
        return self._waited + now - self._since

    def _before(self) -> None:
        self._since = time.monotonic()
        self._slow[self._client] = self

    def _after(self, count: int) -> None:
        self._slow.pop(self._client, None)
        self._waited += time.monotonic() - self._since
        self._received += count
        self.reading += count


class Body:
    """A request's body: what came with its head, then what its connection brings."""

    __slots__ = ("_held", "_left", "_receiver")

    def __init__(self, receiver: Receiver, held: bytes, length: int) -> None:
        self._receiver = receiver
        self._held = held
        self._left = length

    def read(self, size: int) -> bytes:
        """`size` bytes, which are all that are left; fewer when the connection has ended."""
        held, self._held = self._held, b""
        if len(held) == self._left:
            self._left = 0
            return held
        self._receiver.begin_body()
        self._receiver.reading = len(held)
        blocks: list[bytes | memoryview] = [held]
        count, length = len(held), self._left
        while count < length:
            size = min(length - count, max(count, _FIRST_BYTES), _BLOCK_BYTES)
            block = memoryview(bytearray(size))
            received = self._fill(block)
            blocks.append(block[:received])
            count += received
            if received < size:
                break
        self._left -= count
        return b"".join(blocks)

    def _fill(self, block: memoryview) -> int:
        count = 0
        while count < len(block) and (received := self._receiver.recv_into(block[count:])):
            count += received
        return count

    def skip(self) -> bool:
        """Leave what was not read behind; whether the connection can be used again."""
        if self._left:
            self.read(self._left)
        return not self._left


class ParsedBody:
    """gunicorn's of a request, for WSGI; what is no body raises OSError, as one that breaks off."""

    def __init__(self, body: object, receiver: Receiver) -> None:
        self._body = body
        self._receiver = receiver

    def __getattr__(self, name: str) -> object:
        return getattr(self._body, name)

    def read(self, size: int | None = None) -> bytes:
        self._receiver.reading = 0
        try:
            data: bytes = self._body.read(size)  # type: ignore[attr-defined]
        except ParseException as error:
            raise OSError(f"it is no body: {error}") from error
        return data

    def skip(self) -> bool:
        """As Body's, for so many bytes at most."""
        if self._body.failed:  # type: ignore[attr-defined]
            return False
        chunked = isinstance(self._body.reader, ChunkedReader)  # type: ignore[attr-defined]
        left = _UNREAD_IN_CHUNKS if chunked else UNREAD_BYTES
        try:
            while left > 0:
                data = self.read(_PIECE_BYTES)
                if not data:
                    return True
                left -= len(data)
        except OSError:
            return False  # answered it is already
        return False
