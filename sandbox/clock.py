"""Time, so that tests can own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Deadlines and durations use `monotonic`; what people and Lambda clients read uses `wall`."""

    def monotonic(self) -> float:
        """Seconds; never goes back."""

    def wall(self) -> float:
        """Seconds since the Unix epoch."""


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


class FakeClock:
    """A clock that moves when a test says so."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
