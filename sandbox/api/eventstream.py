"""Messages of `application/vnd.amazon.eventstream`, as far as an answer needs them.

A message is two lengths and their CRC, headers, a payload, and the CRC of all that;
numbers are big-endian. Source: the Smithy specification of Amazon Event Stream.
"""

from __future__ import annotations

import struct
import zlib

from sandbox.invocation import Payload

_LENGTHS = struct.Struct(">II")
_CRC = struct.Struct(">I")
_AROUND = _LENGTHS.size + 2 * _CRC.size
_STRING = b"\x07"


def event_headers(event_type: str, content_type: str) -> bytes:
    """The headers of an event, encoded."""
    headers = {
        ":message-type": "event",
        ":event-type": event_type,
        ":content-type": content_type,
    }
    return b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())


def _header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + _STRING + struct.pack(">H", len(value)) + value


def encode(headers: bytes, payload: Payload) -> bytes:
    """One message; `headers` are encoded already."""
    lengths = _LENGTHS.pack(_AROUND + len(headers) + len(payload), len(headers))
    head = lengths + _CRC.pack(zlib.crc32(lengths)) + headers
    crc = zlib.crc32(payload, zlib.crc32(head))
    return b"".join((head, payload, _CRC.pack(crc)))
