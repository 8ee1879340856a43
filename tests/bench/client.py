"""A small HTTP/1.1 client that costs as little as Python allows, and the same for everybody.

One keep-alive connection carries one request at a time; its bytes are made beforehand.
Answers have a Content-Length or are chunked, which is how AWS's emulator sends large
ones. Many connections are driven by one thread with epoll: threads would spend more of
the machine on switching than on asking.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Sequence

Address = tuple[str, int]

_TIMEOUT_SECONDS = 60
_BUFFER = 2**16
_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\nTransfer-Encoding: *chunked", re.IGNORECASE)
# What an SDK would send: nobody verifies it here, and everybody has to read it.
_CREDENTIAL = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
)


class CallFailed(Exception):
    """An answer that is no function's result."""


def invoke_request(
    address: Address, function: str, payload: bytes, *headers: tuple[str, str]
) -> bytes:
    """The bytes of an Invoke."""
    lines = [
        f"POST /2015-03-31/functions/{function}/invocations HTTP/1.1",
        f"Host: {address[0]}:{address[1]}",
        "User-Agent: fnbox-bench",
        "X-Amz-Date: 20260101T000000Z",
        f"Authorization: {_CREDENTIAL}",
        *(f"{name}: {value}" for name, value in headers),
        f"Content-Length: {len(payload)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload


class Connection:
    """`send`, then `receive` until it says that the answer is whole."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address, _TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(_BUFFER)
        self._held = 0
        self._body = 0  # where the body, or the next chunk, begins; 0: in the head still
        self._end = 0  # where the body, or that chunk, ends; 0: not known yet
        self._chunks: list[tuple[int, int]] | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, request: bytes) -> None:
        self._held = self._body = self._end = 0
        self._chunks = None
        self._socket.sendall(request)

    def receive(self) -> bool:
        """Read once. Raises CallFailed unless a function did well, or an event was accepted."""
        if self._held == len(self._buffer):
            self._buffer += bytes(len(self._buffer))
        count = self._socket.recv_into(memoryview(self._buffer)[self._held :])
        if not count:
            raise CallFailed("the connection was closed before the answer was whole")
        self._held += count
        if not self._body:
            end = self._buffer.find(b"\r\n\r\n", 0, self._held)
            if end < 0:
                return False
            self._read_head(bytes(self._buffer[: end + 2]))
            self._body = end + 4
            if self._chunks is None:
                self._end += self._body
        if self._chunks is None:
            return self._held >= self._end
        return self._read_chunks(self._chunks)

    def body(self) -> bytes:
        """The answer's, once it is whole."""
        if self._chunks is None:
            return bytes(self._buffer[self._body : self._end])
        return b"".join(self._buffer[begin:end] for begin, end in self._chunks)

    def _read_head(self, head: bytes) -> None:
        status = head[9:12]
        if status not in (b"200", b"202") or b"\r\nx-amz-function-error:" in head.lower():
            raise CallFailed(head.decode(errors="replace"))
        length = _LENGTH.search(head)
        if length is not None:
            self._end = int(length[1])
        elif _CHUNKED.search(head):
            self._chunks = []
        else:
            raise CallFailed(f"no length in {head!r}")

    def _read_chunks(self, chunks: list[tuple[int, int]]) -> bool:
        while True:
            line = self._buffer.find(b"\r\n", self._body, self._held)
            if line < 0:
                return False
            size = int(self._buffer[self._body : line], 16)
            begin, end = line + 2, line + 2 + size
            if self._held < end + 2:
                return False
            if not size:
                return True
            chunks.append((begin, end))
            self._body = end + 2


def call(connection: Connection, request: bytes) -> float:
    """Seconds from the request's first byte to the answer's last."""
    began = time.perf_counter()
    connection.send(request)
    while not connection.receive():
        pass
    return time.perf_counter() - began


def latencies(connection: Connection, request: bytes, count: int) -> list[float]:
    """Seconds of each of `count` calls, one after another."""
    return [call(connection, request) for _ in range(count)]


def throughput(connections: Sequence[tuple[Connection, bytes]], seconds: float) -> float:
    """Calls a second, each connection asking again as soon as it has its answer."""
    poll = select.epoll()
    by_descriptor = {
        connection.fileno(): (connection, request) for connection, request in connections
    }
    answered, asking = 0, len(connections)
    began = time.perf_counter()
    for descriptor, (connection, request) in by_descriptor.items():
        poll.register(descriptor, select.EPOLLIN)
        connection.send(request)
    with poll:
        while asking:
            ready = poll.poll(_TIMEOUT_SECONDS)
            if not ready:
                raise CallFailed(f"no answer within {_TIMEOUT_SECONDS} s")
            for descriptor, _ in ready:
                connection, request = by_descriptor[descriptor]
                if not connection.receive():
                    continue
                answered += 1
                if time.perf_counter() - began < seconds:
                    connection.send(request)
                else:
                    asking -= 1
    return answered / (time.perf_counter() - began)
