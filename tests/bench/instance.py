"""An fnbox of the benchmark's own: on a free port, in a directory that is gone afterwards."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker import APIClient

from sandbox.settings import Settings
from sandbox.setup.deploy import Code, deploy, lambda_client
from tests.bench.client import Address

RUNTIME = "python3.13"

_INSTANCE_LABEL = "dev.fnbox.instance"
_READY_SECONDS = 60.0
_END_SECONDS = 60.0
_SETTLE_SECONDS = 60.0
_REMOVAL_SECONDS = 10.0
_POLL_SECONDS = 0.01


class Instance:
    """A control plane that runs."""

    def __init__(self, settings: Settings, engine: APIClient, pid: int) -> None:
        self.pid = pid
        self.address: Address = ("127.0.0.1", settings.port)
        self._spares = settings.spares
        self._state_dir = settings.state_dir
        self._engine = engine
        self._lambda: Any = lambda_client(settings)

    def create(self, name: str, package: bytes, handler: str, **members: Any) -> None:
        """Returns once the function is Active; `members` are CreateFunction's."""
        configuration = {"Runtime": RUNTIME, "Handler": handler, **members}
        deploy(self._lambda, name, Code(package, None), configuration)

    def delete(self, name: str) -> None:
        self._lambda.delete_function(FunctionName=name)

    def settle(self, environments: int | None = None) -> None:
        """Wait until no container is on its way, and, with the spares, there are so many.

        A container that is booted has taken away the socket that its init dialled.
        """
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            booting = len(list(self._state_dir.glob("run/*/control.sock")))
            there = len(self._containers())
            if not booting and environments in (None, there - self._spares):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{there} containers are there, {booting} are starting")
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """No connection of ours holds up the control plane's end."""
        self._lambda.close()

    def clear_away(self) -> int:
        """Wait for containers that are being removed; remove, and count, those that stay."""
        deadline = time.monotonic() + _REMOVAL_SECONDS
        while left := self._containers():
            if time.monotonic() > deadline:
                for container in left:
                    self._engine.remove_container(container["Id"], force=True)
                break
            time.sleep(_POLL_SECONDS)
        return len(left)

    def _containers(self) -> list[dict[str, Any]]:
        """Of whatever state."""
        identity = self._state_dir / "instance"
        if not identity.exists():
            return []  # it never got so far
        label = f"{_INSTANCE_LABEL}={identity.read_text().strip()}"
        found: list[dict[str, Any]] = self._engine.containers(all=True, filters={"label": label})
        return found


@contextmanager
def running(engine: APIClient, address: str, *, spares: int = 1) -> Iterator[Instance]:
    """An instance with its default settings but these; nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder:
        settings = Settings(
            port=_free_port(), state_dir=Path(folder), spares=spares, docker_host=address
        )
        reader, writer = os.pipe()
        with open(reader, "rb", buffering=0) as ready:
            process = _start(settings, writer)
            instance = Instance(settings, engine, process.pid)
            try:
                readable, _, _ = select.select([ready], [], [], _READY_SECONDS)
                if not readable or not ready.read(1):
                    raise RuntimeError(f"fnbox did not come up: {_log(settings).read_text()}")
                yield instance
            finally:
                instance.close()
                process.terminate()
                try:
                    process.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                left = instance.clear_away()
        if left:
            raise RuntimeError(f"fnbox left {left} containers when it was stopped")


def _start(settings: Settings, ready_fd: int) -> subprocess.Popen[bytes]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("FNBOX_")}
    own["FNBOX_CONFIG"] = os.devnull
    for name in ("port", "state_dir", "spares", "docker_host"):
        own[f"FNBOX_{name.upper()}"] = str(getattr(settings, name))
    try:
        with _log(settings).open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "sandbox", "serve", "--ready-fd", str(ready_fd)],
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[ready_fd],
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends it
            )
    finally:
        os.close(ready_fd)


def _log(settings: Settings) -> Path:
    return settings.state_dir / "control-plane.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
