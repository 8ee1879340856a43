"""gVisor's runtime, added to an engine that goes on running."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sandbox.errors import StartupError
from sandbox.setup.gvisor import ARGUMENTS, register, write
from sandbox.setup.host import Host
from sandbox.setup.progress import Progress

DEBIAN = Host(root=True, debian=True, systemd=False)
ADDRESS = "unix:///var/run/docker.sock"


class Machine:
    """An engine that has what its settings said when it was last reloaded."""

    def __init__(self, settings: Path) -> None:
        self.settings = settings
        self.runtimes = {"runc"}
        self.installed: list[str] = []

    def run(self, command: Sequence[str], *, output: Callable[[str], None] = print) -> str:
        self.installed += [word for word in command if word == "runsc"]
        return ""

    def reload(self, address: str, ask: Callable[[], object]) -> None:
        self.runtimes |= set(json.loads(self.settings.read_text())["runtimes"])

    def register(self, here: Host = DEBIAN, address: str = ADDRESS) -> None:
        register(
            address,
            Progress(io.StringIO()),
            here=here,
            run=self.run,
            registered=lambda _: "runsc" in self.runtimes,
            reload=self.reload,
            settings=self.settings,
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return Machine(tmp_path / "docker" / "daemon.json")


def test_it_is_installed_and_registered_once(machine: Machine) -> None:
    machine.register()
    assert machine.installed == ["runsc"]
    assert json.loads(machine.settings.read_text()) == {
        "runtimes": {"runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ARGUMENTS}}
    }
    machine.register()
    assert machine.installed == ["runsc"]


def test_what_else_the_engine_was_told_stays(tmp_path: Path) -> None:
    settings = tmp_path / "daemon.json"
    settings.write_text('{"data-root": "/srv", "runtimes": {"kata": {"path": "/kata"}}}')
    write(settings, "/opt/runsc")
    document = json.loads(settings.read_text())
    assert document["data-root"] == "/srv"
    assert document["runtimes"]["kata"] == {"path": "/kata"}
    assert document["runtimes"]["runsc"]["path"] == "/opt/runsc"


def test_settings_that_cannot_be_read_are_left_alone(tmp_path: Path) -> None:
    settings = tmp_path / "daemon.json"
    settings.write_text("{,}")
    with pytest.raises(StartupError, match="is no JSON"):
        write(settings, "/opt/runsc")
    assert settings.read_text() == "{,}"


@pytest.mark.parametrize(
    ("here", "address"),
    [
        (Host(root=False, debian=True, systemd=False), ADDRESS),
        (Host(root=True, debian=False, systemd=False), ADDRESS),
        (DEBIAN, "tcp://elsewhere:2376"),
    ],
)
def test_where_it_is_not_ours_to_do_one_is_told_how(
    machine: Machine, here: Host, address: str
) -> None:
    with pytest.raises(StartupError, match="install runsc"):
        machine.register(here, address)
    assert not machine.settings.exists()
