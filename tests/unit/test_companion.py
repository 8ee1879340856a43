"""The process beside the control plane, with a small script in moto's place."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.aws import companion as module
from sandbox.aws.companion import Companion
from sandbox.clock import SystemClock
from tests.support.functions import until

ANSWERS = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    connection = listener.accept()[0]
    with connection:
        if connection.recv(1) == b"x":
            os._exit(3)
        connection.sendall(str(os.getpid()).encode())
"""
"""Tells its process id on each connection; ends when it reads an x."""


@pytest.fixture
def companion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Companion]:
    monkeypatch.setattr(module, "_COMMAND", (sys.executable, "-I", "-S", "-c", ANSWERS))
    folder = tmp_path / ("long" * 30)  # longer than a socket's name may be
    folder.mkdir()
    companion = Companion(folder, SystemClock())
    yield companion
    companion.close()


def ask(companion: Companion, question: bytes = b"?") -> int:
    with companion.connect(10) as connection:
        connection.sendall(question)
        return int(connection.recv(100) or 0)


def test_a_request_waits_until_it_is_up(companion: Companion) -> None:
    asked = ask(companion)
    until(lambda: companion.process_id == asked)  # it may answer before its parent knows its id


def test_one_that_dies_is_replaced_and_nobody_who_asks_meanwhile_is_refused(
    companion: Companion, caplog: pytest.LogCaptureFixture
) -> None:
    first = ask(companion)
    assert ask(companion, b"x") == 0
    second = ask(companion)
    assert second not in (0, first)
    until(lambda: companion.process_id == second)
    [record] = caplog.records
    assert "ended with status 3 and what it held is lost" in record.getMessage()


def test_nothing_is_left_of_it(companion: Companion) -> None:
    process = ask(companion)
    path = companion.log_path.parent / "aws.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    companion.close()
    companion.close()
    assert not Path(f"/proc/{process}").exists()
    assert not path.exists()
    with pytest.raises(OSError, match="No such file"):
        companion.connect(1)


def test_a_socket_that_a_killed_control_plane_left_is_replaced(
    companion: Companion, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "aws.sock"))
    another = Companion(tmp_path, SystemClock())
    assert ask(another) != ask(companion)
    another.close()
