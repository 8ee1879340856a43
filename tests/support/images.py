"""Images and binaries that tests have built, in the way users do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.instance import ROOT, docker, environment

_BUILD_SECONDS = 900


def ensure(*names: str) -> None:
    """Build images of ours that are missing or outdated."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "images", "build", *names],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stderr


def compiled(source: str, folder: Path) -> bytes:
    """A static binary of a Go program, from the toolchain that the init is built with."""
    ensure("init-test")
    (folder / "main.go").write_text(source)
    (folder / "go.mod").write_text("module function\n\ngo 1.19\n")
    (folder / "Dockerfile").write_text(
        "FROM fnbox/init-test\nWORKDIR /function\nCOPY . .\nRUN go build -o /function/bootstrap .\n"
    )
    image = docker("build", "--quiet", "--force-rm", str(folder), seconds=_BUILD_SECONDS)
    try:
        container = docker("create", image, "true")
        try:
            docker("cp", f"{container}:/function/bootstrap", str(folder))
        finally:
            docker("rm", container)
    finally:
        docker("rmi", image)
    return (folder / "bootstrap").read_bytes()
