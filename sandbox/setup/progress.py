"""What a person sees while steps run: name, elapsed time, and what came of each.

Imports the standard library only, as it also reports the step that installs everything
else; on a terminal `rich`, when it is there, draws the steps that are running.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

_NAME_WIDTH = 22


class Step:
    """One step under way. Steps may run at the same time, each in its own thread."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.skipped: str | None = None

    def working(self, what: str) -> None:
        """Tell what is being done right now."""
        self._say(what)

    def skip(self, why: str) -> None:
        """Nothing needed doing; `why` is a word or two."""
        self.skipped = why


class Progress:
    """Prints to stderr one line for each finished step, and a running one on a terminal."""

    def __init__(self, out: TextIO | None = None, *, verbose: bool = False) -> None:
        self._out = out or sys.stderr
        self._verbose = verbose
        self._lock = threading.Lock()
        self._live: Any = None
        self._running = 0
        if self._out.isatty() and not verbose:
            with contextlib.suppress(ImportError):
                self._live = _live(self._out)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Report `name` around the body; an exception is reported as `failed`, and goes on."""
        started = time.monotonic()
        row = self._begin(name)
        step = Step(lambda what: self._working(name, row, what))
        result = "failed"
        try:
            yield step
            result = f"skipped ({step.skipped})" if step.skipped else "done"
        finally:
            elapsed = time.monotonic() - started
            self._end(row, f"{name:<{_NAME_WIDTH}} {elapsed:6.1f} s  {result}")

    def output(self, line: str) -> None:
        """A line of a tool's output: shown when asked to be verbose."""
        if self._verbose and line.strip():
            self._print("    " + line.rstrip())

    def _begin(self, name: str) -> Any:
        if self._live is None:
            return [None]  # what was said of it
        with self._lock:
            if not self._running:
                self._live.start()
            self._running += 1
            return self._live.add_task(name, what="")

    def _working(self, name: str, row: Any, what: str) -> None:
        if self._live is not None:
            self._live.update(row, what=what[:60])
        elif row[0] is None:
            # Without a terminal the first news of a step says that it has begun.
            row[0] = what
            self._print(f"{name:<{_NAME_WIDTH}}    …    {what}")

    def _end(self, row: Any, line: str) -> None:
        if self._live is None:
            self._print(line)
            return
        with self._lock:
            self._live.remove_task(row)
            self._live.console.print(line, highlight=False, markup=False)
            self._running -= 1
            if not self._running:
                self._live.stop()

    def _print(self, line: str) -> None:
        with self._lock:
            print(line, file=self._out, flush=True)


def _live(out: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import Progress as Live
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    return Live(
        SpinnerColumn(),
        TextColumn("{task.description:<20}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}", markup=False, style="dim"),
        console=Console(file=out),
        transient=True,
    )
