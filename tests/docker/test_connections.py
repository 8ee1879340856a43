"""Connections: long silent calls, clients that keep them open, and clients that dawdle."""

from __future__ import annotations

import http.client
import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from sandbox import serve
from sandbox.settings import Settings
from tests.support.functions import until
from tests.support.instance import Deploy, Function, Instance, Start

SLEEP = """
import time
def handler(seconds, context):
    time.sleep(seconds)
    return seconds
"""

ESTABLISHED = "01"
KEEP_ALIVE_TIMER = "02"
KEEP_ALIVE_TICKS = 45 * 100


@pytest.fixture
def connection(instance: Instance) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", instance.port, timeout=60)) as made:
        yield made


def call(connection: http.client.HTTPConnection, function: Function, event: object) -> object:
    path = f"/2015-03-31/functions/{function.name}/invocations"
    connection.request("POST", path, json.dumps(event))
    answer = connection.getresponse()
    assert answer.status == 200
    return json.loads(answer.read())


def accepted(connection: http.client.HTTPConnection, instance: Instance) -> list[str] | None:
    """The kernel's row about the control plane's end of a connection."""
    ours = f"{connection.sock.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        row = line.split()
        ends = (row[1].rpartition(":")[2], row[2].rpartition(":")[2])
        if ends == (f"{instance.port:04X}", ours) and row[3] == ESTABLISHED:
            return row
    return None


def test_a_silent_connection_is_kept_alive(
    connection: http.client.HTTPConnection, instance: Instance, deploy: Deploy
) -> None:
    function = deploy(SLEEP)
    call(connection, function, 0)

    def timer() -> tuple[str, int]:
        row = accepted(connection, instance)
        assert row is not None
        kind, _, ticks = row[5].partition(":")
        return kind, int(ticks, 16)

    # Once what was sent has been acknowledged, the timer is the one that probes.
    until(lambda: timer()[0] == KEEP_ALIVE_TIMER)
    assert 0 < timer()[1] <= KEEP_ALIVE_TICKS


def test_no_worker_is_ended_for_its_silence() -> None:
    with socket.socket() as listener:
        server = serve._Server(Settings(), listener, None)
    assert server.cfg.timeout == 0
    assert server.cfg.workers == 1


def test_a_call_may_take_its_time_and_its_connection_is_used_again(
    connection: http.client.HTTPConnection, deploy: Deploy
) -> None:
    function = deploy(SLEEP)
    assert call(connection, function, 0) == 0
    name = connection.sock.getsockname()
    assert call(connection, function, 5) == 5
    assert call(connection, function, 0) == 0
    assert connection.sock.getsockname() == name


def test_half_sent_requests_hold_up_nobody(instance: Instance, deploy: Deploy) -> None:
    function = deploy(SLEEP)
    with ExitStack() as stack:
        for number in range(500):
            dawdler = socket.create_connection(("127.0.0.1", instance.port), 10)
            stack.enter_context(dawdler)
            whole = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of the body"
            dawdler.sendall(whole[: 20 if number % 2 else len(whole)])
        assert function.invoke(0).document == 0


def test_many_calls_on_one_connection_are_answered_in_turn(
    connection: http.client.HTTPConnection, deploy: Deploy
) -> None:
    function = deploy("def handler(event, context):\n    return event")
    for number in range(300):
        assert call(connection, function, number) == number


def test_a_body_in_chunks_is_read_whole(
    connection: http.client.HTTPConnection, deploy: Deploy
) -> None:
    function = deploy("def handler(event, context):\n    return event")
    path = f"/2015-03-31/functions/{function.name}/invocations"
    chunks = iter([b'{"a":', b" [1, 2", b", 3]}"])
    connection.request("POST", path, chunks, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (200, {"a": [1, 2, 3]})


NAMED = """
import os, time
ENVIRONMENT = os.urandom(8).hex()
def handler(seconds, context):
    time.sleep(seconds)
    return ENVIRONMENT
"""


def test_a_client_that_leaves_is_noticed_and_its_environment_is_used_again(
    connection: http.client.HTTPConnection, instance: Instance, deploy: Deploy
) -> None:
    function = deploy(NAMED)
    environment = call(connection, function, 0)
    request_id = str(uuid.uuid4())
    path = f"/2015-03-31/functions/{function.name}/invocations"
    connection.request("POST", path, b"6", {"X-Amzn-RequestId": request_id})
    until(lambda: instance.environments("busy") == 1)
    connection.close()
    until(lambda: f"the client of request {request_id} has left" in instance.log_path.read_text())
    until(lambda: instance.environments("busy") == 0)
    assert call(connection, function, 0) == environment
    assert f"REPORT RequestId: {request_id}" in function.log()


def test_an_instance_without_calls_ends_at_once_whoever_is_connected(start: Start) -> None:
    own = start()
    with closing(http.client.HTTPConnection("127.0.0.1", own.port, timeout=60)) as connection:
        connection.request("GET", "/_fnbox/health")
        connection.getresponse().read()
        own.terminate()
        assert connection.sock.recv(1) == b""
