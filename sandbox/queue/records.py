"""What is told about the end of an event, and to whom: Lambda's records and dead letters. Pure.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html and
observed records, whose members come in this order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sandbox.invocation import Outcome
from sandbox.names import LATEST, FunctionReference
from sandbox.queue.rules import SUCCESS, Ending, Policy
from sandbox.queue.store import Event

DEAD_LETTER = "DeadLetter"
ON_SUCCESS = "OnSuccess"
ON_FAILURE = "OnFailure"

_ERROR_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Message:
    """What a target is to be told."""

    reference: FunctionReference
    request_id: str
    trace_id: str | None
    kind: str
    """`DeadLetter`, `OnSuccess` or `OnFailure`."""
    target: str
    """An ARN."""
    body: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Of a dead letter."""


def messages(event: Event, ending: Ending, policy: Policy, now: float) -> list[Message]:
    """Whom an event's end is told: its destination, and of a failure its dead-letter queue too."""
    invocation = event.invocation
    common = (invocation.reference, invocation.request_id, invocation.trace_id)
    if ending.condition == SUCCESS:
        kind, target = ON_SUCCESS, policy.on_success
    else:
        kind, target = ON_FAILURE, policy.on_failure
    told = []
    if target:
        told.append(Message(*common, kind, target, record(event, ending, now)))
    if policy.dead_letter and kind == ON_FAILURE:
        payload = bytes(invocation.payload)
        attributes = _attributes(invocation.request_id, ending)
        told.append(Message(*common, DEAD_LETTER, policy.dead_letter, payload, attributes))
    return told


def record(event: Event, ending: Ending, now: float) -> bytes:
    """The JSON document that a destination gets. Payloads are in it as they were written."""
    reference = event.invocation.reference
    members = {
        "version": '"1.0"',
        "timestamp": json.dumps(timestamp(now)),
        "requestContext": json.dumps(
            {
                "requestId": event.invocation.request_id,
                "functionArn": reference.key.qualified(reference.qualifier or LATEST),
                "condition": ending.condition,
                "approximateInvokeCount": ending.runs,
            },
            separators=(",", ":"),
        ),
        "requestPayload": _json(event.invocation.payload),
    }
    if ending.outcome is not None:
        members["responseContext"] = _response_context(ending.outcome)
        members["responsePayload"] = _json(ending.outcome.payload)
    return "{{{}}}".format(",".join(f'"{name}":{text}' for name, text in members.items())).encode()


def timestamp(now: float) -> str:
    """As records write it: `2025-11-25T02:52:11.123Z`."""
    moment = datetime.fromtimestamp(now, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _response_context(outcome: Outcome) -> str:
    context: dict[str, object] = {
        "statusCode": 200,
        "executedVersion": outcome.executed_version,
    }
    if outcome.function_error is not None:
        context["functionError"] = outcome.function_error
    return json.dumps(context, separators=(",", ":"))


def _json(payload: bytes | bytearray | memoryview) -> str:
    """A payload as a part of a JSON document: itself, or when it is no JSON a string."""
    text = bytes(payload).decode(errors="replace")
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return json.dumps(text)
    return text


def _refuse(constant: str) -> None:
    """Python reads NaN and Infinity; JSON has neither."""
    raise ValueError(constant)


def _attributes(request_id: str, ending: Ending) -> dict[str, str]:
    message = ending.message.encode()[:_ERROR_BYTES].decode(errors="ignore")
    attributes = {"RequestID": request_id, "ErrorCode": str(ending.status), "ErrorMessage": message}
    # SQS and SNS refuse an empty value
    return {name: value for name, value in attributes.items() if value}
