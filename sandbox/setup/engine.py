"""A Docker Engine that answers: the one that runs, else one that is installed and started."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.engines.docker import connect, ping, translated
from sandbox.errors import EngineUnavailable, StartupError
from sandbox.setup import host
from sandbox.setup.commands import Run, run
from sandbox.setup.host import Host
from sandbox.setup.progress import Progress

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_START_SECONDS = 60.0
# apparmor: where the kernel enforces it, dockerd starts no container without its parser.
_PACKAGES = ("docker.io", "apparmor")


def ensure(
    address: str,
    state_dir: Path,
    progress: Progress,
    *,
    here: Host | None = None,
    run: Run = run,
    answers: Callable[[str], bool] | None = None,
    start: Callable[[Path], object] | None = None,
) -> None:
    """Return when the Docker Engine at `address` answers.

    StartupError, one line that says what to do, where it is not ours to install or to start.
    """
    answers, start, here = answers or _answers, start or start_dockerd, here or host.look()
    with progress.step("Docker Engine") as step:
        if answers(address):
            step.skip("running")
            return
        _refuse(address, here)
        if shutil.which("dockerd") is None:
            step.working("installing docker.io")
            host.install(_PACKAGES, run=run, output=progress.output)
        # The package's own scripts start the service where services are started that way.
        if not answers(address):
            step.working("starting dockerd")
            if here.systemd:
                run(["systemctl", "start", "docker"])
            else:
                start(state_dir / "dockerd.log")
        if not answers(address):
            raise StartupError(f"the Docker Engine was started, but does not answer at {address}")


def _refuse(address: str, here: Host) -> None:
    """Raise where an engine that does not answer is for the user to see to."""
    path = Path(address.removeprefix("unix://"))
    if address != DEFAULT_ADDRESS:
        raise StartupError(
            f"no Docker Engine answers at {address}: start it, or unset FNBOX_DOCKER_HOST "
            "and DOCKER_HOST"
        )
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise StartupError(
            f"you may not use {path}: run `sudo usermod -aG docker $USER`, then log in again"
        )
    if not here.debian:
        raise StartupError(
            "no Docker Engine runs here: install Docker Engine or Docker Desktop "
            "(https://docs.docker.com/engine/install/), start it, and run this again"
        )
    if not here.root and shutil.which("dockerd"):
        raise StartupError("the Docker Engine is stopped: run `sudo systemctl start docker`")
    if not here.root:
        raise StartupError(
            "no Docker Engine runs here: run `sudo apt-get install docker.io && "
            "sudo usermod -aG docker $USER`, log in again, and run this again"
        )


def _answers(address: str) -> bool:
    try:
        with translated("Docker Engine"):
            client = connect(address)
            with contextlib.closing(client):
                ping(client)
    except EngineUnavailable:
        return False
    return True


def start_dockerd(log: Path, *, command: str = "dockerd") -> subprocess.Popen[bytes]:
    """Start dockerd in the background, in a session of its own; return when it says it is ready.

    It says so as it would to systemd: in a datagram to the socket that NOTIFY_SOCKET names.
    StartupError names the log when it ends or takes too long.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="fnbox-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices,
        log.open("ab") as output,
    ):
        address = f"{folder}/notify"
        notices.bind(address)
        process = subprocess.Popen(
            ["env", f"NOTIFY_SOCKET={address}", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        ended = os.pidfd_open(process.pid)
        deadline = time.monotonic() + _START_SECONDS
        try:
            while True:
                left = max(0.0, deadline - time.monotonic())
                readable, _, _ = select.select([notices.fileno(), ended], [], [], left)
                if notices.fileno() in readable:
                    if b"READY=1" in notices.recv(4096).split(b"\n"):
                        return process
                elif readable:
                    process.wait()
                    raise StartupError(f"dockerd ended as soon as it was started: see {log}")
                else:
                    process.kill()
                    process.wait()
                    raise StartupError(
                        f"dockerd was not ready after {_START_SECONDS:.0f} s: see {log}"
                    )
        finally:
            os.close(ended)
