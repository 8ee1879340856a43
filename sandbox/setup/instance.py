"""The control plane as a background process: started, found, stopped."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox.engines.docker import DockerEngine
from sandbox.errors import StartupError
from sandbox.settings import Settings
from sandbox.setup.progress import Progress
from sandbox.state import instance_id

_HEALTH = "/_fnbox/health"
_READY_SECONDS = 60.0
# After the calls in flight have had their grace: environments and queues are closed.
_CLOSE_SECONDS = 15.0


def log_path(settings: Settings) -> Path:
    return settings.state_dir / "control-plane.log"


def up(settings: Settings, options: Sequence[str], progress: Progress) -> None:
    """Start the control plane in the background, and return when calls are answered.

    `options` are what `serve` needs to arrive at the same settings. StartupError holds why it
    did not come up, and where its log is.
    """
    with progress.step("control plane") as step:
        if running(settings):
            step.skip("running")
        else:
            step.working("starting")
            _start(settings, options)
        health = _health(settings)
        if health is None:
            raise StartupError(
                f"a control plane runs on {settings.state_dir}, but {settings.url} is not its: "
                "give the --port that it was started with, or run `fnbox down` first"
            )
        if settings.aws and "s3" not in health.get("services", ()):
            raise StartupError("the control plane runs without --aws: run `fnbox down` first")


def _start(settings: Settings, options: Sequence[str]) -> None:
    log = log_path(settings)
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        output = log.open("ab")
    except OSError as error:
        raise StartupError(
            f"the state directory cannot be used ({error}); set FNBOX_STATE_DIR"
        ) from error
    reader, writer = os.pipe()
    with output, open(reader, "rb", buffering=0) as ready:
        begin = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "serve", *options, "--ready-fd", str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[writer],
            start_new_session=True,
        )
        os.close(writer)
        readable, _, _ = select.select([ready], [], [], _READY_SECONDS)
        if readable and ready.read(1):
            return
    process.terminate()
    try:
        process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    raise StartupError(f"{_last_line(log, begin)} (log: {log})")


def _last_line(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    spoken = [line for line in lines if line]
    return spoken[-1].removeprefix("fnbox: ") if spoken else "the control plane did not come up"


def healthy(settings: Settings) -> bool:
    """Whether a control plane answers where this one's clients would ask."""
    return _health(settings) is not None


def _health(settings: Settings) -> dict[str, Any] | None:
    """What it says of itself."""
    host = settings.url.removeprefix("http://").rpartition(":")[0]
    connection = http.client.HTTPConnection(host.strip("[]"), settings.port, timeout=5)
    try:
        connection.request("GET", _HEALTH)
        answer = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    else:
        return found if answer.status == 200 else None
    finally:
        connection.close()


def running(settings: Settings) -> bool:
    """Whether a control plane holds the state directory."""
    try:
        with (settings.state_dir / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def down(settings: Settings, progress: Progress) -> None:
    """Stop the control plane: calls in flight get their grace, and no container is left.

    StartupError when it does not end, or when a container outlives it.
    """
    with progress.step("control plane") as step:
        if running(settings):
            step.working("waiting for calls in flight")
            _stop(settings)
        else:
            step.skip("not running")
    with progress.step("containers") as step:
        engine = _engine(settings)
        left = engine.containers() if engine else []
        if left:
            raise StartupError(
                f"{len(left)} containers are left; remove them with "
                f"`docker rm -f {' '.join(container[:12] for container in left)}`"
            )
        if engine:
            engine.own_networks.remove()  # what one that was killed has left
        step.skip("none left")


def _stop(settings: Settings) -> None:
    pid = _pid(settings)
    process = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], settings.grace + _CLOSE_SECONDS)
    finally:
        os.close(process)
    if not ended:
        raise StartupError(
            f"the control plane (process {pid}) does not end: see {log_path(settings)}"
        )


def _pid(settings: Settings) -> int:
    """The process that holds the state directory; StartupError when it is in a container.

    The file holds a number of the holder's own PID namespace, and signalling what has
    that number here would hit a stranger.
    """
    text = (settings.state_dir / "lock").read_text().strip()
    command = Path(f"/proc/{text}/cmdline")
    if text.isdigit() and command.is_file():
        words = command.read_bytes().split(b"\0")
        if b"serve" in words:
            return int(text)
    raise StartupError(
        f"the control plane on {settings.state_dir} is not a process of this machine; "
        "stop its container: `docker stop fnbox`"
    )


def _engine(settings: Settings) -> DockerEngine | None:
    """As the instance saw it; None when it has never been started."""
    if not (settings.state_dir / "instance").is_file():
        return None
    return DockerEngine(
        address=settings.docker_host,
        instance=instance_id(settings.state_dir),
        state_dir=settings.state_dir,
    )
