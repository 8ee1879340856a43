"""Which engine is used, installed or asked for; nothing here touches a real one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sandbox.errors import StartupError
from sandbox.setup import engine
from sandbox.setup.engine import DEFAULT_ADDRESS, ensure, start_dockerd
from sandbox.setup.host import Host
from sandbox.setup.progress import Progress

ROOT_ON_DEBIAN = Host(root=True, debian=True, systemd=False)


class Machine:
    """Records what is run; the engine answers once `starts` has been run."""

    def __init__(self, starts: str | None = None, *, answering: bool = False) -> None:
        self.starts = starts
        self.answering = answering
        self.commands: list[str] = []

    def run(self, command: Sequence[str], *, output: Callable[[str], None] = print) -> str:
        return self.did(" ".join(command))

    def start(self, log: Path) -> None:
        self.did(f"dockerd with {log.name}")

    def did(self, what: str) -> str:
        self.commands.append(what)
        if self.starts is not None and self.starts in what:
            self.answering = True
        return ""

    def ensure(self, here: Host, address: str = DEFAULT_ADDRESS) -> None:
        with open(os.devnull, "w") as quiet:
            ensure(
                address,
                Path("/state"),
                Progress(quiet),
                here=here,
                run=self.run,
                answers=lambda address: self.answering,
                start=self.start,
            )


@pytest.fixture(autouse=True)
def _no_dockerd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    monkeypatch.setattr(engine.os, "access", lambda path, mode: True)


def test_an_engine_that_answers_is_used_whoever_asks() -> None:
    machine = Machine(answering=True)
    machine.ensure(Host(root=False, debian=False, systemd=False))
    assert machine.commands == []


def test_root_on_debian_gets_docker_io_and_a_dockerd_in_the_background() -> None:
    machine = Machine("dockerd with")
    machine.ensure(ROOT_ON_DEBIAN)
    update, install, start = machine.commands
    assert update.endswith("apt-get -o DPkg::Lock::Timeout=300 update")
    assert "install -y --no-install-recommends docker.io" in install
    assert start == "dockerd with dockerd.log"


def test_where_systemd_runs_it_starts_the_service() -> None:
    machine = Machine("systemctl")
    machine.ensure(ROOT_ON_DEBIAN._replace(systemd=True))
    assert machine.commands[-1] == "systemctl start docker"


def test_a_service_that_the_package_started_is_not_started_again() -> None:
    machine = Machine("install")
    machine.ensure(ROOT_ON_DEBIAN._replace(systemd=True))
    assert "docker.io" in machine.commands[-1]


def test_a_dockerd_that_is_there_is_started_without_installing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine.shutil, "which", lambda name: "/usr/sbin/dockerd")
    machine = Machine("dockerd with")
    machine.ensure(ROOT_ON_DEBIAN)
    assert machine.commands == ["dockerd with dockerd.log"]


def test_an_engine_that_stays_silent_after_its_start_is_an_error() -> None:
    with pytest.raises(StartupError, match="was started, but does not answer"):
        Machine().ensure(ROOT_ON_DEBIAN)


@pytest.mark.parametrize(
    ("here", "advice"),
    [
        (ROOT_ON_DEBIAN._replace(root=False), "sudo apt-get install docker.io"),
        (ROOT_ON_DEBIAN._replace(debian=False), "docs.docker.com/engine/install"),
    ],
)
def test_who_cannot_install_is_told_what_to_do_in_one_line(here: Host, advice: str) -> None:
    machine = Machine()
    with pytest.raises(StartupError) as caught:
        machine.ensure(here)
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)
    assert machine.commands == []


def test_an_engine_elsewhere_is_never_replaced_by_one_here() -> None:
    machine = Machine()
    with pytest.raises(StartupError, match="no Docker Engine answers at tcp://build:2375"):
        machine.ensure(ROOT_ON_DEBIAN, "tcp://build:2375")
    assert machine.commands == []


def test_a_socket_that_may_not_be_used_is_told_from_an_engine_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine.os, "access", lambda path, mode: False)
    monkeypatch.setattr(engine.Path, "exists", lambda path: True)
    with pytest.raises(StartupError, match="usermod -aG docker"):
        Machine().ensure(ROOT_ON_DEBIAN._replace(root=False))


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/usr/bin/env python3\n{body}")
    path.chmod(0o755)
    return str(path)


_READY = """
import os, pathlib, signal, socket
pathlib.Path({pid!r}).write_text(str(os.getpid()))
notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notices.connect(os.environ["NOTIFY_SOCKET"])
notices.send(b"STATUS=starting")
notices.send(b"READY=1")
print("running", flush=True)
signal.pause()
"""


def test_a_dockerd_is_waited_for_until_it_says_that_it_is_ready(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    log = tmp_path / "state" / "dockerd.log"
    command = script(tmp_path / "dockerd", _READY.format(pid=str(pid)))
    with start_dockerd(log, command=command) as process:
        assert int(pid.read_text()) == process.pid == os.getsid(process.pid)
        process.kill()


def test_a_dockerd_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "dockerd.log"
    with pytest.raises(StartupError, match=f"ended as soon .* see {shlex.quote(str(log))}"):
        start_dockerd(log, command=script(tmp_path / "dockerd", "print('no iptables')"))
    assert log.read_text() == "no iptables\n"
