"""One request to Lambda's API, from a WSGI environment to a reply.

Routing, reading, validation, the operation and its answer, in this order; whatever
goes wrong on the way ends as an error that Lambda's clients understand. A body that
is too large is refused by its Content-Length before any of it is read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sandbox.access.actions import LAMBDA
from sandbox.api import (
    account,
    aliases,
    concurrency,
    event_configs,
    function_urls,
    functions,
    invoke,
    layers,
    permissions,
    recursion,
    runtime_configs,
    tags,
    versions,
)
from sandbox.api.context import new_request_id, read_context, read_request_id, verified
from sandbox.api.errors import (
    NotImplementedOperation,
    Reply,
    UnknownOperation,
    UnsupportedMediaType,
    ViewReply,
    error_reply,
)
from sandbox.api.model import Model, Operation
from sandbox.api.services import Call, Implementation, Services
from sandbox.errors import FnboxError, InvalidRequestContent, RequestTooLarge, to_keep
from sandbox.http.wire import REQUEST_ID, request_target

log = logging.getLogger(__name__)

SYNC_BYTES = 6_291_456
EVENT_BYTES = 1_048_576
INVOKE_ASYNC_BYTES = 262_144
CODE_BYTES = 70_167_211
"""Requests that may hold a deployment package in base64."""
DOCUMENT_BYTES = SYNC_BYTES

OPERATIONS: dict[str, Implementation] = {
    **invoke.OPERATIONS,
    **functions.OPERATIONS,
    **versions.OPERATIONS,
    **aliases.OPERATIONS,
    **tags.OPERATIONS,
    **account.OPERATIONS,
    **concurrency.OPERATIONS,
    **event_configs.OPERATIONS,
    **permissions.OPERATIONS,
    **function_urls.OPERATIONS,
    **runtime_configs.OPERATIONS,
    **recursion.OPERATIONS,
    **layers.OPERATIONS,
}

Found = tuple[Operation, list[str]]

_LIMITS = {
    "InvokeAsync": INVOKE_ASYNC_BYTES,
    "CreateFunction": CODE_BYTES,
    "UpdateFunctionCode": CODE_BYTES,
    "PublishLayerVersion": CODE_BYTES,
}


class Dispatch:
    """Answers requests to the operations of the model."""

    def __init__(self, model: Model, services: Services) -> None:
        self._model = model
        self._services = services
        self._authorization = services.authorization
        self._notes = services.authorization.notes

    def route(self, environ: Mapping[str, Any]) -> Found | None:
        """The operation that a request addresses, and its path's labels."""
        path, query = request_target(environ)
        return self._model.routes.match(environ["REQUEST_METHOD"], path, query)

    def answer(self, environ: dict[str, Any], found: Found | None) -> ViewReply:
        """The reply to a request that `route` found an operation for, or none.

        Adds the request's id to `environ`.
        """
        request_id = ""
        failure: FnboxError | None = None
        headers: list[tuple[str, str]] = []
        try:
            request_id = environ[REQUEST_ID] = read_request_id(environ)
            status, modelled, body = self._answer(environ, found, request_id, headers)
            modelled = [("x-amzn-RequestId", request_id), *headers, *modelled]
        except FnboxError as error:
            failure = to_keep(error)
            status, modelled, body = error_reply(
                error, request_id or new_request_id(), self._model.errors
            )
            modelled = [*modelled, *headers]
        except Exception:
            log.exception("request %s failed", request_id)
            status, modelled, body = self.failed(request_id)
            modelled = [*modelled, *headers]
        if self._notes and found is not None:
            action = f"lambda:{LAMBDA[found[0].name].action}"
            self._authorization.note(environ, request_id, action, status, failure)
        return status, modelled, body

    def failed(self, request_id: str = "") -> Reply:
        """The answer to a request at which this code broke."""
        error = FnboxError("An error occurred and the request cannot be processed.")
        return self.refused(error, request_id)

    def refused(self, error: FnboxError, request_id: str = "") -> Reply:
        """The answer to a request that ended with `error`."""
        return error_reply(error, request_id or new_request_id(), self._model.errors)

    def _answer(
        self,
        environ: Mapping[str, Any],
        found: Found | None,
        request_id: str,
        headers: list[tuple[str, str]],
    ) -> ViewReply:
        path, query = request_target(environ)
        if found is None:
            method = environ["REQUEST_METHOD"]
            raise UnknownOperation(f"No operation of Lambda's API answers {method} {path[:256]}")
        operation, labels = found
        implementation = OPERATIONS.get(operation.name)
        if implementation is None:
            raise NotImplementedOperation(f"fnbox does not implement lambda:{operation.name}.")
        body = read_body(environ, operation)
        context = read_context(environ, request_id, self._services.settings)
        context = verified(self._services.authentication, context, body, "lambda")
        members = operation.parse(labels, query, environ, body)
        operation.validate(members)
        if self._authorization.asks(environ):
            self._authorization.check(operation.name, members, context)
        result = implementation(Call(self._services, context, headers), members)
        status, modelled, answer = operation.write(result)
        if isinstance(answer, bytes | memoryview) and (status == 200 or answer):
            modelled.append(("Content-Type", "application/json"))
        return status, modelled, answer


def read_body(environ: Mapping[str, Any], operation: Operation) -> bytes:
    """The whole body. Raises RequestTooLarge, InvalidRequestContent, UnsupportedMediaType."""
    if operation.payload is None and operation.read_body is None:
        return b""
    limit = _LIMITS.get(operation.name, DOCUMENT_BYTES)
    if environ.get("HTTP_X_AMZ_INVOCATION_TYPE") == "Event" and operation.name == "Invoke":
        limit = EVENT_BYTES
    return read_plain(environ, operation.name, limit)


def read_plain(environ: Mapping[str, Any], operation: str, limit: int) -> bytes:
    """The whole body, which nobody has to inflate: what that makes of it has no limit.

    Raises as `read_bytes`, and UnsupportedMediaType.
    """
    body = read_bytes(environ, operation, limit)
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if body and encoding not in ("", "identity"):
        raise UnsupportedMediaType(f"A body with Content-Encoding {encoding} is not supported.")
    return body


def read_bytes(environ: Mapping[str, Any], operation: str, limit: int) -> bytes:
    """The whole body, as it was sent. Raises RequestTooLarge, InvalidRequestContent."""
    given = environ.get("CONTENT_LENGTH")
    if given:
        if not given.isdecimal():
            raise InvalidRequestContent("The Content-Length header is not a number.")
        length = int(given) if len(given) < 20 else limit + 1
        if length > limit:
            raise too_large(operation, limit)
    elif environ.get("wsgi.input_terminated"):
        length = None
    else:
        return b""
    try:
        body: bytes = environ["wsgi.input"].read(limit + 1 if length is None else length)
    except OSError as error:
        raise InvalidRequestContent(f"The request's body cannot be read: {error}") from error
    if length is None:
        if len(body) > limit:
            raise too_large(operation, limit)
    elif len(body) != length:
        raise InvalidRequestContent("The request's body is shorter than its Content-Length.")
    return body


def too_large(operation: str, limit: int) -> RequestTooLarge:
    name = "InvokeFunction" if operation == "Invoke" else operation
    return RequestTooLarge(f"Request must be smaller than {limit} bytes for the {name} operation")
