"""The state directory: one instance at a time, and the name it goes by."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from sandbox.errors import StartupError


class StateLock:
    """Holds the state directory for one instance; the kernel gives it up when the process ends."""

    def __init__(self, state_dir: Path) -> None:
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = open(state_dir / "lock", "a+")  # noqa: SIM115  held until the end
        except OSError as error:
            raise StartupError(
                f"the state directory cannot be used ({error}); set FNBOX_STATE_DIR"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise StartupError(
                f"another fnbox runs on the state directory {state_dir}; "
                "stop it with `fnbox down`, or set FNBOX_STATE_DIR"
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def __enter__(self) -> StateLock:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def instance_id(state_dir: Path) -> str:
    """What tells this instance's containers from others'; made once."""
    path = state_dir / "instance"
    if not path.exists():
        path.write_text(secrets.token_hex(8))
    return path.read_text().strip()
