"""Invoke and InvokeAsync: from headers and a payload to an Invocation, and its Outcome back.

A function that fails is a 200 with `X-Amz-Function-Error`; every exception here is a
request that was never run, or a platform that failed.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from sandbox.api.context import answer_trace, read_trace
from sandbox.api.payload import check_json
from sandbox.api.services import Call, Implementation
from sandbox.errors import CallerError, InvalidRequestContent
from sandbox.invocation import Invocation
from sandbox.names import parse_reference

CLIENT_CONTEXT_BYTES = 3583


def invoke(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """RequestResponse (200), Event (202) or DryRun (204)."""
    context = call.context
    trace = read_trace(context.environ.get("HTTP_X_AMZN_TRACE_ID"))
    call.headers.append(("x-amzn-Remapped-Content-Length", "0"))
    call.headers.append(("X-Amzn-Trace-Id", answer_trace(trace)))
    kind = members.get("InvocationType", "RequestResponse")
    reference = parse_reference(
        members["FunctionName"],
        members.get("Qualifier"),
        account=context.account,
        region=context.region,
    )
    payload = members["Payload"]
    if payload:
        check_json(payload)
    else:
        payload = b"{}"
    if kind == "DryRun":
        call.services.service.check(reference)
        return {"StatusCode": 204}
    given = members.get("ClientContext")
    invocation = Invocation(
        reference=reference,
        payload=payload,
        request_id=context.request_id,
        # an event carries its context in the payload
        client_context=read_client_context(given) if given and kind != "Event" else None,
        trace_id=trace,
    )
    if kind == "Event":
        call.services.service.enqueue(invocation)
        return {"StatusCode": 202}
    outcome = call.services.service.invoke(invocation)
    answer: dict[str, Any] = {
        "StatusCode": 200,
        "ExecutedVersion": outcome.executed_version,
        "Payload": bytes(outcome.payload),  # no copy of bytes; servers take nothing else
    }
    if outcome.function_error is not None:
        answer["FunctionError"] = outcome.function_error
    if members.get("LogType") == "Tail":
        answer["LogResult"] = base64.b64encode(outcome.log_tail).decode()
    return answer


def invoke_async(call: Call, members: dict[str, Any]) -> dict[str, Any]:
    """The deprecated form of an Event: a body, and no headers to say how."""
    context = call.context
    reference = parse_reference(
        members["FunctionName"], None, account=context.account, region=context.region
    )
    payload = members["InvokeArgs"]
    if payload:
        check_json(payload)
    call.services.service.enqueue(
        Invocation(reference=reference, payload=payload or b"{}", request_id=context.request_id)
    )
    return {"Status": 202}


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


OPERATIONS: dict[str, Implementation] = {"Invoke": invoke, "InvokeAsync": invoke_async}
