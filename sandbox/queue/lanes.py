"""Works on what is due, in many lanes, fairly.

One thread decides: it wakes when something is noted, when a piece of work has ended and when the
next is due, and sleeps otherwise. Each piece runs in a thread of its own, a bounded number at
once, of which no lane may take all: a backlog of one does not keep the others waiting.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from sandbox.clock import Clock
from sandbox.errors import StorageError

Lane = TypeVar("Lane", bound=Hashable)
Item = TypeVar("Item")

_READ_AGAIN = 1.0
"""Seconds after which a lane is looked at again that could not be read."""

_log = logging.getLogger(__name__)


class Lanes(Generic[Lane, Item]):
    """Runs `work` on what `lease` gives, until it is closed."""

    def __init__(
        self,
        lease: Callable[[Lane, int], tuple[list[Item], float | None]],
        work: Callable[[Item], float | None],
        clock: Clock,
        *,
        parallel: int,
        name: str,
    ) -> None:
        """`lease(lane, limit)` takes what is due of a lane, and says when the next of it is.

        `work(item)` says when the item is due again, None when it is done with. Either may raise
        StorageError; what is leased by then stays so until the next start.
        """
        self._lease = lease
        self._work = work
        self._clock = clock
        self._parallel = parallel
        self._changed = threading.Condition()
        # the lanes with work that is not leased, and when the first of it is due
        self._due: dict[Lane, float] = {}
        self._running: Counter[Lane] = Counter()
        self._closing = False
        self._thread = threading.Thread(target=self._dispatch, name=name, daemon=True)

    @property
    def running(self) -> int:
        with self._changed:
            return self._running.total()

    def census(self) -> tuple[int, int]:
        """Pieces of work that run, and lanes with work that does not run yet, at one moment."""
        with self._changed:
            return self._running.total(), len(self._due)

    def start(self, due: Iterable[tuple[Lane, float]]) -> None:
        """Begin, with what an earlier run left."""
        for lane, due_at in due:
            self.note(lane, due_at)
        self._thread.start()

    def note(self, lane: Lane, due_at: float) -> None:
        """There is work in a lane."""
        with self._changed:
            known = self._due.get(lane)
            # a lane that is known to have work waits for its turn, not for more
            if known is None or due_at < known:
                self._due[lane] = due_at
                self._changed.notify_all()

    def wake(self) -> None:
        """Look at the clock again: for tests that move it."""
        with self._changed:
            self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Start nothing more, wait `timeout` seconds for what runs; True when all ended."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        with self._changed:
            return self._changed.wait_for(lambda: not self._running.total(), timeout)

    def _dispatch(self) -> None:
        while (chosen := self._choose()) is not None:
            lane, limit = chosen
            try:
                items, next_due = self._lease(lane, limit)
            except StorageError as error:
                _log.error("what is due of %s cannot be read: %s", lane, error)
                items, next_due = [], self._clock.wall() + _READ_AGAIN
            if next_due is not None:
                self.note(lane, next_due)
            self._ended(lane, limit - len(items))
            for item in items:
                threading.Thread(target=self._run, args=(lane, item), daemon=True).start()

    def _choose(self) -> tuple[Lane, int] | None:
        """Wait for a lane with work that may run now; how much of it. None: closing."""
        with self._changed:
            while not self._closing:
                now = self._clock.wall()
                later = None
                for lane, due_at in self._due.items():
                    if due_at > now:
                        later = min(due_at, later or due_at)
                    elif share := fair_share(
                        self._parallel, self._running.total(), self._running[lane]
                    ):
                        # taken out: what is put from now on is noted anew, behind the others
                        del self._due[lane]
                        self._running[lane] += share
                        return lane, share
                self._changed.wait(None if later is None else later - now)
            return None

    def _ended(self, lane: Lane, count: int) -> None:
        """Make room: so many pieces of work have ended, or were not there to be done."""
        with self._changed:
            self._running[lane] -= count
            if not self._running[lane]:
                del self._running[lane]
            self._changed.notify_all()

    def _run(self, lane: Lane, item: Item) -> None:
        try:
            due_at = self._work(item)
            if due_at is not None:
                self.note(lane, due_at)
        except StorageError as error:
            _log.error("%r cannot be put away: %s", item, error)
        finally:
            self._ended(lane, 1)


def fair_share(parallel: int, running: int, own: int) -> int:
    """How much more a lane may start, of `parallel` pieces of work in all.

    With `running` in all and `own` of its own, half of what it does not leave to others: a lone
    lane takes half of all, two a third each, and a newcomer always finds room but when all are
    busy with lanes that had none.
    """
    free = parallel - running
    if own == 0:
        return min(free, max(1, free // 2))
    return max(0, (free - own) // 2)
