"""A burst of calls on a function that has no environment yet."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.support.instance import Function, Start, docker

# Each environment waits, as it begins, to be let go: those that have begun were started at once.
HELD_INIT = """
import os, socket, time
print("beginning", socket.gethostname(), flush=True)
while not os.path.exists("/tmp/go"):
    time.sleep(0.01)
def handler(event, context):
    return [event, socket.gethostname()]
"""


def call(function: Function, number: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", function.instance.port, timeout=120)
    with closing(connection):
        path = f"/2015-03-31/functions/{function.name}/invocations"
        connection.request("POST", path, str(number))
        response = connection.getresponse()
        assert response.status == 200, response.read()
        answered, host = json.loads(response.read())
        assert answered == number
        return answered, host


def beginning(messages: Iterator[str]) -> str:
    return next(text for text in messages if text.startswith("beginning ")).split()[1]


@pytest.mark.parametrize(("calls", "bound", "started"), [(100, 6, 6), (4, 8, 4)])
def test_a_burst_is_answered_by_environments_that_start_at_once(
    start: Start, calls: int, bound: int, started: int
) -> None:
    instance = start(max_environments=bound, spares=0)
    function = instance.deploy(HELD_INIT, Timeout=60)
    with ThreadPoolExecutor(calls) as threads, function.follow() as messages:
        answers = threads.map(lambda number: call(function, number), range(calls))
        hosts: set[str] = set()
        while len(hosts) < started:
            hosts.add(beginning(messages))
        for host in hosts:
            docker("exec", "--detach", host, "touch", "/tmp/go")
        found = list(answers)
    assert [number for number, _ in found] == list(range(calls))
    assert {host for _, host in found} <= hosts
    assert instance.containers() == hosts
