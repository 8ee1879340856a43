"""How calls share environments: several at once, reuse, keep-alive, limits, time-outs."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from botocore.exceptions import ClientError

from tests.support.functions import until
from tests.support.instance import Deploy, Function, Start, gone

SLEEP = """
import os, socket, time, uuid
ENVIRONMENT = uuid.uuid4().hex
def handler(seconds, context):
    time.sleep(seconds or 0)
    return [ENVIRONMENT, time.time(), socket.gethostname()]
"""

COUNT = """
import os, time, uuid
ENVIRONMENT = uuid.uuid4().hex
calls = 0
def handler(seconds, context):
    global calls
    calls += 1
    with open("/tmp/calls", "a") as file:
        file.write("x")
    print("counted", calls, flush=True)
    time.sleep(seconds)
    return [calls, os.stat("/tmp/calls").st_size]
"""


def at_once(function: Function, *events: object) -> list[list[object]]:
    """The documents that calls at the same time answer with."""
    with ThreadPoolExecutor(len(events)) as threads:
        return [answer.document for answer in threads.map(function.invoke, events)]


def test_calls_at_once_run_in_environments_of_their_own(deploy: Deploy) -> None:
    answers = at_once(deploy(SLEEP), *[2.5] * 5)
    assert len({environment for environment, *_ in answers}) == 5


def test_the_most_recently_used_environment_is_used_again(deploy: Deploy) -> None:
    function = deploy(SLEEP)
    answers = at_once(function, 1.5, 2.0, 2.5)
    last, *_ = max(answers, key=lambda answer: answer[1])
    for _ in range(10):
        assert function.invoke(0).document[0] == last


def test_environments_that_are_idle_serve_calls_at_once_again(deploy: Deploy) -> None:
    function = deploy(SLEEP)
    first = {environment for environment, *_ in at_once(function, *[1.5] * 3)}
    again = {environment for environment, *_ in at_once(function, *[0.5] * 3)}
    assert len(first) == 3
    assert again == first


def test_an_environment_is_kept_alive_for_its_time_and_no_longer(start: Start) -> None:
    instance = start(keep_alive=1, spares=0)
    function = instance.deploy(SLEEP)
    before = function.invoke(0).document
    assert instance.containers() == {before[2]}
    gone(instance, {before[2]})
    assert instance.leftovers() == []
    assert function.invoke(0).document[0] != before[0]


def test_a_call_that_finds_no_room_in_time_is_throttled(start: Start) -> None:
    instance = start(max_environments=1, wait_timeout=1, spares=0)
    function = instance.deploy(COUNT)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(function.invoke, 4)
        function.await_log("counted 1")
        with pytest.raises(ClientError, match="Rate Exceeded") as caught:
            function.invoke(0)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert caught.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"
        assert running.result().document == [1, 1]
    assert function.invoke(0).document == [2, 2]


def test_a_call_waits_for_the_environment_that_there_is_room_for(start: Start) -> None:
    instance = start(max_environments=1, spares=0)
    function = instance.deploy(COUNT)
    assert sorted(at_once(function, *[0.3] * 4)) == [[n, n] for n in (1, 2, 3, 4)]


def test_an_idle_environment_makes_room_for_another_function(start: Start) -> None:
    instance = start(max_environments=1, spares=1)
    functions = [instance.deploy(SLEEP) for _ in range(2)]
    seen = {function.invoke(0).document[0] for _ in range(2) for function in functions}
    assert len(seen) == 4
    until(lambda: len(instance.containers()) == 1)


def test_a_call_is_ended_when_its_time_is_up(deploy: Deploy) -> None:
    function = deploy(COUNT, Timeout=1)
    assert function.invoke(0).document == [1, 1]
    late = []
    for number in range(5):
        began = time.monotonic()
        answer = function.invoke(20)
        late.append(time.monotonic() - began - 1)
        assert answer.status == 200
        assert answer.error == "Unhandled"
        message = f"RequestId: {answer.request_id} Error: Task timed out after 1.00 seconds"
        assert answer.document == {"errorType": "Sandbox.Timedout", "errorMessage": message}
        begin, *output, end, report = answer.log.splitlines()
        assert begin == f"START RequestId: {answer.request_id} Version: $LATEST"
        assert output == [f"counted {2 if number == 0 else 1}"]
        assert end == f"END RequestId: {answer.request_id}"
        assert report.startswith(f"REPORT RequestId: {answer.request_id}\tDuration: 1000.00 ms")
        assert report.endswith("\tStatus: timeout")
        assert "Init Duration" not in report
    print("answered later than promised, in ms:", [round(s * 1000, 1) for s in late])  # noqa: T201
    # Far from 30 s and 20 s, so it was the function's Timeout; and not before it was due.
    assert all(-0.001 < seconds < 1 for seconds in late)
    # What was in memory is lost, what was in /tmp is kept.
    assert function.invoke(0).document == [1, 7]
    assert function.invoke(0).document == [2, 8]


def test_initialization_is_not_charged_to_the_timeout(deploy: Deploy) -> None:
    function = deploy("import time\ntime.sleep(2)\n" + COUNT, Timeout=1)
    answer = function.invoke(0)
    assert answer.document == [1, 1]
    assert "Init Duration: 2" in answer.log


def test_a_client_that_leaves_breaks_nothing(deploy: Deploy) -> None:
    function = deploy(COUNT)
    function.invoke(0)
    connection = http.client.HTTPConnection("127.0.0.1", function.instance.port)
    with closing(connection):
        path = f"/2015-03-31/functions/{function.name}/invocations"
        connection.request("POST", path, b"0.5")
        function.await_log("counted 2")
    until(lambda: function.log().count("REPORT RequestId") == 2)
    assert function.invoke(0).document == [3, 3]
