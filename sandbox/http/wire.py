"""Invoke's requests and answers as bytes, for those that leave no doubt how they are read.

`read_head` knows one kind of request: the plain POST that SDKs send to Invoke. Whatever
else comes, or comes in another form, is None, and gunicorn's to read and to refuse: so
nothing is read here in a way that gunicorn would not. Pure functions; no socket.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

REQUEST_ID = "fnbox.request_id"
"""Where WSGI's variables hold the request's id, once it is answered."""

INSIDE = "fnbox.inside"
ENVIRONMENT = "fnbox.environment"
"""There too: True when a function asks, from inside its container, and its environment's id.
No header is named so: whoever is outside cannot say it."""

HEAD_BYTES = 16 * 2**10
LINE_BYTES = 2**12
HEADERS = 64
BODY_BYTES = 6_291_456
"""A request that is larger in any of these is not read here."""

_START = b"POST /2015-03-31/functions/"
_PATH_END = "/invocations"
_SLASHES = 4
_VERSION = " HTTP/1.1"
_PLAIN = bytes(range(0x20, 0x7F))
_TOKEN = re.compile(r"[!#$%&'*+\-.^`|~0-9A-Za-z]+")  # no underscore: `A_B` and `A-B` look alike
_UNUSUAL = frozenset(
    {"TRANSFER-ENCODING", "EXPECT", "UPGRADE", "TE", "TRAILER", "HTTP2-SETTINGS", "FORWARDED"}
)
_URL_HOST = ".lambda-url."
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\nServer: gunicorn\r\nDate: "
    for status in HTTPStatus
}
_NO_LENGTH = (204, 304)


def request_target(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Path and query as they were sent: a decoded path cannot be told apart any more."""
    target = environ.get("RAW_URI") or quote(environ.get("PATH_INFO", ""))
    if not target.startswith("/"):  # absolute form, from a client that believes in a proxy
        target = urlsplit(target)._replace(scheme="", netloc="").geturl() or "/"
    path, _, _ = target.partition("?")
    return path, environ.get("QUERY_STRING", "")


class Head(NamedTuple):
    environ: dict[str, Any]
    """WSGI's variables of the request; all that come from its head, and no others."""
    body: int
    """Where the body begins."""
    length: int


def read_head(data: bytes) -> Head | None:
    """The head of a plain Invoke, whole at the start of `data`; None for anything else."""
    if not data.startswith(_START):
        return None
    end = data.find(b"\r\n\r\n", 0, HEAD_BYTES)
    if end < 0:
        return None
    head = data[:end]
    lines = head.count(b"\r\n")
    # Printable ASCII, and line ends in pairs: no tab, no NUL, no lone CR or LF.
    if lines > HEADERS or len(head.translate(None, _PLAIN)) != 2 * lines:
        return None
    first, *fields = head.decode("ascii").split("\r\n")
    target = first[5:-9]
    path, _, query = target.partition("?")
    if not (path.endswith(_PATH_END) and first.endswith(_VERSION)) or len(first) > LINE_BYTES:
        return None
    if path.count("/") != _SLASHES or " " in target or "#" in target:
        return None
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "RAW_URI": target,
        "QUERY_STRING": query,
        "wsgi.url_scheme": "http",
    }
    for field in fields:
        name, colon, value = field.partition(":")
        variable = _variable(name)
        if not colon or variable is None or variable in environ:
            return None
        environ[variable] = value.strip(" ")
    if environ.get("HTTP_CONNECTION", "keep-alive").lower() != "keep-alive":
        return None
    if _URL_HOST in environ.get("HTTP_HOST", _URL_HOST).lower():
        return None  # none at all, or a function's own
    length = environ.get("CONTENT_LENGTH", "")
    if not length.isdecimal() or len(length) > 7 or int(length) > BODY_BYTES:
        return None
    return Head(environ, end + 4, int(length))


@lru_cache(1024)
def _variable(name: str) -> str | None:
    """WSGI's name of a header; None for what a plain request does not have."""
    name = name.upper()
    if _TOKEN.fullmatch(name) is None or name in _UNUSUAL or name.startswith("X-FORWARDED"):
        return None
    variable = name.replace("-", "_")
    return variable if variable in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{variable}"


def write_head(
    status: int, headers: Sequence[tuple[str, str]], length: int, *, keep_alive: bool
) -> bytes:
    """An answer's head, as gunicorn words it; ValueError for a header that is none."""
    connection = "keep-alive" if keep_alive else "close"
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if fields.count("\n") != len(headers) or fields.count("\r") != len(headers):
        raise ValueError("a header holds a line break")
    size = "" if status in _NO_LENGTH else f"Content-Length: {length}\r\n"
    start = f"{_STATUS_LINES[status]}{_date(int(time.time()))}\r\nConnection: {connection}\r\n"
    return f"{start}{fields}{size}\r\n".encode("latin-1")


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
