"""Errors in the form that the clients of other AWS services read.

Which form that is a request shows by itself: JSON 1.x names its operation in a header, the query
protocol sends a form, CBOR says so, S3 and its kin answer in XML, and the rest is REST-JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from sandbox.access.errors import SignatureNotOfNow, UnsupportedSignature
from sandbox.api.errors import Reply
from sandbox.errors import CallerError

_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_REST_XML = frozenset(
    {"s3", "s3express", "s3-object-lambda", "s3-outposts", "route53", "cloudfront"}
)


Worded = tuple[int, str, str | None]
"""Status, code, and the text where it is not Lambda's."""

_AS_QUERY: Mapping[str, Worded] = {
    "MissingAuthenticationTokenException": (
        *(403, "MissingAuthenticationToken"),
        "Request is missing Authentication Token",
    ),
    "IncompleteSignatureException": (400, "IncompleteSignature", None),
    "InvalidSignatureException": (403, "SignatureDoesNotMatch", None),
    "UnrecognizedClientException": (
        *(403, "InvalidClientTokenId"),
        "The security token included in the request is invalid",
    ),
    "ExpiredTokenException": (403, "ExpiredToken", None),
    "RequestEntityTooLargeException": (413, "RequestEntityTooLarge", None),
    "AccessDeniedException": (403, "AccessDenied", None),
}
_AS_S3: Mapping[str, Worded] = {
    "MissingAuthenticationTokenException": (403, "AccessDenied", "Access Denied"),
    "IncompleteSignatureException": (400, "AuthorizationHeaderMalformed", None),
    "InvalidSignatureException": (
        *(403, "SignatureDoesNotMatch"),
        "The request signature we calculated does not match the signature you provided. Check your "
        "key and signing method.",
    ),
    "UnrecognizedClientException": (
        *(403, "InvalidAccessKeyId"),
        "The AWS Access Key Id you provided does not exist in our records.",
    ),
    "ExpiredTokenException": (400, "ExpiredToken", "The provided token has expired."),
    "AccessDeniedException": (403, "AccessDenied", None),
}
_S3_ALONE: Mapping[type[CallerError], Worded] = {
    SignatureNotOfNow: (
        *(403, "RequestTimeTooSkewed"),
        "The difference between the request time and the current time is too large.",
    ),
    UnsupportedSignature: (400, "InvalidRequest", None),
}
"""What S3 tells apart that has one name elsewhere."""


def in_words_of(
    environ: Mapping[str, Any], service: str, error: CallerError
) -> tuple[int, str, str]:
    """Status, code and text of an error of Lambda's front end as another service has it."""
    form = _form(environ, service)
    status = 400 if form in (_json_10, _json_11, _cbor) else 403
    worded: Worded = (status, error.code, None)
    if form is _s3:
        other = _S3_ALONE.get(type(error))
        worded = other or _AS_S3.get(error.code, worded)
    elif form in (_query, _ec2):
        worded = _AS_QUERY.get(error.code, worded)
    status, code, text = worded
    return status, code, text or error.message


def refusal(
    environ: Mapping[str, Any], service: str, status: int, code: str, text: str, request_id: str
) -> Reply:
    """An error of a service to one of its requests."""
    headers, body = _form(environ, service)(code, text, request_id)
    named = [("x-amzn-RequestId", request_id), ("x-amzn-ErrorType", code)]
    # the answer to a HEAD has no body, which is all that its client will show
    return status, [*headers, *named], b"" if environ["REQUEST_METHOD"] == "HEAD" else body


def _form(environ: Mapping[str, Any], service: str) -> Any:
    kind = environ.get("CONTENT_TYPE", "").lower()
    if environ.get("HTTP_SMITHY_PROTOCOL") == "rpc-v2-cbor":
        return _cbor
    if "HTTP_X_AMZ_TARGET" in environ:
        return _json_11 if kind.startswith("application/x-amz-json-1.1") else _json_10
    if service in _REST_XML:
        return _s3
    if kind.startswith("application/x-www-form-urlencoded") or "Action=" in environ.get(
        "QUERY_STRING", ""
    ):
        return _ec2 if service == "ec2" else _query
    return _rest_json


Formed = tuple[list[tuple[str, str]], bytes]


def _s3(code: str, text: str, request_id: str) -> Formed:
    body = (
        f"<Code>{code}</Code><Message>{escape(text)}</Message><RequestId>{request_id}</RequestId>"
    )
    return _xml(f"<Error>{body}</Error>")


def _query(code: str, text: str, request_id: str) -> Formed:
    error = f"<Type>Sender</Type><Code>{code}</Code><Message>{escape(text)}</Message>"
    end = f"<RequestId>{request_id}</RequestId>"
    return _xml(f"<ErrorResponse><Error>{error}</Error>{end}</ErrorResponse>")


def _ec2(code: str, text: str, request_id: str) -> Formed:
    error = f"<Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
    end = f"<RequestID>{request_id}</RequestID>"
    return _xml(f"<Response><Errors>{error}</Errors>{end}</Response>")


def _xml(document: str) -> Formed:
    return [("Content-Type", "text/xml")], (_XML + document).encode()


def _json_10(code: str, text: str, request_id: str) -> Formed:
    return [("Content-Type", "application/x-amz-json-1.0")], _json(code, text)


def _json_11(code: str, text: str, request_id: str) -> Formed:
    return [("Content-Type", "application/x-amz-json-1.1")], _json(code, text)


def _rest_json(code: str, text: str, request_id: str) -> Formed:
    return [("Content-Type", "application/json")], _json(code, text)


def _json(code: str, text: str) -> bytes:
    return json.dumps({"__type": code, "message": text}).encode()


def _cbor(code: str, text: str, request_id: str) -> Formed:
    members = ("__type", code, "message", text)
    body = b"\xa2" + b"".join(_cbor_text(member.encode()) for member in members)
    return [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")], body


def _cbor_text(text: bytes) -> bytes:
    return b"\x79" + struct.pack(">H", len(text)) + text
