"""Work that would hold up the event loop.

The control plane is served by one gevent worker, whose patched `threading` runs
everything in one native thread. Hashing, unpacking and waiting for the disk go
through `run_native`; in an unpatched process (most tests) it is a plain call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gevent
from gevent import monkey

P = ParamSpec("P")
T = TypeVar("T")


def run_native(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a native thread and wait for it without blocking the event loop.

    The function must not touch locks, queues or sockets that greenlets share.
    """
    if not monkey.is_module_patched("threading"):
        return function(*args, **kwargs)
    # gevent prints what a job raises before it passes it on, so it is not let out there.
    value, error = gevent.get_hub().threadpool.apply(_settle, (function, args, kwargs))
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback holds this frame, and those of all callers
    result: T = value
    return result


def give_way() -> None:
    """Let whatever else is ready run: for a loop that never waits. Native threads need none."""
    if monkey.is_module_patched("threading"):
        gevent.sleep(0)


def in_background(function: Callable[[], None], name: str) -> None:
    """Call `function` in a thread of its own, which nothing waits for."""
    threading.Thread(target=function, name=name, daemon=True).start()


def _settle(
    function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, BaseException | None]:
    try:
        return function(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        return None, error
