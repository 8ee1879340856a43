"""Who dawdles, sends without end or takes nothing holds little, and not for long."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import pytest

from sandbox.http.receiving import BODY_RATE, BODY_SECONDS, HEAD_BYTES, Body, Receiver
from sandbox.http.worker import InvokeWorker
from sandbox.memory import give_back
from sandbox.serve import _listen, _open_files
from sandbox.settings import Settings
from tests.support.api import Api
from tests.support.functions import until
from tests.support.memory import MIB, resident
from tests.support.worker import _LISTENER, ADDRESS, ask, worker

INVOKE = "POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: localhost"
OTHER = "POST /2015-03-31/functions HTTP/1.1\r\nHost: localhost"
LATER = BODY_SECONDS + 1


@pytest.fixture(scope="module")
def api(opened: Api) -> Api:
    return opened


@pytest.fixture
def door(api: Api) -> InvokeWorker:
    api.service.reset()
    return worker(api.app)


@contextmanager
def connected(door: InvokeWorker) -> Iterator[socket.socket]:
    """A client whose connection is served meanwhile."""
    client, connection = socket.socketpair()
    client.settimeout(10)
    thread = threading.Thread(
        target=door.handle, args=(_LISTENER, connection, ADDRESS), daemon=True
    )
    thread.start()
    with client:
        yield client
    thread.join(10)
    assert not thread.is_alive()


def receivers(door: InvokeWorker) -> list[Receiver]:
    """Those that wait for more at this moment: their threads come and go meanwhile."""
    return list(door._receiving.values())


def answer(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(2**16), b""))


# Heads.


@pytest.mark.parametrize("start", [INVOKE, OTHER])
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("X: 1\r\n" * 101 + "\r\n", 431),
        (f"X: {'x' * 20_000}\r\n\r\n", 431),
        (f"X: {'x' * 16_000}\r\n" * 20, 431),
        (f"X: {'x' * 3 * HEAD_BYTES}", 431),
    ],
    ids=["many", "long", "many long ones", "one without end"],
)
def test_a_head_is_bounded(door: InvokeWorker, start: str, fields: str, status: int) -> None:
    got = ask(door, f"{start}\r\n{fields}".encode())
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in got


def test_a_first_line_is_bounded(door: InvokeWorker) -> None:
    for end in (" HTTP/1.1\r\n\r\n", ""):
        got = ask(door, f"POST /{'x' * 9000}{end}".encode())
        assert got.startswith(b"HTTP/1.1 414 ")


@pytest.mark.parametrize("start", ["", "POST", INVOKE, f"{INVOKE}\r\nX: 1\r\n"])
def test_half_a_head_counts_as_a_wait_that_is_ended(door: InvokeWorker, start: str) -> None:
    with connected(door) as client:
        client.sendall(start.encode())
        until(lambda: door._waiting)
        door._end_the_idle(time.monotonic() + 1)
        assert answer(client) == b""
    assert not door._waiting
    assert not door._receiving


def test_when_there_is_hardly_room_the_longest_idle_go(door: InvokeWorker) -> None:
    door.worker_connections = 100
    with ExitStack() as stack:
        clients = []
        for number in range(4):
            clients.append(stack.enter_context(connected(door)))
            until(lambda wanted=number + 1: len(door._waiting) == wanted)
        door._make_room(5)
        assert len(door._waiting) == 4, "a twentieth is room enough"
        door._make_room(3)
        assert [client.recv(1) for client in clients[:2]] == [b"", b""]
        until(lambda: len(door._waiting) == 2)


# Bodies.


@pytest.mark.parametrize(
    ("start", "framing", "first"),
    [
        (INVOKE, "Content-Length: 6000000", "{"),
        (OTHER, "Content-Length: 6000000", "{"),
        (INVOKE, "Transfer-Encoding: chunked", "5000\r\n{"),
        (OTHER, "Transfer-Encoding: chunked", "5"),
        ("POST / HTTP/1.1\r\nHost: localhost", "Content-Length: 4000000", "{"),
    ],
    ids=["invoke", "another", "chunked invoke", "half a chunk size", "logs"],
)
def test_a_body_that_comes_too_slowly_is_refused_and_its_connection_closed(
    api: Api, door: InvokeWorker, start: str, framing: str, first: str
) -> None:
    with connected(door) as client:
        client.sendall(f"{start}\r\n{framing}\r\n\r\n{first}".encode())
        until(lambda: door._receiving)
        [receiver] = door._receiving.values()  # it stays there until something comes
        door._end_the_late(receiver._since + BODY_SECONDS - 1)
        client.sendall(b" ")
        until(lambda: receiver._received and door._receiving)  # it goes on waiting
        door._end_the_late(time.monotonic() + 2 * LATER)
        assert answer(client).startswith(b"HTTP/1.1 400 ")
    assert not door._receiving
    assert api.service.invoked == []


def test_what_nobody_wanted_is_not_waited_for_without_end(door: InvokeWorker) -> None:
    head = "POST /2015-03-31/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999"
    with connected(door) as client:
        client.sendall(f"{head}\r\n\r\n".encode())
        until(lambda: door._receiving)
        door._end_the_late(time.monotonic() + LATER)
        assert answer(client).startswith(b"HTTP/1.1 404 ")


def test_a_steady_body_has_the_time_that_it_takes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        receiver = Receiver(theirs, {})
        ours.sendall(bytes(4096))
        assert receiver.recv(4096) == bytes(4096)
        waiting_since = time.monotonic()
        receiver._since = waiting_since
        allowed = BODY_SECONDS + 4096 / BODY_RATE
        assert not receiver.is_late(waiting_since + allowed - 1)
        assert receiver.is_late(waiting_since + allowed + 1)
        receiver.begin_head(b"")
        assert not receiver.is_late(waiting_since + 1000), "a head has the connection's time"


def test_time_in_which_nobody_reads_is_not_the_clients() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        receiver = Receiver(theirs, {})
        for _ in range(3):
            ours.sendall(b"x")
            receiver.recv(1)
            receiver._since = time.monotonic() - 1000  # its last wait has long ended
        assert receiver._waited < BODY_SECONDS


def test_memory_is_taken_for_what_has_come_and_not_for_what_was_promised() -> None:
    offered: list[int] = []

    class Dribble:
        begin_body = staticmethod(lambda: None)

        def recv_into(self, view: memoryview) -> int:
            offered.append(len(view))
            return min(len(view), 100_000) if len(offered) < 30 else 0

    read = Body(cast(Any, Dribble()), b"{", 6_000_000).read(6_000_000)
    assert len(read) == 1 + sum(min(size, 100_000) for size in offered[:29])
    come = 1
    for size in offered:
        assert size <= max(come, 32 * 1024)
        come += min(size, 100_000)


def test_bodies_that_come_at_once_share_what_memory_there_is_for_them(
    api: Api, door: InvokeWorker
) -> None:
    """Who holds most, and longest, is refused; the others come in whole."""
    head = f"{INVOKE}\r\nContent-Length: 200000\r\n\r\n".encode()
    with ExitStack() as stack:
        clients = {name: stack.enter_context(connected(door)) for name in "abc"}
        for name, size in {"a": 1, "b": 150_000, "c": 100_000}.items():
            clients[name].sendall(head + b'"'.ljust(size, b"x"))
            until(lambda wanted=size: wanted in [one.reading for one in receivers(door)])
        door._bodies_bytes = 250_001
        door._bound_bodies(time.monotonic() + 10)
        assert len(door._receiving) == 3
        door._bodies_bytes = 250_000
        door._bound_bodies(time.monotonic() + 10)
        assert answer(clients["b"]).startswith(b"HTTP/1.1 400 ")
        for name, size in {"a": 1, "c": 100_000}.items():
            clients[name].sendall(b'"'.rjust(200_000 - size, b"x"))
            assert clients[name].recv(2**16).startswith(b"HTTP/1.1 200 ")
    assert not door._receiving
    assert len(api.service.invoked) == 2


def test_what_is_passed_on_piece_by_piece_is_not_kept(door: InvokeWorker) -> None:
    with connected(door) as client:
        head = "PUT /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n"
        client.sendall(head.encode() + bytes(800_000))
        # it may have come in larger pieces than it is then passed on in
        until(lambda: [one._received > 700_000 for one in receivers(door)] == [True])
        until(lambda: [one.reading <= 64 * 1024 for one in receivers(door)] == [True])
        client.sendall(bytes(100_000))
        assert client.recv(2**16).startswith(b"HTTP/1.1 404 ")


def test_memory_that_many_bodies_took_is_given_back() -> None:
    give_back()  # what other tests have left
    before = resident()
    bodies, others = [], []
    for _ in range(2000):
        bodies.append(bytearray(100_000))
        others.append(bytearray(5000))
    del bodies
    assert resident() - before > 150 * MIB, "the allocator keeps it"
    give_back()
    assert resident() - before < 50 * MIB
    assert others


def test_one_connection_does_not_keep_the_others_from_their_turn(
    door: InvokeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next request is always there, and so nothing ever waits for it."""
    turns = []
    monkeypatch.setattr("gevent.sleep", turns.append)
    plain = f"{INVOKE}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    assert ask(door, plain * 100).count(b" 200 OK") == 100
    assert turns
    turns.clear()
    tiny = b"1\r\n \r\n" * 20_000 + b"2\r\n{}\r\n0\r\n\r\n"
    sent = f"{INVOKE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + tiny
    assert ask(door, sent).count(b" 200 OK") == 1
    assert turns


# Answers.


def test_a_reader_that_takes_nothing_is_given_up_by_the_kernel() -> None:
    listener = _listen(Settings(port=0))
    with listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert timeout == 120_000
            assert client.getpeername() == listener.getsockname()


def test_files_are_left_for_calls_whoever_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    limits = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    assert _open_files() == 4096
    assert limits == [(4096, 4096)]
