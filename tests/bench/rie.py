"""AWS's own emulator, the Runtime Interface Emulator (RIE), as a container for each client.

The binary is the one that AWS ships in the wheel of its SAM CLI. It runs in the same
image as fnbox's functions, on Docker's default network and with Docker's default log,
as `docker run` would have it, and is asked at the container's own address: a published
port would add Docker's proxy. It prints errors only, as SAM CLI has it.

It runs one call at a time and crashes when it gets a second one meanwhile.
"""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from docker import APIClient

from tests.bench.client import Address

SAM_CLI = "1.170.0"
PORT = 8080
LABEL = "dev.fnbox.bench"

_CACHE = Path("build/bench")
_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}
_POLL_SECONDS = 0.001
_START_SECONDS = 30.0


def fetch() -> Path:
    """The emulator's binary, out of the wheel; kept for the next run."""
    binary = _CACHE.absolute() / f"aws-lambda-rie-{SAM_CLI}"
    if binary.exists():
        return binary
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        what = ["--no-deps", "--only-binary", ":all:", f"aws-sam-cli=={SAM_CLI}"]
        subprocess.run([*pip, "download", "--dest", folder, *what], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        member = f"samcli/local/rapid/aws-lambda-rie-{_MACHINES[platform.machine()]}"
        draft = Path(folder, "rie")
        with zipfile.ZipFile(wheel) as archive:
            draft.write_bytes(archive.read(member))
        draft.chmod(0o755)
        draft.replace(binary)
    return binary


class Containers:
    """The containers of this run that are not fnbox's, all with its label."""

    def __init__(self, engine: APIClient, image: str, run: str) -> None:
        self._engine = engine
        self._image = image
        self._label = {LABEL: run}

    def start_rie(self, binary: Path, task: Path, handler: str) -> tuple[str, Address]:
        """Create and start one; its id, and where it will answer."""
        container = self._start(
            {
                "Entrypoint": ["/rie"],
                "Cmd": ["--log-level", "error", "/var/runtime/bootstrap"],
                "Env": [f"_HANDLER={handler}"],
                "HostConfig": {"Binds": [f"{binary}:/rie:ro", f"{task}:/var/task:ro"]},
            }
        )
        found = self._engine.inspect_container(container)["NetworkSettings"]
        address = found["IPAddress"] or found["Networks"]["bridge"]["IPAddress"]
        return container, (address, PORT)

    def start_bare(self) -> str:
        """Create and start one that does nothing and has no network: the engine's own cost."""
        return self._start(
            {"Entrypoint": ["sleep", "infinity"], "HostConfig": {"NetworkMode": "none"}}
        )

    def remove(self, container: str) -> None:
        self._engine.remove_container(container, force=True, v=True)

    def remove_all(self) -> None:
        ((label, run),) = self._label.items()
        found = self._engine.containers(all=True, filters={"label": f"{label}={run}"})
        for container in found:
            self.remove(container["Id"])

    def _start(self, body: dict[str, object]) -> str:
        body = {"Image": self._image, "Labels": self._label, **body}
        container: str = self._engine.create_container_from_config(body)["Id"]
        self._engine.start(container)
        return container


def wait_until_listening(address: Address) -> None:
    """Nothing tells when an emulator listens, so it is asked each millisecond."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(address, _START_SECONDS).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return
