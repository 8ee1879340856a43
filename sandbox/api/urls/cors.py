"""What browsers are told about the origins, methods and headers of a function URL.

Only a URL that CORS is configured for says anything: then a preflight is answered without the
function, and what the function itself says about CORS is dropped. Source: the Lambda API
reference, Cors, and the Fetch standard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Headers = list[tuple[str, str]]

PREFIX = "access-control-"


def is_preflight(environ: Mapping[str, Any]) -> bool:
    """Whether a browser asks before it sends what it is about."""
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )


def preflight_headers(cors: Mapping[str, Any], environ: Mapping[str, Any]) -> Headers:
    """Of the answer to a preflight; nothing but `Vary` when its origin is not allowed."""
    headers = _origin_headers(cors, environ)
    if len(headers) < 2:
        return headers
    for member, name in (
        ("AllowMethods", "Access-Control-Allow-Methods"),
        ("AllowHeaders", "Access-Control-Allow-Headers"),
    ):
        if cors.get(member):
            headers.append((name, ",".join(cors[member])))
    if cors.get("MaxAge") is not None:
        headers.append(("Access-Control-Max-Age", str(cors["MaxAge"])))
    return headers


def answer_headers(cors: Mapping[str, Any], environ: Mapping[str, Any]) -> Headers:
    """Of every other answer."""
    headers = _origin_headers(cors, environ)
    if len(headers) > 1 and cors.get("ExposeHeaders"):
        headers.append(("Access-Control-Expose-Headers", ",".join(cors["ExposeHeaders"])))
    return headers


def _origin_headers(cors: Mapping[str, Any], environ: Mapping[str, Any]) -> Headers:
    headers = [("Vary", "Origin")]
    origin, allowed = environ.get("HTTP_ORIGIN"), cors.get("AllowOrigins", ())
    credentials = cors.get("AllowCredentials", False)
    if origin is None or not ("*" in allowed or origin in allowed):
        return headers
    # to a request with credentials a browser does not take `*` for an answer
    shown = "*" if "*" in allowed and not credentials else origin
    headers.append(("Access-Control-Allow-Origin", shown))
    if credentials:
        headers.append(("Access-Control-Allow-Credentials", "true"))
    return headers
