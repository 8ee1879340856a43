"""Turns: how many calls begin at once while the CPUs have more to do than they can.

Thirty calls that want a millisecond of CPU time each take longer side by side than in turns:
each process comes back to caches that sixty others have used meanwhile. So while the machine
is crowded a few calls for each CPU run, and the next one begins when one of them ends, in the
environment that is still warm. tests/bench/README.md has the figures.

Contract:
1. Only beginnings are put off, by LONGEST_SECONDS at most; elsewhere than on a crowded machine
   nothing is.
2. Only calls of functions that are quick take part: what lasts longer waits for something else
   than a CPU, as a rule, and would wait for its turn as well.
3. A quick function's call that has become a long one makes place for another.

For one native thread, as the control plane's is: greenlets change places where they wait.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.clock import Clock
from sandbox.environments.scheduler import Alarm, Scheduler

CALLS_PER_CPU = 3
"""With 2 and 3 the machine answers as many, with 4 a little fewer where 32 ask."""
QUICK_MS = 2.0
"""A function is quick while calls as short as this occur among its latest. Longer ones lose
little side by side."""
YOUNG_SECONDS = 0.05
"""A call that has lasted longer no longer keeps another from beginning."""
LONGEST_SECONDS = 0.1

_FORGETS = 1.02
"""With every call a version's quickest grows: after 40 calls of 20 ms, 1 ms is 2.2."""
_MOST_VERSIONS = 10_000
_CROWDED = 0.5
_LOOK_SECONDS = 0.05
_SCHEDSTAT = Path("/proc/thread-self/schedstat")


@dataclass(eq=False, slots=True)
class Turn:
    """A call's, of a function's version."""

    version: str
    since: float
    """When it began, or began to wait."""
    given: threading.Lock | None = None
    """Of one that waits: held until it may begin."""
    duration_ms: float = math.inf
    """What its REPORT says, once there is one."""


class Turns:
    """Who runs a call takes a turn before it, and ends it afterwards."""

    def __init__(
        self, at_once: int, crowded: Callable[[], bool], scheduler: Scheduler, clock: Clock
    ) -> None:
        self._at_once = at_once
        self._crowded = crowded
        self._clock = clock
        self._young: dict[Turn, None] = {}
        """Of calls that have begun lately, the first first."""
        self._waiting: deque[Turn] = deque()
        self._alarm = Alarm(scheduler, clock, self._give)
        self._quickest: dict[str, float] = {}
        """Milliseconds that versions' calls have lasted lately, at least."""

    def take(self, version: str) -> Turn:
        """Returns when a call of a version, by its ARN, may begin; with what `end` wants."""
        now = self._clock.monotonic()
        turn = Turn(version, now)
        if self._quickest.get(version, math.inf) > QUICK_MS:
            return turn
        if self._has_room(now) or not self._crowded():
            self._young[turn] = None
            return turn
        turn.given = given = threading.Lock()
        given.acquire()
        self._waiting.append(turn)
        self._alarm.set(self._first_due())
        given.acquire()
        return turn

    def end(self, turn: Turn) -> None:
        """The call is over. Its place goes to the one that has waited longest."""
        quickest = self._quickest
        if len(quickest) > _MOST_VERSIONS:
            quickest.clear()
        forgotten = _FORGETS * quickest.get(turn.version, math.inf)
        quickest[turn.version] = min(turn.duration_ms, forgotten)
        if self._young.pop(turn, self) is None and self._waiting:
            self._give()

    def _has_room(self, now: float) -> bool:
        young = self._young
        while len(young) >= self._at_once:
            first = next(iter(young))
            if first.since > now - YOUNG_SECONDS:
                return False
            del young[first]
        return True

    def _give(self) -> None:
        """Let those begin who may."""
        now = self._clock.monotonic()
        waiting = self._waiting
        while waiting and (self._has_room(now) or waiting[0].since <= now - LONGEST_SECONDS):
            turn = waiting.popleft()
            turn.since = now
            self._young[turn] = None
            assert turn.given, "it waits"
            turn.given.release()
        if waiting:
            self._alarm.set(self._first_due())

    def _first_due(self) -> float:
        """When somebody who waits may begin, if no call ends before."""
        aged = next(iter(self._young)).since + YOUNG_SECONDS
        return min(aged, self._waiting[0].since + LONGEST_SECONDS)


class Crowding:
    """Whether the calling thread always finds something to do: it runs, or waits for a CPU,
    nearly all the time. Called by nobody for a while, it says no at first.

    Where the kernel does not count (https://docs.kernel.org/scheduler/sched-stats.html) it
    says no always.
    """

    def __init__(self, clock: Clock, schedstat: Path = _SCHEDSTAT) -> None:
        self._clock = clock
        self._schedstat = schedstat
        self._looked_at = clock.monotonic()
        self._busy = self._busy_seconds()
        self._crowded = False

    def __call__(self) -> bool:
        now = self._clock.monotonic()
        elapsed = now - self._looked_at
        if elapsed >= _LOOK_SECONDS:
            before, self._busy = self._busy, self._busy_seconds()
            self._crowded = self._busy - before >= _CROWDED * elapsed
            self._looked_at = now
        return self._crowded

    def _busy_seconds(self) -> float:
        """Of this thread, since it began: on a CPU, and waiting for one."""
        try:
            running, waiting, _ = self._schedstat.read_text().split()
        except FileNotFoundError:
            return 0.0
        return (int(running) + int(waiting)) / 1e9
