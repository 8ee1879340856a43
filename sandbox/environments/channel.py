"""The channel to an init: `runtime/PROTOCOL.md` from the control plane's side.

`encode` and `Decoder` are the codec and touch no socket; `Channel` is a thin
socket around them. Payloads are never copied more than once.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

from sandbox.errors import EnvironmentFailed
from sandbox.invocation import Payload
from sandbox.sockets import JOINED_BYTES, send_all

PROTOCOL = 1

_PRELUDE = struct.Struct(">B3xII")
_MAX_META = 2**20
_MAX_PAYLOAD = 2**28
_BUFFER = 2**16


class FrameKind(IntEnum):
    """To the init below 128, from it above."""

    CONFIGURE = 1
    START = 2
    INVOKE = 3
    KILL = 4
    MORE = 5
    SHUTDOWN = 6
    HELLO = 129
    LOG = 130
    INITIALIZED = 131
    INIT_ERROR = 132
    RESULT = 133
    EXITED = 134
    CHUNK = 135
    SEGMENT = 136
    EXTENSION = 137
    DONE = 138


_KINDS = {kind.value: kind for kind in FrameKind}
_write_meta = msgspec.json.Encoder().encode
_read_meta = msgspec.json.Decoder().decode


class Frame(NamedTuple):
    kind: FrameKind
    meta: Mapping[str, Any] = {}
    payload: Payload = b""


def encode_head(frame: Frame) -> bytes:
    """Everything of a frame but its payload."""
    meta = _write_meta(frame.meta) if frame.meta else b""
    return _PRELUDE.pack(frame.kind, len(meta), len(frame.payload)) + meta


class Decoder:
    """Bytes to frames: fill `buffer()`, then call `advance(count)`.

    A payload that does not fit the buffer gets memory of its own and is received
    straight into it. Raises EnvironmentFailed for what the protocol does not allow.
    """

    def __init__(self) -> None:
        self._store = memoryview(bytearray(_BUFFER))
        self._start = 0
        self._end = 0

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        return self._store[self._end :]

    def advance(self, count: int) -> Iterator[Frame]:
        """`count` bytes have been put into the buffer: the frames that are now whole."""
        self._end += count
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        held = self._end - self._start
        if held < _PRELUDE.size:
            self._make_room(_PRELUDE.size)
            return None
        number, meta_size, payload_size = _PRELUDE.unpack_from(self._store, self._start)
        if meta_size > _MAX_META or payload_size > _MAX_PAYLOAD:
            raise EnvironmentFailed("the init sent a frame that is too large")
        size = _PRELUDE.size + meta_size + payload_size
        if held < size:
            self._make_room(size)
            return None
        meta_start = self._start + _PRELUDE.size
        payload_start = meta_start + meta_size
        view = self._store
        try:
            kind = _KINDS[number]
            meta = _read_meta(view[meta_start:payload_start]) if meta_size else {}
        except (KeyError, ValueError) as error:
            raise EnvironmentFailed(
                f"the init sent a frame that cannot be read: {error}"
            ) from error
        payload: Payload
        if len(self._store) > _BUFFER:
            payload = view[payload_start : payload_start + payload_size]
            rest = view[self._start + size : self._end]
            self._store = memoryview(bytearray(_BUFFER))
            self._store[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        else:
            payload = bytes(view[payload_start : payload_start + payload_size])
            self._start += size
        return Frame(kind, meta, payload)

    def _make_room(self, size: int) -> None:
        """See that `size` bytes fit from `_start`; a store larger than usual holds one frame."""
        if self._start == self._end and len(self._store) == _BUFFER:
            self._start = self._end = 0
        if self._start + size <= len(self._store) and self._end < len(self._store):
            return
        held = self._store[self._start : self._end]
        self._store = memoryview(bytearray(max(size, _BUFFER)))
        self._store[: len(held)] = held
        self._start, self._end = 0, len(held)


class Channel:
    """One connection to an init. Any thread may send; one thread receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self._decoder = Decoder()

    def send(self, *frames: Frame) -> None:
        """Write frames, together when they are small; EnvironmentFailed when it is closed."""
        small = b""
        try:
            with self._sending:
                for frame in frames:
                    small += encode_head(frame)
                    if len(frame.payload) <= JOINED_BYTES:
                        small += frame.payload
                    else:
                        send_all(self._socket, small, frame.payload)
                        small = b""
                if small:
                    send_all(self._socket, small)
        except OSError as error:
            raise EnvironmentFailed(f"the environment is gone: {error}") from error

    def frames(self) -> Iterator[Frame]:
        """Frames as they come, until the channel closes."""
        while True:
            try:
                count = self._socket.recv_into(self._decoder.buffer())
            except OSError:
                return
            if not count:
                return
            yield from self._decoder.advance(count)

    def close(self) -> None:
        """End the channel, and with it the container. Wakes whoever receives."""
        with contextlib.suppress(OSError):  # the other side may have been first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
