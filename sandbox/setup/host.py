"""What kind of machine this is, as far as installing something goes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox.setup.commands import Run, run


class Host(NamedTuple):
    root: bool
    debian: bool
    """Debian, Ubuntu, or another that installs with apt-get."""
    systemd: bool
    """systemd is running, and not merely installed."""


def look() -> Host:
    return Host(
        root=os.geteuid() == 0,
        debian=_is_debian(Path("/etc/os-release")) and shutil.which("apt-get") is not None,
        systemd=Path("/run/systemd/system").is_dir(),
    )


def _is_debian(os_release: Path) -> bool:
    if not os_release.is_file():
        return False
    pairs = [line.partition("=") for line in os_release.read_text().splitlines()]
    fields = {name: value.strip("\"'") for name, _, value in pairs}
    kinds = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    return "debian" in kinds or "ubuntu" in kinds


def install(
    packages: Sequence[str], *, run: Run = run, output: Callable[[str], None] = lambda line: None
) -> None:
    """Install Debian packages; StartupError when apt-get cannot. Needs root.

    Waits for another apt-get that is under way.
    """
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]
    run([*apt, "update"], output=output)
    run([*apt, "install", "-y", "--no-install-recommends", *packages], output=output)
