"""Streamed responses, as boto3 sees them: at once, within bounds, and to their end."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import streaming
from tests.support.functions import until
from tests.support.instance import Function, Instance, docker

MIB = 2**20
LIMIT = 200 * MIB
PATH = "/2021-11-15/functions/{}/response-streaming-invocations"

# Of what is written, so much may be in the sockets of a reader that does not read.
IN_SOCKETS = 24 * MIB

WAITS = """
import os, time
def handler(event, stream):
    stream.write(b"first")
    while not os.path.exists("/tmp/go"):
        time.sleep(0.01)
    stream.write(b"last")
"""

WRITES = """
import os
calls = 0
def handler(size, stream):
    global calls
    calls += 1
    piece = bytes(65536)
    written = 0
    while written < size:
        stream.write(piece)
        written += len(piece)
        with open("/tmp/new", "w") as file:
            file.write(str(written))
        os.replace("/tmp/new", "/tmp/written")
    print("call", calls, "wrote", written, flush=True)
"""

ECHO = "def handler(event, context):\n    return event\n"


SETTINGS = {"spares": 0, "runtime_images": f"{streaming.RUNTIME}={streaming.IMAGE}"}
"""No spares: an instance's containers are those of functions."""


@pytest.fixture
def writes(instance: Instance) -> Iterator[Function]:
    function = deploy(instance, WRITES)
    yield function
    function.delete()


def deploy(instance: Instance, source: str) -> Function:
    code = {"ZipFile": streaming.package(source)}
    return instance.deploy("", Runtime=streaming.RUNTIME, Code=code, Timeout=120)


def stream(function: Function, event: object = None, **members: Any) -> Any:
    answer = function.instance.client.invoke_with_response_stream(
        FunctionName=function.name, Payload=json.dumps(event), **members
    )
    assert answer["StatusCode"] == 200
    return answer["EventStream"]


def sizes(events: Any) -> tuple[int, dict[str, str]]:
    """The length of the response, and what the last event says."""
    total, last = 0, {}
    for event in events:
        if "PayloadChunk" in event:
            total += len(event["PayloadChunk"]["Payload"])
        else:
            last = event["InvokeComplete"]
    return total, last


def container(instance: Instance, function: Function) -> str:
    name = f"name=fnbox-{function.name}-"
    found = docker("ps", "--quiet", "--filter", name).split()
    (identifier,) = instance.containers() & set(found)
    return identifier


def rss(instance: Instance) -> int:
    assert instance.worker is not None
    status = Path(f"/proc/{instance.worker}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def test_the_first_bytes_are_there_while_the_function_waits(instance: Instance) -> None:
    function = deploy(instance, WAITS)
    events = iter(stream(function, LogType="Tail"))
    assert next(events) == {"PayloadChunk": {"Payload": b"first"}}
    docker("exec", "--detach", container(instance, function), "touch", "/tmp/go")
    assert next(events) == {"PayloadChunk": {"Payload": b"last"}}
    assert "LogResult" in next(events)["InvokeComplete"]
    assert list(events) == []


def test_a_plain_invoke_of_a_function_that_streams_gets_it_whole(writes: Function) -> None:
    assert len(writes.invoke(3 * MIB).body) == 3 * MIB
    answer = writes.invoke(7 * MIB)
    assert (answer.error, answer.document["errorType"]) == (
        "Unhandled",
        "Function.ResponseSizeTooLarge",
    )


def test_a_slow_reader_makes_the_function_wait_and_no_memory_grow(
    instance: Instance, writes: Function
) -> None:
    size = 150 * MIB
    other = instance.deploy(ECHO)
    assert sizes(stream(writes, 2 * MIB)) == (2 * MIB, {})
    assert other.invoke("warm").document == "warm"
    before = peak = rss(instance)
    events = iter(stream(writes, size))
    total = len(next(events)["PayloadChunk"]["Payload"])
    for number in range(300):  # all other calls go on; time enough to write it all
        assert other.invoke(number).document == number
    written = int(docker("exec", container(instance, writes), "cat", "/tmp/written"))
    assert written < IN_SOCKETS
    for event in events:
        assert event.get("InvokeComplete", {}) == {}
        total += len(event.get("PayloadChunk", {}).get("Payload", b""))
        peak = max(peak, rss(instance))
    assert total == size
    assert peak - before < 16 * MIB
    other.delete()


def test_a_response_over_the_limit_is_cut_there(writes: Function) -> None:
    total, last = sizes(stream(writes, LIMIT + 1))
    assert total == LIMIT
    assert last["ErrorCode"] == "Unhandled"
    assert json.loads(last["ErrorDetails"])["errorType"] == "Function.ResponseSizeTooLarge"
    assert sizes(stream(writes, MIB)) == (MIB, {})


def test_a_function_is_not_stopped_by_a_client_that_leaves(
    instance: Instance, writes: Function
) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", instance.port, timeout=30)) as client:
        client.request("POST", PATH.format(writes.name), json.dumps(100 * MIB))
        assert client.getresponse().read(1000)
    assert writes.await_log(f"call 1 wrote {100 * MIB}")
    until(lambda: instance.environments("busy") == 0)
    before = container(instance, writes)
    assert sizes(stream(writes, MIB)) == (MIB, {})
    assert writes.await_log(f"call 2 wrote {MIB}"), "the same runtime goes on"
    assert container(instance, writes) == before
