"""From an HTTP request to the event that a function gets: payload format 2.0.

Source: the Lambda developer guide, "Invoking Lambda function URLs", and observed events, which
leave out what the guide's example shows as null. AWS's two headers about TLS are not there, since
no TLS is.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from sandbox.api.urls.address import HOST_MARK
from sandbox.catalog import FunctionUrl

# What is between a client and fnbox, and none of the function's business.
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
    }
)
_TEXTS = frozenset({"application/json", "application/xml", "application/javascript"})


@dataclass(frozen=True, slots=True)
class UrlRequest:
    """A request to a function URL."""

    url: FunctionUrl
    environ: Mapping[str, Any]
    """The WSGI environment."""
    path: str
    """As it was sent, percent-encoded, without what leads to the URL."""
    query: str
    """As it was sent."""
    body: bytes
    request_id: str
    trace_id: str
    now: float
    """Seconds since the Unix epoch."""
    identity: Mapping[str, str | None] | None = None
    """Of a signed request, as `requestContext.authorizer.iam` has it."""


def event_of(request: UrlRequest) -> bytes:
    """The event as JSON."""
    environ, url = request.environ, request.url
    headers = headers_of(request)
    method = environ["REQUEST_METHOD"]
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
    }
    cookies = [cookie.strip() for cookie in headers.get("cookie", "").split(";")]
    if any(cookies):
        event["cookies"] = [cookie for cookie in cookies if cookie]
    event["headers"] = headers
    if parameters := parameters_of(request.query):
        event["queryStringParameters"] = parameters
    context: dict[str, Any] = {
        "accountId": (request.identity or {}).get("accountId", "anonymous"),
        "apiId": url.url_id,
    }
    if request.identity is not None:
        context["authorizer"] = {"iam": request.identity}
    context |= {
        "domainName": domain_of(url, headers.get("host", "")),
        "domainPrefix": url.url_id,
        "http": {
            "method": method,
            "path": request.path,
            "protocol": environ.get("SERVER_PROTOCOL", "HTTP/1.1"),
            "sourceIp": environ.get("REMOTE_ADDR", ""),
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": request.request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": f"{datetime.fromtimestamp(request.now, UTC):%d/%b/%Y:%H:%M:%S +0000}",
        "timeEpoch": int(request.now * 1000),
    }
    event["requestContext"] = context
    text = _text_of(request.body, headers.get("content-type", ""))
    if request.body:
        event["body"] = base64.b64encode(request.body).decode() if text is None else text
    event["isBase64Encoded"] = text is None
    return msgspec.json.encode(event)


def domain_of(url: FunctionUrl, host: str) -> str:
    """What the request was sent to; for one that came by path, what would be AWS's name."""
    name = host.partition(":")[0]
    return name if HOST_MARK in name else f"{url.url_id}{HOST_MARK}{url.key.region}.localhost"


def headers_of(request: UrlRequest) -> dict[str, str]:
    """Names in lower case; what was sent several times is joined by commas already."""
    environ = request.environ
    headers = {
        name[5:].replace("_", "-").lower(): _readable(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = _readable(environ["CONTENT_TYPE"])
    if request.body or environ.get("CONTENT_LENGTH"):
        headers["content-length"] = str(len(request.body))
    _, _, port = environ.get("HTTP_HOST", "").rpartition(":")
    headers |= {
        "x-amzn-trace-id": request.trace_id,
        "x-forwarded-for": environ.get("REMOTE_ADDR", ""),
        "x-forwarded-port": port if port.isdecimal() else environ.get("SERVER_PORT", ""),
        "x-forwarded-proto": environ.get("wsgi.url_scheme", "http"),
    }
    return {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}


def parameters_of(query: str) -> dict[str, str]:
    """Decoded; the values of a name that comes several times are joined by commas."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _text_of(body: bytes, content_type: str) -> str | None:
    """The body as text, where its type says that it is and its bytes are; None: it is not."""
    kind = content_type.partition(";")[0].strip().lower()
    if body and not kind.startswith("text/") and kind not in _TEXTS:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _readable(value: str) -> str:
    """A header as UTF-8, where it is: WSGI makes Latin-1 of its bytes."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
