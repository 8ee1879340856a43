"""Time that a test moves, and what is due in it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from sandbox.clock import FakeClock
from sandbox.environments.turns import Turns


class Times:
    """A scheduler whose time is moved by the test."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        at = self._clock.monotonic() + seconds
        heapq.heappush(self._due, (at, next(self._numbers), function))

    def pass_(self, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        while self._due and self._due[0][0] <= end:
            at, _, function = heapq.heappop(self._due)
            self._clock.advance(at - self._clock.monotonic())
            function()
        self._clock.advance(end - self._clock.monotonic())


def turns(clock: FakeClock, at_once: int = 1, *, crowded: bool = False) -> tuple[Turns, Times]:
    """Of calls, on a machine that is crowded or not; and what moves their time."""
    times = Times(clock)
    return Turns(at_once, lambda: crowded, times, clock), times  # type: ignore[arg-type]
