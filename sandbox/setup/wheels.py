"""Python packages for an image, fetched outside its build.

So the user's proxy and CA settings apply, and images need no pip.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from sandbox.setup.commands import Run, run

# What Debian's C library runs, newest first; pip takes exactly the tags that it is told.
_GLIBC_MINORS = (36, 35, 34, 31, 28, 27, 24, 17)
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def fetch(
    requirements: Path,
    into: Path,
    *,
    python: str,
    architecture: str,
    output: Callable[[str], None],
    run: Run = run,
) -> None:
    """Download the pinned packages' wheels into the folder `into`.

    `python` is a version as `3.13`, `architecture` a machine as Go names it. StartupError when
    a package cannot be had.
    """
    run(
        _command(requirements, into, python, _MACHINES.get(architecture, architecture)),
        output=output,
    )


def _command(requirements: Path, into: Path, python: str, machine: str) -> list[str]:
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS]
    platforms += [f"manylinux2014_{machine}", f"manylinux1_{machine}"]
    options = [
        ("--requirement", str(requirements)),
        ("--dest", str(into)),
        ("--python-version", python),
        ("--implementation", "cp"),
        ("--only-binary", ":all:"),
        *(("--platform", platform) for platform in platforms),
    ]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    return [sys.executable, "-m", "pip", "download", *quiet, *(s for pair in options for s in pair)]
