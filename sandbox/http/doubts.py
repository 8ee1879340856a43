"""Requests that gunicorn reads, and that somebody else could read in another way.

What stands between a client and fnbox may look at the target's host or at Host, and may stop at a
coding that it does not know: so a request says each thing once, and plainly.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gunicorn.http.errors import InvalidHeader, InvalidRequestLine


def check(request: Any) -> None:
    """Raise gunicorn's errors, which close the connection, for a parsed request in doubt."""
    fields = [value for name, value in request.headers if name == "TRANSFER-ENCODING"]
    if fields and [value.lower() for value in fields] != ["chunked"]:
        raise InvalidHeader("TRANSFER-ENCODING", req=request)
    hosts = [value.lower() for name, value in request.headers if name == "HOST"]
    if not hosts and request.version > (1, 0):
        raise InvalidHeader("HOST", req=request)
    if not request.uri.startswith(("/", "*")) and request.method != "CONNECT":
        parts = urlsplit(request.uri)
        if parts.scheme not in ("http", "https") or [parts.netloc.lower()] != hosts:
            raise InvalidRequestLine(request.uri)
