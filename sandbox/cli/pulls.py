"""Shows the pull of an image while a command waits for the function that needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sandbox.cli.ask import ask
from sandbox.errors import FnboxError
from sandbox.settings import Settings
from sandbox.setup.progress import Progress

_SECONDS = 0.3
_MB = 1e6


@contextmanager
def shown(settings: Settings, image: str | None) -> Iterator[None]:
    """A step on stderr, as `fnbox images build` has, if the control plane pulls the image."""
    if image is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_show, args=(settings, image, over), name="pulls")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _show(settings: Settings, image: str, over: threading.Event) -> None:
    # What goes wrong here goes wrong for the command too, which says so.
    with suppress(FnboxError):
        while not over.wait(_SECONDS):
            if (pull := _pull_of(settings, image)) is None:
                continue
            with Progress().step(f"image {image}") as step:
                while pull is not None:
                    here, total = pull["bytes"] / _MB, pull["total"] / _MB
                    step.working(f"pulling {here:.0f} of {total:.0f} MB" if total else "pulling")
                    if over.wait(_SECONDS):
                        break
                    pull = _pull_of(settings, image)
            return


def _pull_of(settings: Settings, image: str) -> dict[str, Any] | None:
    pulls: list[dict[str, Any]] = ask(settings, "GET", "/_fnbox/pulls")["pulls"]
    return next((pull for pull in pulls if pull["image"] == image), None)
