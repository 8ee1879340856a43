"""The virtual environment of a checkout, from the lock file: `python3 -m sandbox.setup.venv`.

Runs before anything is installed, so it imports the standard library only. Skipped while
neither the lock nor the project's own metadata has changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from sandbox.errors import StartupError
from sandbox.setup import host
from sandbox.setup.commands import Run, run
from sandbox.setup.progress import Progress

_FOLDER = ".venv"
_LOCK = "requirements-dev.lock"
_INPUTS = (_LOCK, "pyproject.toml")
_STAMP = "fnbox-inputs"


def provide(checkout: Path, progress: Progress, *, run: Run = run) -> None:
    """Make `.venv` hold what the lock file pins, and the checkout itself, editable.

    StartupError says in one line what is missing.
    """
    with progress.step("Python packages") as step:
        folder = checkout / _FOLDER
        stamp = folder / _STAMP
        digest = _digest(checkout)
        if stamp.is_file() and stamp.read_text() == digest:
            step.skip("unchanged")
            return
        if importlib.util.find_spec("ensurepip") is None:
            step.working("installing python3-venv")
            _install_venv(progress, run)
        step.working(f"making {_FOLDER}")
        run([sys.executable, "-m", "venv", "--clear", str(folder)], output=progress.output)
        step.working("installing from the lock file")
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", "--no-input"]
        run([*pip, "--requirement", str(checkout / _LOCK)], output=progress.output)
        step.working("installing fnbox")
        run(
            [*pip, "--no-deps", "--no-build-isolation", "--editable", str(checkout)],
            output=progress.output,
        )
        stamp.write_text(digest)


def _install_venv(progress: Progress, run: Run) -> None:
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    here = host.look()
    if not here.debian:
        raise StartupError("this Python has no ensurepip: install its venv package")
    if not here.root:
        raise StartupError(f"run `sudo apt-get install {package}`, then this again")
    host.install([package], run=run, output=progress.output)


def _digest(checkout: Path) -> str:
    digest = hashlib.sha256(f"{sys.version} {checkout}".encode())
    for name in _INPUTS:
        digest.update((checkout / name).read_bytes())
    return digest.hexdigest()


def main() -> None:
    try:
        provide(Path.cwd(), Progress(verbose="--verbose" in sys.argv))
    except StartupError as error:
        sys.exit(f"fnbox: {error}")


if __name__ == "__main__":
    main()
