"""Progress, programs that are run, the virtual environment, the process in the background."""

from __future__ import annotations

import fcntl
import io
import socket
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import CallerError, StartupError
from sandbox.settings import Settings
from sandbox.setup import host, instance, venv
from sandbox.setup.commands import run
from sandbox.setup.deploy import Code, pack
from sandbox.setup.host import Host
from sandbox.setup.progress import Progress


def test_a_step_ends_with_its_time_and_what_came_of_it() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("one"):
        pass
    with progress.step("two") as step:
        step.skip("unchanged")
    with pytest.raises(ValueError), progress.step("three"):  # noqa: PT011
        raise ValueError
    results = [line.split(" s  ")[1] for line in out.getvalue().splitlines()]
    assert results == ["done", "skipped (unchanged)", "failed"]


def test_without_a_terminal_a_step_tells_once_that_it_has_begun() -> None:
    out = io.StringIO()
    with Progress(out).step("build") as step:
        step.working("first")
        step.working("second")
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == ["first", "done"]


def test_output_of_tools_is_shown_when_asked_for() -> None:
    quiet, verbose = io.StringIO(), io.StringIO()
    Progress(quiet).output("a line\n")
    Progress(verbose, verbose=True).output("a line\n")
    assert (quiet.getvalue(), verbose.getvalue()) == ("", "    a line\n")


def test_a_programs_output_is_handed_on_and_returned() -> None:
    lines: list[str] = []
    script = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    assert run([sys.executable, "-c", script], output=lines.append) == "out\nerr\n"
    assert lines == ["out\n", "err\n"]


def test_a_program_that_fails_is_told_in_one_line_with_its_cause() -> None:
    script = "print('E: no such package'); print('bye'); raise SystemExit(3)"
    with pytest.raises(StartupError, match=r"failed with status 3: E: no such package$") as caught:
        run([sys.executable, "-c", script])
    assert "\n" not in str(caught.value).partition("…")[2]


def test_a_program_that_is_not_there_is_told_by_name() -> None:
    with pytest.raises(StartupError, match="nonesuch cannot be run: No such file"):
        run(["nonesuch"])


class Ran(list[str]):
    def __call__(self, command: Sequence[str], **others: Any) -> str:
        self.append(" ".join(command))
        (self.folder / ".venv").mkdir(exist_ok=True)
        return ""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "requirements-dev.lock").write_text("a==1\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


def test_the_environment_is_made_from_the_lock_once(checkout: Path) -> None:
    ran = Ran(checkout)
    venv.provide(checkout, Progress(io.StringIO()), run=ran)
    assert [" -m venv " in line for line in ran] == [True, False, False]
    assert "requirements-dev.lock" in ran[1]
    assert "--no-deps" in ran[2]
    venv.provide(checkout, Progress(io.StringIO()), run=ran)
    assert len(ran) == 3


def test_another_lock_makes_it_anew(checkout: Path) -> None:
    ran = Ran(checkout)
    venv.provide(checkout, Progress(io.StringIO()), run=ran)
    (checkout / "requirements-dev.lock").write_text("a==2\n")
    venv.provide(checkout, Progress(io.StringIO()), run=ran)
    assert len(ran) == 6


@pytest.mark.parametrize("root", [True, False])
def test_debians_missing_venv_is_installed_or_asked_for(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, root: bool
) -> None:
    monkeypatch.setattr(venv.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(host, "look", lambda: Host(root=root, debian=True, systemd=False))
    ran = Ran(checkout)
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if root:
        venv.provide(checkout, Progress(io.StringIO()), run=ran)
        assert ran[1].endswith(f"install -y --no-install-recommends {package}")
    else:
        with pytest.raises(StartupError, match=f"sudo apt-get install {package}"):
            venv.provide(checkout, Progress(io.StringIO()), run=ran)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield Settings(state_dir=tmp_path / "state", port=unused.getsockname()[1])


def test_nothing_runs_where_nothing_was_started(settings: Settings) -> None:
    assert not instance.running(settings)
    assert not instance.healthy(settings)


def test_who_holds_the_state_directory_from_elsewhere_is_not_signalled(settings: Settings) -> None:
    settings.state_dir.mkdir()
    with (settings.state_dir / "lock").open("w") as lock:
        # Not the holder's number in this PID namespace, but that of a stranger: ourselves.
        lock.write("1\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert instance.running(settings)
        with pytest.raises(StartupError, match="docker stop fnbox"):
            instance.down(settings, Progress(io.StringIO()))
    assert not instance.running(settings)


def test_a_control_plane_that_does_not_come_up_is_told_with_its_reason(settings: Settings) -> None:
    with pytest.raises(StartupError) as caught:
        instance.up(settings, ["--port", "none"], Progress(io.StringIO()))
    reason = str(caught.value)
    assert "--port" in reason
    assert reason.endswith(f"(log: {instance.log_path(settings)})")
    assert "\n" not in reason


def test_a_folder_packs_to_the_same_bytes_whenever_it_is_packed(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__pycache__" / "x.pyc").write_bytes(b"")
    (folder / "lib").mkdir()
    (folder / "lib" / "b.py").write_text("b = 1\n")
    tool = folder / "bootstrap"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    packed = pack(folder)
    tool.touch()
    assert pack(folder) == packed
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        modes = {entry.filename: oct(entry.external_attr >> 16) for entry in archive.infolist()}
    assert modes == {"bootstrap": "0o100755", "lib/b.py": "0o100644"}
    ready = tmp_path / "code.zip"
    ready.write_bytes(packed)
    assert pack(ready) == packed


def test_what_cannot_be_packed_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    text = tmp_path / "a.txt"
    text.write_text("x")
    for path in (empty, text):
        with pytest.raises(CallerError, match="neither a ZIP file nor a folder"):
            pack(path)


def test_code_is_compared_by_its_digest_and_an_image_never_matches() -> None:
    digest = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
    assert Code(b"abc", None).matches({"CodeSha256": digest})
    assert not Code(b"abd", None).matches({"CodeSha256": digest})
    assert not Code(None, "image").matches({"CodeSha256": digest})


def test_an_instance_without_other_services_is_not_taken_for_one_with_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "running", lambda settings: True)
    offered = {"lambda": "running"}
    monkeypatch.setattr(instance, "_health", lambda settings: {"services": offered})
    instance.up(settings, [], Progress(io.StringIO()))
    wanted = replace(settings, aws=True)
    with pytest.raises(StartupError, match="runs without --aws: run `fnbox down` first"):
        instance.up(wanted, [], Progress(io.StringIO()))
    offered["s3"] = "running"
    instance.up(wanted, [], Progress(io.StringIO()))
