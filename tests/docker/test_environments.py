"""How calls share environments: several at once, reuse, keep-alive, limits, time-outs."""

from __future__ import annotations

import http.client
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from botocore.exceptions import ClientError

from tests.support.functions import until
from tests.support.instance import Deploy, Function, Start, docker, gone

HOLD = """
import os, socket, time, uuid
ENVIRONMENT = uuid.uuid4().hex
def handler(name, context):
    if name:
        print("holding", name, socket.gethostname(), flush=True)
        while not os.path.exists(f"/tmp/{name}"):
            time.sleep(0.01)
    return [ENVIRONMENT, socket.gethostname()]
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


class Held:
    """Calls at the same time, each until it is let go."""

    def __init__(self, function: Function, threads: ThreadPoolExecutor, *names: str) -> None:
        self._calls = {name: threads.submit(function.invoke, name) for name in names}
        self._hosts = {name: function.await_log(f"holding {name} ").split()[-1] for name in names}

    def let_go(self, name: str) -> str:
        """End a call; the environment that it ran in."""
        docker("exec", "--detach", self._hosts[name], "touch", f"/tmp/{name}")
        environment: str = self._calls[name].result().document[0]
        return environment


def test_calls_at_once_run_in_environments_of_their_own(deploy: Deploy) -> None:
    names = [f"call-{number}" for number in range(5)]
    with ThreadPoolExecutor(5) as threads:
        held = Held(deploy(HOLD), threads, *names)
        assert len({held.let_go(name) for name in names}) == 5


def test_the_most_recently_used_environment_is_used_again(deploy: Deploy) -> None:
    function = deploy(HOLD)
    with ThreadPoolExecutor(3) as threads:
        held = Held(function, threads, "a", "b", "c")
        for name in ("b", "c", "a"):
            last = held.let_go(name)
            for _ in range(3):
                assert function.invoke("").document[0] == last


def test_environments_that_are_idle_serve_calls_at_once_again(deploy: Deploy) -> None:
    function = deploy(HOLD)
    seen = []
    for names in (("a", "b", "c"), ("d", "e", "f")):
        with ThreadPoolExecutor(3) as threads:
            held = Held(function, threads, *names)
            seen.append({held.let_go(name) for name in names})
    assert len(seen[0]) == 3
    assert seen[1] == seen[0]


def test_an_environment_is_kept_alive_for_its_time_and_no_longer(start: Start) -> None:
    instance = start(keep_alive=1, spares=0)
    function = instance.deploy(HOLD)
    environment, host = function.invoke("").document
    assert instance.containers() <= {host}
    gone(instance, {host})
    until(lambda: instance.leftovers() == [])
    assert function.invoke("").document[0] != environment


def test_a_call_that_finds_no_room_in_time_is_throttled(start: Start) -> None:
    instance = start(max_environments=1, wait_timeout=8, spares=0)
    function = instance.deploy(HOLD)
    with ThreadPoolExecutor(1) as threads:
        held = Held(function, threads, "a")
        with pytest.raises(ClientError, match="Rate Exceeded") as caught:
            function.invoke("")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert caught.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"
        environment = held.let_go("a")
    assert function.invoke("").document[0] == environment


def test_a_call_waits_for_the_environment_that_there_is_room_for(start: Start) -> None:
    function = start(max_environments=1, spares=0).deploy(COUNT)
    with ThreadPoolExecutor(4) as threads:
        answers = [answer.document for answer in threads.map(function.invoke, [0.3] * 4)]
    assert sorted(answers) == [[number, number] for number in (1, 2, 3, 4)]


def test_an_idle_environment_makes_room_for_another_function(start: Start) -> None:
    instance = start(max_environments=1, spares=1)
    functions = [instance.deploy(HOLD) for _ in range(2)]
    seen = {function.invoke("").document[0] for _ in range(2) for function in functions}
    assert len(seen) == 4
    until(lambda: len(instance.containers()) == 1)


def test_a_call_is_ended_when_its_time_is_up(deploy: Deploy) -> None:
    function = deploy(COUNT, Timeout=3)
    assert function.invoke(0).document == [1, 1]
    late = []
    for number in range(3):
        began = time.monotonic()
        answer = function.invoke(20)
        late.append(time.monotonic() - began - 3)
        assert answer.status == 200
        assert answer.error == "Unhandled"
        message = f"RequestId: {answer.request_id} Error: Task timed out after 3.00 seconds"
        assert answer.document == {"errorType": "Sandbox.Timedout", "errorMessage": message}
        begin, *output, end, report = answer.log.splitlines()
        assert begin == f"START RequestId: {answer.request_id} Version: $LATEST"
        assert output == [f"counted {2 if number == 0 else 1}"]
        assert end == f"END RequestId: {answer.request_id}"
        assert report.startswith(f"REPORT RequestId: {answer.request_id}\tDuration: 3000.00 ms")
        assert report.endswith("\tStatus: timeout")
        assert "Init Duration" not in report
    print("answered later than promised, in ms:", [round(s * 1000, 1) for s in late])  # noqa: T201
    # Far from the handler's 20 s, so it was the function's Timeout; and not before it was due.
    assert all(-0.001 < seconds < 9 for seconds in late)
    # What was in memory is lost, what was in /tmp is kept.
    assert function.invoke(0).document == [1, 5]
    assert function.invoke(0).document == [2, 6]


def test_initialization_is_not_charged_to_the_timeout(deploy: Deploy) -> None:
    function = deploy("import time\ntime.sleep(4)\n" + COUNT, Timeout=3)
    answer = function.invoke(0)
    assert answer.document == [1, 1]
    (init_ms,) = re.findall(r"\tInit Duration: ([\d.]+) ms", answer.log)
    assert float(init_ms) >= 4000


def test_a_client_that_leaves_breaks_nothing(deploy: Deploy) -> None:
    function = deploy(COUNT)
    function.invoke(0)
    connection = http.client.HTTPConnection("127.0.0.1", function.instance.port)
    with closing(connection):
        path = f"/2015-03-31/functions/{function.name}/invocations"
        connection.request("POST", path, b"0.5")
        function.await_log("counted 2")
    until(lambda: function.log().count("REPORT RequestId") == 2)
    until(lambda: function.instance.environments("busy") == 0)
    assert function.invoke(0).document == [3, 3]
