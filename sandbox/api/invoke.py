"""Invoke and its kin: from headers and a payload to an Invocation, and its Outcome back.

A function that fails is a 200 with `X-Amz-Function-Error`, or with an error in the last
event of its stream; every exception here is a request that was never run, or a platform
that failed.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sandbox.api import eventstream
from sandbox.api.context import RECEIVED, answer_trace, parent_of, read_trace
from sandbox.api.payload import check_json
from sandbox.api.services import Call, Implementation
from sandbox.errors import CallerError, FnboxError, InvalidRequestContent, NotFound
from sandbox.invocation import Invocation, Outcome, ResponseStream
from sandbox.lineage import forwarded
from sandbox.names import parse_reference

CLIENT_CONTEXT_BYTES = 3583
_COGNITO_IDENTITY = "HTTP_X_FNBOX_COGNITO_IDENTITY"
_IDENTITY = ("cognitoIdentityId", "cognitoIdentityPoolId")
EVENT_BYTES = 64 * 1024
"""Of a response in one event."""

_HEADER = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?")
_CHUNK = eventstream.event_headers("PayloadChunk", "application/octet-stream")
_COMPLETE = eventstream.event_headers("InvokeComplete", "application/json")

log = logging.getLogger(__name__)


def invoke(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """RequestResponse (200), Event (202) or DryRun (204)."""
    call.headers.append(("x-amzn-Remapped-Content-Length", "0"))
    invocation = sampled(call, read_invocation(call, members))
    kind = members.get("InvocationType", "RequestResponse")
    if kind == "DryRun":
        call.services.service.check(invocation.reference, invocation.tenant_id)
        return {"StatusCode": 204}
    if kind == "Event":
        call.services.service.enqueue(invocation)
        return {"StatusCode": 202}
    outcome = call.services.service.invoke(invocation)
    answer: dict[str, Any] = {
        "StatusCode": 200,
        "ExecutedVersion": outcome.executed_version,
        "Payload": outcome.payload,
    }
    if outcome.function_error is not None:
        answer["FunctionError"] = outcome.function_error
    if members.get("LogType") == "Tail":
        answer["LogResult"] = _log_result(outcome)
    return answer


def invoke_with_response_stream(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """RequestResponse (200, events as the function makes them) or DryRun (204)."""
    invocation = sampled(call, read_invocation(call, members))
    if members.get("InvocationType") == "DryRun":
        call.services.service.check(invocation.reference, invocation.tenant_id)
        return {"StatusCode": 204}
    stream = call.services.service.stream(invocation)
    return {
        "StatusCode": 200,
        "ExecutedVersion": stream.executed_version,
        "ResponseStreamContentType": _content_type(stream.content_type),
        "EventStream": response_events(stream, tail=members.get("LogType") == "Tail"),
    }


def _content_type(given: str | None) -> str:
    """What the runtime said, unless it said nothing or no header may hold it."""
    return given if given and _HEADER.fullmatch(given) else "application/octet-stream"


def response_events(stream: ResponseStream, *, tail: bool) -> Iterator[bytes]:
    """The response in PayloadChunks, then InvokeComplete, encoded."""
    try:
        for piece in stream:
            for start in range(0, len(piece), EVENT_BYTES):
                yield eventstream.encode(_CHUNK, piece[start : start + EVENT_BYTES])
        yield eventstream.encode(_COMPLETE, json.dumps(_complete(stream, tail)).encode())
    finally:
        stream.leave()


def _complete(stream: ResponseStream, tail: bool) -> dict[str, str]:
    """InvokeComplete. No source shows what AWS puts into an ErrorCode: here it is what
    `X-Amz-Function-Error` would say, and ErrorDetails is the error document."""
    try:
        outcome = stream.outcome()
    except FnboxError as error:  # within the response: there is no status to say it with
        log.error("a response broke off: %s", error)
        return {"ErrorCode": error.code, "ErrorDetails": str(error)}
    complete = {}
    if outcome.function_error is not None:
        complete["ErrorCode"] = outcome.function_error
        complete["ErrorDetails"] = bytes(outcome.payload).decode(errors="replace")
    if tail:
        complete["LogResult"] = _log_result(outcome)
    return complete


def _log_result(outcome: Outcome) -> str:
    return base64.b64encode(outcome.log_tail).decode()


def read_invocation(call: Call, members: dict[str, Any]) -> Invocation:
    """What is asked of the function; its trace goes into the answer."""
    context = call.context
    trace = read_trace(context.environ.get("HTTP_X_AMZN_TRACE_ID"))
    try:
        reference = parse_reference(
            members["FunctionName"],
            members.get("Qualifier"),
            account=context.account,
            region=context.region,
        )
        trace = forwarded(trace, reference.key)
    finally:
        call.headers.append(("X-Amzn-Trace-Id", answer_trace(trace)))
    payload = members["Payload"]
    if payload:
        check_json(payload)
    given, identity = members.get("ClientContext"), context.environ.get(_COGNITO_IDENTITY)
    if members.get("InvocationType") == "Event":
        given = identity = None  # an event carries its context in the payload
    return Invocation(
        reference=reference,
        payload=payload or b"{}",
        request_id=context.request_id,
        client_context=read_client_context(given) if given else None,
        cognito_identity=read_cognito_identity(identity) if identity else None,
        tenant_id=members.get("TenantId"),
        trace_id=trace,
        tail=members.get("LogType") == "Tail",
    )


def sampled(call: Call, invocation: Invocation) -> Invocation:
    """Note what the request says of its trace. One of a function with active tracing is sampled,
    unless the caller has decided: each, where AWS takes one a second and 5 % of the others."""
    environ, reference = call.context.environ, invocation.reference
    header: str = environ.get("HTTP_X_AMZN_TRACE_ID") or ""
    trace_id = invocation.trace_id or ""
    invocation.trace.received = environ.get(RECEIVED)
    invocation.trace.parent_given = parent_of(trace_id) in header
    if "sampled=" in header.lower():
        return invocation
    with suppress(NotFound):  # which the service says better
        if call.services.catalog.version(reference).active_tracing:
            trace_id = trace_id.replace(";Sampled=0", ";Sampled=1")
            call.headers[-1] = ("X-Amzn-Trace-Id", answer_trace(trace_id))
            return replace(invocation, trace_id=trace_id)
    return invocation


def invoke_async(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """The deprecated form of an Event: a body, and no headers to say how."""
    context = call.context
    reference = parse_reference(
        members["FunctionName"], None, account=context.account, region=context.region
    )
    payload = members["InvokeArgs"]
    if payload:
        check_json(payload)
    invocation = Invocation(
        reference=reference,
        payload=payload or b"{}",
        request_id=context.request_id,
        trace_id=forwarded(read_trace(None), reference.key),  # never the caller's
    )
    call.services.service.enqueue(invocation)
    return {"Status": 202}


def read_cognito_identity(text: str) -> str:
    """The JSON text in an `X-Fnbox-Cognito-Identity` header, as a runtime gets it.

    AWS knows the identity by the credentials that a request is signed with, which nobody can
    have from Cognito for fnbox; so a caller may say itself which it stands for.
    """
    try:
        identity = json.loads(text)
        given = {name: identity[name] for name in _IDENTITY}
        if not all(isinstance(value, str) for value in given.values()):
            raise TypeError("not a string")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        names = " and ".join(_IDENTITY)
        raise InvalidRequestContent(
            f"X-Fnbox-Cognito-Identity must be a JSON object of strings, {names}."
        ) from error
    return json.dumps(given, separators=(",", ":"))


def read_client_context(text: str) -> str:
    """The JSON text in an `X-Amz-Client-Context` header."""
    if len(text) > CLIENT_CONTEXT_BYTES:
        # Lambda documents the limit, not the answer
        raise CallerError(f"Client context must be at most {CLIENT_CONTEXT_BYTES} bytes of base64.")
    try:
        decoded = binascii.a2b_base64(text.encode("ascii"), strict_mode=True).decode()
        if not isinstance(json.loads(decoded), dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise InvalidRequestContent(
            "Client context must be a valid Base64-encoded JSON object."
        ) from error
    return decoded


OPERATIONS: dict[str, Implementation] = {
    "Invoke": invoke,
    "InvokeAsync": invoke_async,
    "InvokeWithResponseStream": invoke_with_response_stream,
}
