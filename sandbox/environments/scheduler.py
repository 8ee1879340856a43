"""One thread that does what is due: no timer per object."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
from collections.abc import Callable

from sandbox.clock import Clock

_LOGGER = logging.getLogger(__name__)


class Scheduler:
    """Calls functions at their time, one after the other; each must be quick."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call `function` once, `seconds` from now; never when closed before."""
        with self._changed:
            when = self._clock.monotonic() + seconds
            heapq.heappush(self._due, (when, next(self._numbers), function))
            self._changed.notify()

    def close(self) -> None:
        """Forget what is not due yet."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (function := self._next()) is not None:
            try:
                function()
            except Exception:
                _LOGGER.exception("a scheduled call failed")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                if not self._due:
                    self._changed.wait()
                    continue
                remaining = self._due[0][0] - self._clock.monotonic()
                if remaining <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(remaining)
            return None


class Alarm:
    """Rings at a time that, as a rule, is put off before it comes.

    A deadline is set at each call and hardly ever reached. A timer for each took a
    twelfth of a call's CPU time; here the scheduler looks once at about the time that
    was set first, finds another, and looks again then.
    """

    def __init__(self, scheduler: Scheduler, clock: Clock, ring: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._ring = ring
        self._at = math.inf
        self._looks_at = math.inf

    def set(self, at: float) -> None:
        """Ring at `at` or a little later, unless another time is set before.

        Another thread may set it just as it rings: then it rings for the earlier time too.
        """
        self._at = at
        if at < self._looks_at:
            self._looks_at = at
            self._scheduler.call_later(at - self._clock.monotonic(), self._look)

    def clear(self) -> None:
        self._at = math.inf

    def _look(self) -> None:
        self._looks_at = math.inf
        if self._at <= self._clock.monotonic():
            self._ring()
        elif self._at < math.inf:
            self.set(self._at)
