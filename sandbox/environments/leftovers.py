"""Containers that are still to be removed: tried again until the engine does it.

One round at a time, in a thread of its own, for however many there are: an engine that does
not answer holds up nobody. Whatever is left when the process ends, its next start removes.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.clock import Clock
from sandbox.engines.base import ContainerEngine
from sandbox.environments.scheduler import Scheduler
from sandbox.errors import EngineError, EngineUnavailable
from sandbox.threads import in_background

_LOGGER = logging.getLogger(__name__)
_RETRY_SECONDS = 2.0
_DOUBT_SECONDS = 60.0


@dataclass(slots=True)
class _Leftover:
    done: Callable[[], None]
    until: float = 0.0
    """Until then the engine may still make it, so it is looked for once more after that."""


class Leftovers:
    """See the module."""

    def __init__(self, engine: ContainerEngine, scheduler: Scheduler, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._scheduler = scheduler
        self._lock = threading.Lock()
        self._left: dict[str, _Leftover] = {}
        self._next = math.inf
        """When the next round is."""

    def __len__(self) -> int:
        return len(self._left)

    def remove(self, container: str, done: Callable[[], None]) -> None:
        """Remove it now, or later when that fails; `done` is called once it is gone."""
        try:
            self._engine.remove(container)
        except EngineError as error:
            _LOGGER.warning("container %s is still there: %s", container[:12], error)
            self._add(container, _Leftover(done))
        else:
            done()

    def doubt(self, name: str) -> None:
        """A container may have come to be under this name, or may yet."""
        self._add(name, _Leftover(_nothing, self._clock.monotonic() + _DOUBT_SECONDS))

    def _add(self, container: str, leftover: _Leftover) -> None:
        with self._lock:
            self._left[container] = leftover
        self._schedule(_RETRY_SECONDS)

    def _schedule(self, seconds: float) -> None:
        at = self._clock.monotonic() + seconds
        with self._lock:
            if not self._left or self._next <= at:
                return
            self._next = at
        self._scheduler.call_later(seconds, lambda: in_background(self._round, "leftovers"))

    def _round(self) -> None:
        with self._lock:
            self._next = math.inf
            left = list(self._left.items())
        pause = _DOUBT_SECONDS
        for container, leftover in left:
            asked = self._clock.monotonic()
            try:
                self._engine.remove(container)
            except EngineUnavailable:
                pause = _RETRY_SECONDS
                break
            except EngineError as error:
                _LOGGER.warning("container %s is still there: %s", container[:12], error)
                pause = _RETRY_SECONDS
                continue
            if asked < leftover.until:
                continue
            with self._lock:
                mine = self._left.pop(container, None) is not None
            if mine:
                leftover.done()
        self._schedule(pause)


def _nothing() -> None:
    """What there is to do for a name that nothing else hangs on."""
