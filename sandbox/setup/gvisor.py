"""gVisor for the engine of this machine: its runtime `runsc` installed and registered.

`python -m sandbox.setup.gvisor`, or `make gvisor`. The engine reads its settings again and goes
on: no container notices. Does nothing when the engine has it already.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from os import kill
from pathlib import Path

from sandbox.engines.docker import information, reload
from sandbox.errors import FnboxError, StartupError
from sandbox.settings import Settings
from sandbox.setup import host
from sandbox.setup.commands import Run, run
from sandbox.setup.host import Host
from sandbox.setup.progress import Progress

RUNSC = "runsc"
# ptrace needs no virtual machine; the functions' network is the engine's business, not gVisor's
# own; and the init dials a Unix socket of the host's.
ARGUMENTS = ["--platform=ptrace", "--network=none", "--host-uds=all"]

_SETTINGS = Path("/etc/docker/daemon.json")
_PID = Path("/var/run/docker.pid")


def register(
    address: str,
    progress: Progress,
    *,
    here: Host | None = None,
    run: Run = run,
    registered: Callable[[str], bool] | None = None,
    reload: Callable[[str, Callable[[], object]], None] = reload,
    settings: Path = _SETTINGS,
) -> None:
    """See that the engine at `address` has `runsc`. StartupError where that is not ours to do."""
    registered, here = registered or _registered, here or host.look()
    with progress.step("gVisor") as step:
        if registered(address):
            step.skip("registered")
            return
        if not (here.root and here.debian and address.startswith("unix:")):
            raise StartupError(
                "gVisor is added by root on Debian or Ubuntu; elsewhere install runsc "
                "(https://gvisor.dev/docs/user_guide/install/) and register it as README says"
            )
        if shutil.which(RUNSC) is None:
            step.working("installing runsc")
            host.install([RUNSC], run=run, output=progress.output)
        step.working("registering runsc")
        path = shutil.which(RUNSC) or f"/usr/bin/{RUNSC}"
        write(settings, path)
        reload(address, lambda: kill(int(_PID.read_text()), signal.SIGHUP))
        if not registered(address):
            raise StartupError(f"the engine does not take runsc from {settings}: see its log")


def write(settings: Path, runsc: str) -> None:
    """Add runsc to the engine's settings, and leave the others as they are."""
    try:
        document = json.loads(settings.read_text()) if settings.exists() else {}
    except ValueError as error:
        raise StartupError(f"{settings} is no JSON ({error}): mend it first") from error
    entry = {"path": runsc, "runtimeArgs": ARGUMENTS}
    document["runtimes"] = {**document.get("runtimes", {}), RUNSC: entry}
    draft = settings.with_suffix(".new")
    settings.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(json.dumps(document, indent=2) + "\n")
    draft.replace(settings)


def _registered(address: str) -> bool:
    return RUNSC in (information(address).get("Runtimes") or {})


if __name__ == "__main__":
    try:
        register(Settings.load().docker_host, Progress(verbose="-v" in sys.argv))
    except FnboxError as failure:
        sys.exit(f"fnbox: {failure}")
