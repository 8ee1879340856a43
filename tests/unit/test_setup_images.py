"""Bringing images up to date, against an engine that only remembers."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sandbox.errors import EngineError, StartupError
from sandbox.setup import debian, host, images, recipes, wheels
from sandbox.setup.host import Host
from sandbox.setup.progress import Progress
from sandbox.setup.recipes import RECIPES


class Build(NamedTuple):
    base: str
    files: list[str]
    target: str | None


class Engine:
    """Has images, by reference, with their inputs labels."""

    def __init__(self, *, registry: bool = True) -> None:
        self.here: dict[str, str] = {}
        self.builds: dict[str, Build] = {}
        self.registry = registry
        self.breaks: str | None = None

    def architecture(self) -> str:
        return "arm64"

    def inputs(self, reference: str) -> str | None:
        return self.here.get(reference)

    def build(
        self,
        context: bytes,
        *,
        reference: str,
        inputs: str,
        target: str | None,
        arguments: Mapping[str, str],
        output: Callable[[str], None],
    ) -> None:
        if reference == self.breaks:
            raise EngineError(f"building {reference} failed: status 1")
        assert arguments["BASE"] in self.here, "built before its base"
        with tarfile.open(fileobj=io.BytesIO(context)) as archive:
            files = archive.getnames()
        self.builds[reference] = Build(arguments["BASE"], files, target)
        self.here[reference] = inputs

    def pull(self, reference: str, *, output: Callable[[str], None]) -> bool:
        if self.registry:
            self.here[reference] = ""
        return self.registry

    def import_root(self, archive: Path, reference: str) -> None:
        self.here[reference] = ""


@pytest.fixture
def progress() -> Progress:
    return Progress(io.StringIO())


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(requirements: Path, into: Path, *, python: str, **others: Any) -> None:
        assert requirements.is_file()
        (into / f"client-{python}.whl").write_bytes(b"")

    monkeypatch.setattr(wheels, "fetch", fetch)


def build(names: Sequence[str], engine: Engine, progress: Progress) -> None:
    images.build(names, engine, progress)  # type: ignore[arg-type]


def test_a_fresh_engine_gets_every_image_that_functions_need(progress: Progress) -> None:
    engine = Engine()
    build([], engine, progress)
    assert set(engine.builds) == {RECIPES[recipe.name].reference for recipe in recipes.select([])}
    assert engine.builds["fnbox/base-bookworm:latest"].base == "debian:bookworm-slim"
    assert engine.builds["fnbox/init:latest"].target == "init"
    python = engine.builds["fnbox/python3.11:latest"]
    assert python.base == "fnbox/base-bookworm:latest"
    assert "wheels/client-3.11.whl" in python.files


def test_what_is_current_is_neither_pulled_nor_built() -> None:
    engine = Engine()
    build([], engine, Progress(io.StringIO()))
    engine.builds.clear()
    engine.registry = False
    told = io.StringIO()
    build([], engine, Progress(told))
    assert engine.builds == {}
    assert told.getvalue().count("skipped (unchanged)") == len(recipes.select([]))


def test_only_what_has_other_inputs_is_built_again(progress: Progress) -> None:
    engine = Engine()
    build([], engine, progress)
    engine.builds.clear()
    engine.here["fnbox/python3.13:latest"] = "of an older checkout"
    build([], engine, progress)
    assert list(engine.builds) == ["fnbox/python3.13:latest"]


def test_a_build_that_fails_names_the_command_that_shows_why(progress: Progress) -> None:
    engine = Engine()
    engine.breaks = "fnbox/init:latest"
    with pytest.raises(EngineError, match="`fnbox images build --verbose init` shows"):
        build(["init"], engine, progress)


def provide(engine: Engine, run: Callable[..., str]) -> str:
    progress = Progress(io.StringIO())
    with progress.step("Debian") as step:
        return debian.provide("trixie", engine, step, output=progress.output, run=run)  # type: ignore[arg-type]


def refuse(command: Sequence[str], **others: Any) -> str:
    raise AssertionError(f"{command} was run")


@pytest.mark.parametrize("reference", ["debian:trixie-slim", "fnbox/debian:trixie"])
def test_a_debian_that_is_there_is_used(reference: str) -> None:
    engine = Engine()
    engine.here[reference] = ""
    assert provide(engine, refuse) == reference


def test_debian_is_pulled_where_a_registry_answers() -> None:
    assert provide(Engine(), refuse) == "debian:trixie-slim"


def test_debian_is_bootstrapped_where_no_registry_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(host, "look", lambda: Host(root=True, debian=True, systemd=False))
    monkeypatch.setattr(debian.shutil, "which", lambda name: None)
    reference = provide(
        Engine(registry=False), lambda command, **others: ran.append(" ".join(command)) or ""
    )
    assert reference == "fnbox/debian:trixie"
    assert [line.split()[-1] for line in ran] == [
        "update",
        "debian-archive-keyring",
        "http://deb.debian.org/debian",
    ]


def test_two_suites_at_once_install_the_tool_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "look", lambda: Host(root=True, debian=True, systemd=False))
    installed = threading.Event()
    monkeypatch.setattr(
        debian.shutil, "which", lambda name: "/usr/bin/x" if installed.is_set() else None
    )
    commands: list[str] = []
    others = threading.Barrier(2)

    def run(command: Sequence[str], **_: Any) -> str:
        if "apt-get" in command:
            commands.append("update" if "update" in command else "install")
            if commands[-1] == "install":
                installed.set()
        return ""

    def provide_beside_another() -> None:
        others.wait()
        provide(Engine(registry=False), run)

    threads = [threading.Thread(target=provide_beside_another) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert commands == ["update", "install"]


def test_who_has_neither_a_registry_nor_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "look", lambda: Host(root=False, debian=True, systemd=False))
    with pytest.raises(StartupError, match="no registry answers for debian:trixie-slim"):
        provide(Engine(registry=False), refuse)


def test_wheels_are_asked_for_by_the_images_python_and_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    ran: list[list[str]] = []
    wheels.fetch(
        Path("requirements.txt"),
        Path("wheels"),
        python="3.11",
        architecture="arm64",
        output=print,
        run=lambda command, **others: ran.append(list(command)) or "",
    )
    command = " ".join(ran[0])
    assert "--python-version 3.11 " in command
    assert "--platform manylinux2014_aarch64" in command
    assert "x86_64" not in command


@pytest.mark.parametrize(
    ("text", "debian_like"),
    [
        ("ID=debian\n", True),
        ('NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n', True),
        ('ID="fedora"\n', False),
    ],
)
def test_debian_and_what_descends_from_it_are_told_from_others(
    tmp_path: Path, text: str, debian_like: bool
) -> None:
    release = tmp_path / "os-release"
    release.write_text(text)
    assert host._is_debian(release) is debian_like
    assert not host._is_debian(tmp_path / "missing")


def test_this_machine_can_be_looked_at() -> None:
    assert host.look().root is (os.geteuid() == 0)
