"""From an exception to the answer that a Lambda client understands.

Status, the name of the member that holds the text and further members come from
the model's error shapes; a few errors of AWS's front end are not in the model.
The error's name travels in `x-amzn-ErrorType`; no answer is ever HTML.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from sandbox.api.model import ErrorShape, write_document
from sandbox.errors import CallerError, FnboxError

log = logging.getLogger(__name__)

Body = bytes | Iterator[bytes]
"""Whole, or in pieces that leave one by one; who serves an iterator closes it."""

Reply = tuple[int, list[tuple[str, str]], Body]
"""Status, headers without Content-Length, body."""

ViewReply = tuple[int, list[tuple[str, str]], Body | memoryview]
"""A Reply, or one whose body nobody has copied yet, as Invoke's."""

NOT_IN_THE_MODEL: Mapping[str, ErrorShape] = {
    "ValidationException": ErrorShape(400, "message", False, ()),
    "SerializationException": ErrorShape(400, "message", False, ()),
    "AccessDeniedException": ErrorShape(403, "Message", False, ()),
    "MissingAuthenticationTokenException": ErrorShape(403, "message", False, ()),
    "IncompleteSignatureException": ErrorShape(403, "message", False, ()),
    "InvalidSignatureException": ErrorShape(403, "message", False, ()),
    "UnrecognizedClientException": ErrorShape(403, "message", False, ()),
    "ExpiredTokenException": ErrorShape(403, "message", False, ()),
    "RequestEntityTooLargeException": ErrorShape(413, "Message", False, ()),
    "UnknownOperationException": ErrorShape(404, "message", False, ()),
    # 501: SDKs show it at once. They retry 500, 502, 503 and 504, and take a 4xx for
    # the caller's mistake.
    "NotImplementedException": ErrorShape(501, "message", True, ()),
}


class UnknownOperation(CallerError):
    """Nothing answers at this method and path."""

    code = "UnknownOperationException"


class NotImplementedOperation(CallerError):
    """An operation of the model that fnbox does not have."""

    code = "NotImplementedException"


class UnsupportedMediaType(CallerError):
    code = "UnsupportedMediaTypeException"


def error_reply(error: FnboxError, request_id: str, shapes: Mapping[str, ErrorShape]) -> Reply:
    """The answer to a request that ended with `error`."""
    shape = shapes.get(error.code) or NOT_IN_THE_MODEL[error.code]
    members = dict(error.members) if isinstance(error, CallerError) else {}
    headers = [
        (header, members.pop(member))
        for member, header in shape.header_members
        if member in members
    ]
    if shape.has_type:
        members["Type"] = "User" if shape.status < 500 else "Service"
    members[shape.message_member] = str(error)
    if not isinstance(error, CallerError):
        log.error("%s: %s", error.code, error, exc_info=error.__cause__)
    return (
        shape.status,
        [
            ("Content-Type", "application/json"),
            ("x-amzn-RequestId", request_id),
            ("x-amzn-ErrorType", error.code),
            *headers,
        ],
        write_document(members),
    )
