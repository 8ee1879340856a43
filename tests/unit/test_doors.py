from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandbox.environments.doors import CONNECTIONS, SOCKET, Doors


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "environment"
    path.mkdir()
    return path


@pytest.fixture
def doors(directory: Path) -> Iterator[Doors]:
    made = Doors()
    yield made
    made.close(directory)


def knock(directory: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    try:
        client.connect(str(directory / SOCKET))
    except OSError:
        client.close()
        raise
    return client


def test_who_answers_is_told_whose_door_it_is(doors: Doors, directory: Path) -> None:
    doors.answer_by(lambda connection, environment: connection.sendall(environment.encode()))
    doors.open(directory)
    with knock(directory) as client:
        assert client.recv(100) == b"environment"
        assert client.recv(100) == b""


def test_who_knocks_before_anybody_answers_waits(doors: Doors, directory: Path) -> None:
    doors.open(directory)
    with knock(directory) as client:
        doors.answer_by(lambda connection, _: connection.sendall(b"now"))
        assert client.recv(100) == b"now"


def test_the_next_connection_is_taken_when_another_has_ended(doors: Doors, directory: Path) -> None:
    answered: list[socket.socket] = []
    changed = threading.Condition()
    release = threading.Semaphore(0)

    def answer(connection: socket.socket, _: str) -> None:
        with changed:
            answered.append(connection)
            changed.notify()
        release.acquire()

    doors.answer_by(answer)
    doors.open(directory)
    with ExitStack() as clients:
        for _ in range(CONNECTIONS + 1):
            clients.enter_context(knock(directory))
        with changed:
            assert changed.wait_for(lambda: len(answered) == CONNECTIONS, 10)
        release.release()
        with changed:
            assert changed.wait_for(lambda: len(answered) == CONNECTIONS + 1, 10)
        release.release(CONNECTIONS)


def test_a_closed_door_takes_nobody_and_leaves_no_thread(doors: Doors, directory: Path) -> None:
    before = threading.enumerate()  # with those that an earlier test's door may have left to end
    doors.open(directory)
    started = [one for one in threading.enumerate() if one not in before]
    [thread] = [one for one in started if one.name == "door-environment"]
    doors.close(directory)
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        knock(directory)
    doors.close(directory)


def test_a_door_outlives_a_time_without_descriptors(
    doors: Doors, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    accept = socket.socket.accept

    def failing(listener: socket.socket) -> object:
        if not rests:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    monkeypatch.setattr("sandbox.environments.doors.time.sleep", rests.append)
    monkeypatch.setattr(socket.socket, "accept", failing)
    doors.answer_by(lambda connection, _: connection.sendall(b"here"))
    doors.open(directory)
    with knock(directory) as client:
        assert client.recv(100) == b"here"
    assert len(rests) == 1


def test_a_call_that_is_being_answered_outlives_its_door(doors: Doors, directory: Path) -> None:
    taken, closed = threading.Event(), threading.Event()

    def answer(connection: socket.socket, _: str) -> None:
        taken.set()
        closed.wait(10)
        connection.sendall(b"still")

    doors.answer_by(answer)
    doors.open(directory)
    with knock(directory) as client:
        assert taken.wait(10)
        doors.close(directory)
        closed.set()
        assert client.recv(100) == b"still"
