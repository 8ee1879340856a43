"""Dead events over HTTP, and metrics."""

from __future__ import annotations

from sandbox.invocation import Invocation
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import Message
from sandbox.queue.rules import Ending
from tests.support.api import Api

KEY = FunctionKey("000000000000", "us-east-1", "f")
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
EVENTS = "/_fnbox/events"


def bury(api: Api, name: str = "f", qualifier: str | None = None) -> str:
    """Give an event up that nobody is told of; its request id."""
    reference = FunctionReference(KEY._replace(name=name), qualifier)
    put = Invocation(reference, b'{"a": 1}')
    api.events.put(put)
    [event], _ = api.events.lease(reference.key, 1)
    api.outbox.end(event, Ending("RetriesExhausted", 3, None, 500, "why"), [], lost=True)
    return put.request_id


def bury_message(api: Api) -> None:
    api.events.put(Invocation(FunctionReference(KEY, None), b"{}"))
    [event], _ = api.events.lease(KEY, 1)
    told = Message(FunctionReference(KEY, None), "id", None, "OnFailure", QUEUE, b"{}")
    api.outbox.end(event, Ending("RetriesExhausted", 3), [told], lost=False)
    [delivery], _ = api.outbox.lease(QUEUE, 1)
    api.outbox.bury(delivery, "no such queue")


def test_dead_events_are_listed_and_shown(api: Api) -> None:
    request_id = bury(api, qualifier="prod")
    bury_message(api)
    event = {
        "id": 1,
        "functionArn": f"{KEY.arn}:prod",
        "requestId": request_id,
        "condition": "RetriesExhausted",
        "reason": "why",
        "attempts": 3,
        "createdAt": "1970-01-12T13:46:40.000+00:00",
        "diedAt": "1970-01-12T13:46:40.000+00:00",
        "bytes": 8,
    }
    message = {
        "id": 2,
        "functionArn": KEY.arn,
        "requestId": "id",
        "reason": "no such queue",
        "kind": "OnFailure",
        "target": QUEUE,
        "createdAt": "1970-01-12T13:46:40.000+00:00",
        "diedAt": "1970-01-12T13:46:40.000+00:00",
        "bytes": 2,
    }
    assert api.request("GET", EVENTS).json == {"events": [event, message], "count": 2}
    second = api.request("GET", f"{EVENTS}?after=1&limit=1").json
    assert second == {"events": [message], "count": 2}
    assert api.request("GET", f"{EVENTS}?function=none").json == {"events": [], "count": 2}
    assert api.request("GET", f"{EVENTS}/1").json == event | {"payload": '{"a": 1}'}


def test_dead_events_run_again(api: Api) -> None:
    request_ids = [bury(api, name) for name in ("f", "g", "f")]
    assert api.request("POST", f"{EVENTS}/1/retry").json == {"retried": 1}
    assert api.request("POST", f"{EVENTS}/retry?function=f").json == {"retried": 1}
    events, _ = api.events.lease(KEY, 9)
    assert [event.invocation.request_id for event in events] == [request_ids[0], request_ids[2]]
    assert api.request("POST", f"{EVENTS}/retry").json == {"retried": 1}


def test_dead_events_are_purged(api: Api) -> None:
    for name in ("f", "g", "f"):
        bury(api, name)
    assert api.request("DELETE", f"{EVENTS}/2").json == {"purged": 1}
    assert api.request("DELETE", f"{EVENTS}?function=f").json == {"purged": 2}
    assert api.request("DELETE", EVENTS).json == {"purged": 0}


def test_what_is_not_there_is_a_404_with_a_reason(api: Api) -> None:
    for method, path in (("GET", "9"), ("POST", "9/retry"), ("DELETE", "9")):
        answer = api.request(method, f"{EVENTS}/{path}")
        assert (answer.status_code, answer.json) == (404, {"message": "There is no dead event 9."})


def test_metrics_are_in_prometheus_format(api: Api) -> None:
    answer = api.request("GET", "/_fnbox/metrics")
    assert answer.content_type.startswith("text/plain; version=")
    assert b"# TYPE fnbox_invocations_total counter" in answer.get_data()
