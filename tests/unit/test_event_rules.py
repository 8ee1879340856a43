"""What becomes of an event, as pure rules; and what is written about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.catalog import Catalog
from sandbox.clock import FakeClock
from sandbox.errors import (
    AccessDenied,
    Conflict,
    EngineUnavailable,
    FnboxError,
    NotFound,
    TooManyRequests,
)
from sandbox.invocation import Invocation, Outcome
from sandbox.names import LATEST, FunctionKey, FunctionReference
from sandbox.queue import Event, Policy, policy_of, records, rules
from sandbox.queue.rules import SUCCESS, Again, Ending

KEY = FunctionKey("000000000000", "us-east-1", "f")
ID = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"
NOW = 1_764_039_131.1236  # 2025-11-25T02:52:11.123Z
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
TOPIC = "arn:aws:sns:us-east-1:000000000000:t"
GOOD = Outcome(b'{"ok": 1.0}', None, "1", b"", 1.0)
BAD = Outcome(b'{"errorMessage":"no","errorType":"E"}', "Unhandled", LATEST, b"", 1.0)


def event(
    attempts: int = 1, refusals: int = 0, payload: bytes = b"{}", qualifier: str | None = None
) -> Event:
    invocation = Invocation(FunctionReference(KEY, qualifier), payload, ID, trace_id="Root=1-2-3")
    return Event(1, invocation, 0.0, attempts, refusals)


# rules


@pytest.mark.parametrize(
    "error",
    [
        TooManyRequests("ConcurrentInvocationLimitExceeded"),
        Conflict("Pending"),
        EngineUnavailable("gone"),
        FnboxError("some"),
        ZeroDivisionError("a defect"),
    ],
)
def test_a_refusal_is_no_attempt_and_is_put_off_ever_longer(error: Exception) -> None:
    steps = [
        rules.after(event(refusals=refusals), Policy(), 0, error) for refusals in (*range(10), 1000)
    ]
    delays = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert steps == [Again(delay, refused=True) for delay in delays]


@pytest.mark.parametrize(
    ("error", "status"), [(NotFound("Function not found"), 404), (AccessDenied("no"), 400)]
)
def test_what_can_only_be_refused_again_is_not_tried_again(error: FnboxError, status: int) -> None:
    ending = rules.after(event(), Policy(), 0, error)
    assert ending == Ending("RetriesExhausted", 0, None, status, str(error))


def test_a_throttle_lasts_as_long_as_the_event_may() -> None:
    error = TooManyRequests("x")
    policy = Policy(maximum_age=100)
    assert rules.after(event(refusals=6), policy, 36, error) == Again(64, refused=True)
    assert rules.after(event(refusals=6), policy, 36.1, error) == Ending(
        "EventAgeExceeded", 0, None, 429, "Rate Exceeded."
    )


@pytest.mark.parametrize(
    ("attempts", "retries", "aged", "expected"),
    [
        (1, 2, 0, Again(60, refused=False)),
        (2, 2, 61, Again(120, refused=False)),
        (3, 2, 182, "RetriesExhausted"),
        (1, 0, 0, "RetriesExhausted"),
        (2, 1, 61, "RetriesExhausted"),
        (1, 2, 21_541, "EventAgeExceeded"),
        (3, 0, 0, "RetriesExhausted"),
    ],
)
def test_a_function_that_failed(
    attempts: int, retries: int, aged: float, expected: Again | str
) -> None:
    step = rules.after(event(attempts), Policy(retries), aged, BAD)
    if isinstance(expected, str):
        expected = Ending(expected, attempts, BAD, 200, "no")
    assert step == expected


def test_what_does_not_run_at_all() -> None:
    assert rules.before(event(), Policy(), 21_600) is None
    found = [
        rules.before(event(), Policy(blocked=True), 0),
        rules.before(event(2), Policy(retries=0), 0),
        rules.before(event(4), Policy(), 0),
        rules.before(event(2), Policy(maximum_age=60), 60.1),
    ]
    assert [(ending.condition, ending.runs) for ending in found if ending] == [
        ("ZeroReservedConcurrency", 0),
        ("RetriesExhausted", 1),
        ("RetriesExhausted", 3),
        ("EventAgeExceeded", 1),
    ]


@pytest.mark.parametrize("scale", [0, 0.01, 1, 3])
def test_an_event_ages_as_if_delays_were_lambdas(scale: float) -> None:
    slept = (60 + 120 + 1 + 2 + 4) * scale
    assert rules.age(event(3, refusals=3), slept + 5, scale) == pytest.approx(187 + 5)


def test_a_policy_is_that_of_the_qualifier_and_of_the_version_that_ran(catalog: Catalog) -> None:
    def of(qualifier: str | None, executed: str | None = None) -> Policy:
        return policy_of(catalog, FunctionReference(KEY, qualifier), executed)

    assert of(None) == Policy(
        retries=0, maximum_age=60.0, on_failure=QUEUE, dead_letter=f"{QUEUE}2"
    )
    assert of(LATEST) == of(None)
    assert of("prod") == Policy(on_success=TOPIC, dead_letter=f"{QUEUE}1")
    assert of("prod", LATEST) == Policy(on_success=TOPIC, dead_letter=f"{QUEUE}2")
    assert of("1") == Policy(dead_letter=f"{QUEUE}1")
    assert of("gone") == Policy()
    catalog.put_concurrency(KEY, 0)
    assert of("1").blocked
    catalog.delete_function(KEY)
    assert of(None) == Policy()


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Version 1 with an alias, and a newer $LATEST, each with its dead-letter queue."""
    catalog = Catalog.open(tmp_path, clock=FakeClock())
    request: dict[str, Any] = {"Role": "r", "PackageType": "Image", "Code": {"ImageUri": "my:1"}}
    request["DeadLetterConfig"] = {"TargetArn": f"{QUEUE}1"}
    catalog.create_function(KEY, request)
    catalog.activate(KEY, LATEST)
    catalog.publish_version(KEY, {})
    catalog.activate(KEY, "1")
    catalog.create_alias(KEY, {"Name": "prod", "FunctionVersion": "1"})
    catalog.update_configuration(KEY, {"DeadLetterConfig": {"TargetArn": f"{QUEUE}2"}})
    catalog.activate(KEY, LATEST)
    from sandbox.catalog import event_configs

    first = {
        "MaximumRetryAttempts": 0,
        "MaximumEventAgeInSeconds": 60,
        "DestinationConfig": {"OnFailure": {"Destination": QUEUE}},
    }
    second = {"DestinationConfig": {"OnSuccess": {"Destination": TOPIC}}}
    for qualifier, config in ((LATEST, first), ("prod", second)):
        catalog.attach(KEY, lambda f, q=qualifier, c=config: event_configs.put(f, q, c, now=1.0))
    yield catalog
    catalog.close()


# records


def record(ending: Ending, **members: Any) -> str:
    return records.record(event(**members), ending, NOW).decode()


def test_the_record_of_a_success_to_the_letter() -> None:
    assert record(Ending(SUCCESS, 2, GOOD), payload=b'{"a": [1e400]}', qualifier="prod") == (
        '{"version":"1.0","timestamp":"2025-11-25T02:52:11.123Z",'
        f'"requestContext":{{"requestId":"{ID}",'
        '"functionArn":"arn:aws:lambda:us-east-1:000000000000:function:f:prod",'
        '"condition":"Success","approximateInvokeCount":2},'
        '"requestPayload":{"a": [1e400]},'
        '"responseContext":{"statusCode":200,"executedVersion":"1"},'
        '"responsePayload":{"ok": 1.0}}'
    )


def test_the_record_of_a_failure_to_the_letter() -> None:
    assert record(Ending("RetriesExhausted", 3, BAD, 200, "no")) == (
        '{"version":"1.0","timestamp":"2025-11-25T02:52:11.123Z",'
        f'"requestContext":{{"requestId":"{ID}",'
        '"functionArn":"arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",'
        '"condition":"RetriesExhausted","approximateInvokeCount":3},'
        '"requestPayload":{},'
        '"responseContext":{"statusCode":200,"executedVersion":"$LATEST",'
        '"functionError":"Unhandled"},'
        '"responsePayload":{"errorMessage":"no","errorType":"E"}}'
    )


@pytest.mark.parametrize("payload", [b"", b"plain", b"NaN", b"[" * 100_000, b"\xff\x00"])
def test_an_answer_that_is_no_json_is_a_string_in_a_record(payload: bytes) -> None:
    outcome = Outcome(memoryview(payload), None, LATEST, b"", 1.0)
    found = json.loads(record(Ending(SUCCESS, 1, outcome)))
    assert found["responsePayload"] == payload.decode(errors="replace")


def test_a_dead_letter_is_the_event_with_three_attributes() -> None:
    ending = Ending("RetriesExhausted", 3, BAD, 200, "é" * 600)
    policy = Policy(dead_letter=QUEUE, on_failure=TOPIC, on_success="never")
    told, letter = records.messages(event(payload=b"[1]"), ending, policy, NOW)
    assert (told.kind, told.target) == ("OnFailure", TOPIC)
    assert (letter.kind, letter.target, letter.body) == ("DeadLetter", QUEUE, b"[1]")
    assert letter.attributes == {
        "RequestID": ID,
        "ErrorCode": "200",
        "ErrorMessage": "é" * 512,
    }
    empty = ending._replace(message="")
    assert "ErrorMessage" not in records.messages(event(), empty, policy, NOW)[1].attributes


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{"errorMessage":"no","errorType":"E"}', "no"),
        (b'{"errorMessage":7}', '{"errorMessage":7}'),
        (b"[]", "[]"),
        (b"what?", "what?"),
    ],
)
def test_the_message_of_an_error(payload: bytes, message: str) -> None:
    assert rules.error_message(Outcome(payload, "Unhandled", LATEST, b"", 1.0)) == message
