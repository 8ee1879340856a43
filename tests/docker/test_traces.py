"""What `fnbox trace` tells of real invocations."""

from __future__ import annotations

import http.client
import json
import subprocess
from contextlib import closing
from typing import Any

import pytest

from tests.support.functions import until
from tests.support.instance import Deploy, Function, Instance, Start

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
HEADER = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"

TRACED = """
import json, os, socket, time

daemon = os.environ["AWS_XRAY_DAEMON_ADDRESS"].split(":")
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

def handler(event, context):
    assert os.environ["AWS_XRAY_CONTEXT_MISSING"] == "LOG_ERROR"
    trace = dict(part.split("=") for part in os.environ["_X_AMZN_TRACE_ID"].split(";"))
    start = time.time()
    time.sleep(0.02)
    document = {
        "name": "the work", "type": "subsegment", "id": os.urandom(8).hex(),
        "trace_id": trace["Root"], "parent_id": trace["Parent"],
        "start_time": start, "end_time": time.time(), "annotations": {"user": event},
    }
    head = b'{"format": "json", "version": 1}\\n'
    udp.sendto(head + json.dumps(document).encode(), (daemon[0], int(daemon[1])))
    if event == "fail":
        raise ValueError("boom")
"""


def invoke(function: Function, event: object, *, kind: str = "RequestResponse") -> str:
    """Invoke under HEADER; the request id."""
    instance = function.instance
    with closing(http.client.HTTPConnection("127.0.0.1", instance.port, timeout=60)) as connection:
        connection.request(
            "POST",
            f"/2015-03-31/functions/{function.name}/invocations",
            json.dumps(event),
            {"X-Amzn-Trace-Id": HEADER, "X-Amz-Invocation-Type": kind},
        )
        answer = connection.getresponse()
        answer.read()
        return str(answer.headers["x-amzn-RequestId"])


def fnbox(instance: Instance, *arguments: str) -> str:
    done = subprocess.run(
        instance.command(*arguments), env=instance.variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def segments(instance: Instance, identifier: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fnbox(instance, "trace", identifier, "--json"))[
        "segments"
    ]
    return found


def names(document: dict[str, Any]) -> list[Any]:
    """The names of a document and, as lists, of what is below it."""
    below = [names(one) for one in document.get("subsegments", ())]
    return [document["name"], *below]


def test_a_trace_shows_a_cold_start_and_what_the_function_sent_to_x_ray(deploy: Deploy) -> None:
    function = deploy(TRACED)
    request_id = invoke(function, "Ada")
    service, run = segments(function.instance, request_id)
    assert names(service) == [function.name, ["Routing"], ["Wait", ["Environment start"]]]
    assert names(run) == [
        function.name,
        ["Initialization"],
        ["Invocation", ["the work"]],
        ["Overhead"],
    ]
    assert service["trace_id"] == run["trace_id"] == ROOT
    assert service["parent_id"] == "53995c3f42cd8ad8"
    invocation = run["subsegments"][1]
    [work] = invocation["subsegments"]
    assert work["annotations"] == {"user": "Ada"}
    assert invocation["start_time"] <= work["start_time"] < work["end_time"]
    assert work["end_time"] <= invocation["end_time"] <= service["end_time"]

    printed = fnbox(function.instance, "trace", request_id)
    for name in ("Routing", "Environment start", "Initialization", "the work", "Overhead"):
        assert sum(name in line for line in printed.splitlines()) == 1, printed

    again = segments(function.instance, invoke(function, "Bob"))
    assert names(again[0]) == [function.name, ["Routing"], ["Wait"]]
    assert names(again[1]) == [function.name, ["Invocation", ["the work"]], ["Overhead"]]
    assert again[1]["aws"]["environment"] == run["aws"]["environment"]


def test_every_run_of_an_event_is_an_invocation_of_one_trace(start: Start) -> None:
    instance = start(event_retry_scale=0.001)
    function = instance.deploy(TRACED)
    request_id = invoke(function, "fail", kind="Event")

    def ended() -> list[dict[str, Any]]:
        found = segments(instance, request_id)
        return found if len(found) == 7 and not found[-1].get("in_progress") else []

    until(ended, 30)
    accepted, *runs = ended()
    assert names(accepted) == [function.name, ["Routing"], ["Queue"]]
    assert names(runs[0]) == [
        function.name,
        ["Dwell Time"],
        ["Attempt #1", ["Routing"], ["Wait", ["Environment start"]]],
    ]
    assert [names(run)[1][0] for run in runs[2::2]] == ["Attempt #2", "Attempt #3"]
    for run in runs[1::2]:
        assert run["error"]
        assert run["trace_id"] == ROOT
        assert [one["name"] for one in run["subsegments"]][-2:] == ["Invocation", "Overhead"]
    assert len({one["id"] for one in [accepted, *runs]}) == 7
    assert fnbox(instance, "trace", ROOT).count("the work") == 3


@pytest.mark.parametrize(
    ("source", "members", "kind"),
    [
        (
            "import time\ndef handler(event, context):\n    time.sleep(60)",
            {"Timeout": 1},
            "Sandbox.Timedout",
        ),
        ("raise ValueError('boom')", {}, "Runtime.Unknown"),
        ("import os\ndef handler(event, context):\n    os._exit(3)", {}, "Runtime.ExitError"),
    ],
    ids=["timeout", "init error", "exit"],
)
def test_how_a_function_failed_is_in_its_trace(
    deploy: Deploy, source: str, members: dict[str, Any], kind: str
) -> None:
    function = deploy(source, **members)
    service, run = segments(function.instance, invoke(function, {}))
    assert "cause" not in service
    assert run["error"]
    assert run["cause"]["exceptions"][0]["type"] == kind


def test_a_call_that_never_ran_leaves_a_trace(start: Start) -> None:
    instance = start(oci_runtime="absent")
    function = instance.deploy(TRACED)
    [failed] = segments(instance, invoke(function, {}))
    assert failed["fault"]
    assert failed["cause"]["exceptions"][0]["type"] == "ServiceException"
    assert names(failed) == [function.name, ["Routing"], ["Wait"]]
    instance.client.put_function_concurrency(
        FunctionName=function.name, ReservedConcurrentExecutions=0
    )
    [throttled] = segments(instance, invoke(function, {}))
    assert throttled["throttle"]
    assert names(throttled) == [function.name, ["Routing"]]
