"""Other programs, run to their end."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from sandbox.errors import StartupError

_KEPT_LINES = 200


class Run(Protocol):
    """Run a program; its output, as text. StartupError, in one line, when it fails."""

    def __call__(self, command: Sequence[str], *, output: Callable[[str], None] = ...) -> str: ...


def run(command: Sequence[str], *, output: Callable[[str], None] = lambda line: None) -> str:
    """Run `command`, handing each line of its output to `output` as it comes."""
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise StartupError(f"{command[0]} cannot be run: {error.strerror}") from error
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            output(line)
    if process.returncode:
        raise StartupError(
            f"`{' '.join(command[:4])} …` failed with status {process.returncode}: {_cause(lines)}"
        )
    return "".join(lines)


def _cause(lines: Sequence[str]) -> str:
    """The line that most likely says why: the last that speaks of an error, else the last."""
    spoken = [line.strip() for line in lines if line.strip()]
    errors = [line for line in spoken if line.lower().startswith(("error", "e:", "fatal"))]
    return (errors or spoken or ["it said nothing"])[-1]
