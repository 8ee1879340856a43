"""From what a function returned to an HTTP answer: payload format 2.0, and streamed preludes.

Source: the Lambda developer guide, "Invoking Lambda function URLs" and "Response streaming", and
observed answers.
"""

from __future__ import annotations

import binascii
import errno
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from sandbox.errors import FnboxError
from sandbox.invocation import Payload, ResponseStream

Headers = list[tuple[str, str]]

JSON = "application/json"
PRELUDE_TYPE = "application/vnd.awslambda.http-integration-response"
PRELUDE_END = bytes(8)
PRELUDE_BYTES = 1024 * 1024
"""Longer ones are not looked for the end of: an answer's headers are never that long."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What HTTP says about this connection and this message, the server says.
_OURS = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
        *("trailer", "transfer-encoding", "upgrade", "content-length", "date", "server"),
        *("x-amzn-requestid", "x-amzn-trace-id"),
    }
)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything = msgspec.json.Decoder(msgspec.Raw)
_document = msgspec.json.Decoder()


class BadResponse(FnboxError):
    """What a function returned is no answer: its caller gets 502."""


class StreamBroke(BrokenPipeError):
    """A response cannot go on after it has begun: its connection is closed, and so its reader
    learns. The server takes it for a client that has left, and says nothing."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "the function's response broke off")


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes | Iterator[bytes]


def buffered(payload: Payload) -> Answer:
    """The answer that a whole payload is, or is inferred to be. Raises BadResponse."""
    data = bytes(payload)
    start = data.lstrip()[:1]
    try:
        if start == b"{":
            members = _members.decode(data)
            if "statusCode" in members:
                return _described(members)
        text = (_document if start == b'"' else _anything).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadResponse(f"the function returned no JSON: {error}") from error
    # a JSON text loses its quotes; everything else is what the runtime made of it
    body = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else data
    return Answer(200, [("Content-Type", JSON)], body)


def _described(members: Mapping[str, msgspec.Raw]) -> Answer:
    """The answer that an object with a `statusCode` describes."""
    document = {
        name: _document.decode(members[name])
        for name in ("statusCode", "headers", "cookies", "body", "isBase64Encoded")
        if name in members
    }
    status, headers = head(document)
    body, is_base64 = document.get("body"), document.get("isBase64Encoded") or False
    if body is None:
        body = ""
    if not isinstance(body, str) or not isinstance(is_base64, bool):
        raise BadResponse("the function's body is no text, or isBase64Encoded no boolean")
    if not is_base64:
        return Answer(status, headers, body.encode("utf-8", "surrogatepass"))
    try:
        return Answer(status, headers, binascii.a2b_base64(body))
    except ValueError as error:
        raise BadResponse(f"the function's body is no base64: {error}") from error


def head(document: Mapping[str, Any]) -> tuple[int, Headers]:
    """Status and headers that a document describes. Raises BadResponse."""
    status = document.get("statusCode", 200)
    if isinstance(status, str) and status.isdecimal():
        status = int(status) if len(status) == 3 else 0
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
        raise BadResponse(f"the function's statusCode is {str(status)[:100]}")
    given, cookies = document.get("headers"), document.get("cookies")
    given, cookies = {} if given is None else given, [] if cookies is None else cookies
    if not isinstance(given, Mapping) or not isinstance(cookies, list):
        raise BadResponse("the function's headers are no object, or its cookies no list")
    headers = [
        (name, _value(value))
        for name, value in given.items()
        if _named(name) not in _OURS and value is not None
    ]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", JSON))
    return status, [*headers, *(("Set-Cookie", _value(cookie)) for cookie in cookies)]


def _named(name: str) -> str:
    if _TOKEN.fullmatch(name) is None:
        raise BadResponse("the function's headers hold a name that HTTP does not have")
    return name.lower()


def _value(value: Any) -> str:
    """A header's value as WSGI wants it: Latin-1 for the bytes of UTF-8."""
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, str | int | float):
        raise BadResponse("the function's headers hold a value that is no text")
    text = str(value).encode("utf-8", "replace").decode("latin-1")
    if _CONTROL.search(text):
        raise BadResponse("the function's headers hold a control character")
    return text


def streamed(stream: ResponseStream) -> Answer:
    """The answer that a response is which has begun. Raises BadResponse and what kept it from
    an outcome; afterwards, what breaks it ends it with StreamBroke."""
    pieces = iter(stream)
    first = next(pieces, None)
    if first is None and stream.outcome().function_error is not None:
        raise BadResponse("the function failed before its response began")
    if stream.content_type != PRELUDE_TYPE:
        kind = stream.content_type or ""
        kind = kind if kind.isascii() and kind.isprintable() else ""
        headers = [("Content-Type", kind.strip() or "application/octet-stream")]
        return Answer(200, headers, _rest(stream, bytes(first or b""), pieces))
    held, searched = bytearray(first or b""), 0
    while (end := held.find(PRELUDE_END, searched)) < 0:
        searched = max(0, len(held) - len(PRELUDE_END) + 1)
        piece = next(pieces, None)
        if piece is None or len(held) > PRELUDE_BYTES:
            stream.leave()
            raise BadResponse("the function's response has no end of its prelude")
        held += piece
    try:
        document = _document.decode(held[:end])
        if not isinstance(document, dict):
            raise BadResponse("the function's prelude is no object")
        status, headers = head(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadResponse) as error:
        stream.leave()
        raise BadResponse(f"the function's prelude cannot be used: {error}") from error
    return Answer(status, headers, _rest(stream, bytes(held[end + len(PRELUDE_END) :]), pieces))


def _rest(stream: ResponseStream, held: bytes, pieces: Iterator[Payload]) -> Iterator[bytes]:
    try:
        if held:
            yield held
        for piece in pieces:
            yield bytes(piece)
        try:
            failed = stream.outcome().function_error is not None
        except FnboxError as error:
            raise StreamBroke from error
        if failed:
            raise StreamBroke
    finally:
        stream.leave()
