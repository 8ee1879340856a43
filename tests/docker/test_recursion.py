"""Functions that call functions: the trace goes with the call, and a loop is stopped."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

from sandbox.lineage import RUNS, forwarded
from sandbox.names import FunctionKey
from tests.support.functions import until
from tests.support.instance import Deploy, Function, Instance

CALLER = """
import json, os, boto3
from botocore.config import Config
client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))
def handler(event, context):
    trace = os.environ["_X_AMZN_TRACE_ID"]
    if not event["call"]:
        return [trace]
    name, *left = event["call"]
    try:
        answer = client.invoke(FunctionName=name, Payload=json.dumps({"call": left}))
    except client.exceptions.RecursiveInvocationException as error:
        return [trace, error.response["ResponseMetadata"]["HTTPStatusCode"]]
    return [trace, *json.loads(answer["Payload"].read())]
"""

AGAIN = """
import json, boto3
client = boto3.client("lambda")
def handler(left, context):
    print("left", left, flush=True)
    if left:
        client.invoke(
            FunctionName=context.function_name, InvocationType="Event", Payload=str(left - 1)
        )
"""

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
TRACE = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0"


def traced_invoke(function: Function, event: object, trace: str) -> Any:
    """What a call in a chain of others answers."""
    connection = http.client.HTTPConnection("127.0.0.1", function.instance.port, timeout=60)
    with closing(connection):
        path = f"/2015-03-31/functions/{function.name}/invocations"
        connection.request("POST", path, json.dumps(event), {"X-Amzn-Trace-Id": trace})
        response = connection.getresponse()
        assert (response.status, response.headers["X-Amz-Function-Error"]) == (200, None)
        return json.loads(response.read())


def key(name: str) -> FunctionKey:
    return FunctionKey("000000000000", "us-east-1", name)


def test_a_call_from_a_function_belongs_to_the_same_trace(deploy: Deploy) -> None:
    first, second = deploy(CALLER), deploy(CALLER)
    traces = traced_invoke(first, {"call": [second.name, first.name]}, TRACE)
    expected, trace = [], TRACE
    for function in (first, second, first):
        trace = forwarded(trace, key(function.name))
        expected.append(trace)
    assert traces == expected
    assert traces[-1].endswith(":1")


def test_a_function_that_calls_itself_is_stopped_unless_that_is_allowed(
    instance: Instance, deploy: Deploy
) -> None:
    loop = deploy(CALLER)
    trace = TRACE
    for _ in range(RUNS - 2):
        trace = forwarded(trace, key(loop.name))
    event = {"call": [loop.name] * 3}
    *traces, status = traced_invoke(loop, event, trace)
    assert [int(one.rpartition(":")[2]) for one in traces] == [RUNS - 2, RUNS - 1]
    assert status == 400
    instance.client.put_function_recursion_config(FunctionName=loop.name, RecursiveLoop="Allow")
    traces = traced_invoke(loop, event, trace)
    assert [int(one.rpartition(":")[2]) for one in traces] == [RUNS + run for run in range(-2, 2)]


def dead_events(instance: Instance, verb: str = "GET", path: str = "") -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=30)
    with closing(connection):
        connection.request(verb, f"/_fnbox/events{path}")
        return json.loads(connection.getresponse().read())


def test_an_event_that_comes_again_and_again_is_given_up_and_kept(
    instance: Instance, deploy: Deploy
) -> None:
    again = deploy(AGAIN)
    again.invoke(20, InvocationType="Event")
    until(lambda: dead_events(instance)["count"] == 1, 60)
    [event] = dead_events(instance)["events"]
    assert (event["condition"], event["attempts"]) == ("RecursiveInvocation", 0)
    left = 20 - RUNS
    assert json.loads(dead_events(instance, path=f"/{event['id']}")["payload"]) == left
    instance.client.put_function_recursion_config(FunctionName=again.name, RecursiveLoop="Allow")
    assert dead_events(instance, "POST", "/retry") == {"retried": 1}

    def runs() -> list[int]:
        lines = again.log().splitlines()
        return sorted(int(line.split()[1]) for line in lines if line.startswith("left "))

    until(lambda: len(runs()) > 20, 60)
    assert runs() == list(range(21))
