"""Traces over HTTP, and as `fnbox trace` prints them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from sandbox.api.traces import MOST, traces_blueprint
from sandbox.cli import trace as command
from sandbox.cli.main import cli
from sandbox.clock import FakeClock
from sandbox.errors import TooManyRequests
from sandbox.traces.record import Startup
from sandbox.traces.store import Traces
from tests.support.functions import make_invocation
from tests.unit.test_traces import HEADER, ROOT, datagram, noted


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_700_000_000.0)


@pytest.fixture
def traces(clock: FakeClock) -> Traces:
    return Traces(clock, count=1000, max_bytes=2**24)


@pytest.fixture
def client(traces: Traces) -> FlaskClient:
    app = Flask(__name__)
    app.register_blueprint(traces_blueprint(traces))
    return app.test_client()


def test_a_trace_is_found_by_its_request_and_by_its_trace_id(
    clock: FakeClock, traces: Traces, client: FlaskClient
) -> None:
    first, second = noted(clock, traces), noted(clock, traces)
    found = client.get(f"/_fnbox/traces/{first.request_id}").get_json()["segments"]
    assert [one["aws"]["request_id"] for one in found] == [first.request_id] * 2
    found = client.get(f"/_fnbox/traces/{ROOT}").get_json()["segments"]
    assert {one["aws"]["request_id"] for one in found} == {first.request_id, second.request_id}
    absent = client.get("/_fnbox/traces/absent")
    assert absent.status_code == 404
    assert absent.get_json() == {"message": "No trace is kept of absent."}


def test_a_trace_of_many_invocations_shows_the_latest(
    clock: FakeClock, traces: Traces, client: FlaskClient
) -> None:
    last = [noted(clock, traces) for _ in range(MOST + 5)][-1]
    found = client.get(f"/_fnbox/traces/{ROOT}").get_json()["segments"]
    assert len(found) == 2 * MOST
    assert found[-1]["aws"]["request_id"] == last.request_id


def test_the_latest_are_listed_first(clock: FakeClock, traces: Traces, client: FlaskClient) -> None:
    first = noted(clock, traces)
    second = noted(clock, traces, TooManyRequests("CallerRateLimitExceeded"), until="")
    listed = client.get("/_fnbox/traces").get_json()["traces"]
    assert [one["requestId"] for one in listed] == [second.request_id, first.request_id]
    assert listed[0] == {
        "requestId": second.request_id,
        "traceId": ROOT,
        "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:my-function",
        "startTime": 1_700_000_000.006,
        "durationMs": 2.0,
        "status": "throttled",
        "errorType": "TooManyRequestsException",
        "attempt": None,
    }
    assert len(client.get("/_fnbox/traces?limit=1").get_json()["traces"]) == 1


@pytest.fixture
def shown(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`fnbox trace …`, which asks this test's pages; what it prints."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(command, "ask", lambda _, __, path: client.get(path).get_json())

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["trace", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return "\n".join(line.rstrip() for line in done.stdout.splitlines())

    yield run
    monkeypatch.undo()
    time.tzset()


def test_a_waterfall_shows_when_each_step_was(clock: FakeClock, traces: Traces, shown: Any) -> None:
    now = clock.monotonic()
    startup = Startup(now + 0.002, True, now + 0.0022, now + 0.003, None)
    work = datagram(start_time=now + 0.004, end_time=now + 0.0045, name="S3\x1b[31m\n")
    trace = noted(clock, traces, startup=startup, segments=[work])
    trace.dropped = 2
    assert shown(trace.request_id).splitlines() == [
        f"2023-11-14 22:13:20.000  {trace.request_id}  {ROOT}",
        "my-function AWS::Lambda              6.00 ms  ████████████████████████",
        "├ Routing                            2.00 ms  ████████",
        "├ Wait                               1.00 ms          ████",
        "│ └ Environment start                0.20 ms          ▊                 spare container",
        "└ my-function AWS::Lambda::Function  3.80 ms          ████████████████  2 segments dropped",  # noqa: E501
        "  ├ Initialization                   0.80 ms          ████",
        "  ├ Invocation                       1.00 ms                  ████",
        "  │ └ S3?[31m?                       0.50 ms                  ██",
        "  └ Overhead                         1.00 ms                      ████",
    ]


def test_a_call_that_was_refused_says_why(clock: FakeClock, traces: Traces, shown: Any) -> None:
    trace = noted(clock, traces, TooManyRequests("CallerRateLimitExceeded"), until="")
    [_, service, routing] = shown(trace.request_id).splitlines()
    assert service.startswith("my-function AWS::Lambda")
    assert service.endswith("throttle, TooManyRequestsException: Rate Exceeded.")
    assert routing.startswith("└ Routing")


def test_a_call_that_goes_on_is_shown_so_far(clock: FakeClock, traces: Traces, shown: Any) -> None:
    invocation = make_invocation(trace_id=HEADER)
    traces.begin(invocation)
    [_, service, _] = shown(invocation.request_id).splitlines()
    assert service.endswith("in progress")
    assert "my-function" in shown().splitlines()[1]


def test_the_documents_come_as_json(clock: FakeClock, traces: Traces, shown: Any) -> None:
    trace = noted(clock, traces)
    assert len(json.loads(shown(trace.request_id, "--json"))["segments"]) == 2
    assert len(json.loads(shown("--json"))["traces"]) == 1


def test_a_function_that_another_has_called_is_below_it(
    clock: FakeClock, traces: Traces, shown: Any
) -> None:
    noted(clock, traces)
    noted(clock, traces, parent_given=True)
    printed = shown(ROOT).splitlines()
    assert [line.count(ROOT) for line in printed] == [1] + [0] * 12
    assert printed[7].startswith("  └ my-function AWS::Lambda ")
    assert printed[10].startswith("    └ my-function AWS::Lambda::Function ")
