"""Keeps the dead events within bounds: the oldest make room for the newest.

Nothing is dropped while there is room, however old it is. What is dropped is counted and told in
the log. To look at them all takes a moment, so a tenth of the room is made at a time; between two
looks a tally is kept, which may be too high and never too low.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from sandbox.catalog.database import Database
from sandbox.catalog.tables import dead_events
from sandbox.metrics import Metrics

_SIZES = select(dead_events.c.id, func.length(dead_events.c.body)).order_by(dead_events.c.id.desc())
_ROOM = 0.9

_log = logging.getLogger(__name__)


class Size(NamedTuple):
    """Of the dead events, or of some of them."""

    events: int
    bytes: int

    def within(self, limits: Size) -> bool:
        return self.events <= limits.events and self.bytes <= limits.bytes


class Burial:
    """Notes each dead event, and drops old ones. Safe to be used by many threads."""

    def __init__(self, database: Database, metrics: Metrics, limits: Size) -> None:
        self._database = database
        self._metrics = metrics
        self._limits = limits
        self._lock = threading.Lock()
        self._tally = database.transaction(measure)
        self._dropping = False
        self.note(Size(0, 0))  # the limits may be lower than they were

    def buried(self, size: int) -> None:
        """There is one more, of so many bytes."""
        self.note(Size(1, size))

    def note(self, more: Size) -> None:
        """There are so many more; when they are too many, return once the oldest are dropped."""
        with self._lock:
            tally = self._tally
            self._tally = Size(tally.events + more.events, tally.bytes + more.bytes)
            if self._dropping or self._tally.within(self._limits):
                return
            self._dropping = True
            before = self._tally
        try:
            dropped, left = self._database.transaction(partial(drop, limits=self._limits))
        finally:
            with self._lock:
                self._dropping = False
        with self._lock:
            # those that were noted meanwhile may be among those that are left: never too low
            meanwhile = (now - then for now, then in zip(self._tally, before, strict=True))
            self._tally = Size(*(a + b for a, b in zip(left, meanwhile, strict=True)))
        if dropped:
            self._metrics.dead_events_dropped.inc(dropped)
            _log.warning(
                "%d dead events, the oldest, were dropped: no more than %d, or %d bytes, are kept "
                "(FNBOX_DEAD_EVENTS, FNBOX_DEAD_EVENT_BYTES)",
                dropped,
                *self._limits,
            )


def measure(connection: Connection) -> Size:
    """All that there are."""
    found = select(func.count(), func.coalesce(func.sum(func.length(dead_events.c.body)), 0))
    return Size(*connection.execute(found.select_from(dead_events)).one())


def drop(connection: Connection, limits: Size) -> tuple[int, Size]:
    """Drop the oldest when there are too many: how many were dropped, and what is left."""
    size = measure(connection)
    if size.within(limits):
        return 0, size
    room = Size(*(math.ceil(limit * _ROOM) for limit in limits))
    last, left = newest_within(connection.execute(_SIZES), room)
    statement = dead_events.delete()
    if last is not None:
        statement = statement.where(dead_events.c.id < last)
    return connection.execute(statement).rowcount, left


def newest_within(rows: Iterable[Any], limits: Size) -> tuple[int | None, Size]:
    """The oldest of the newest that fit, of ids and sizes from the newest on; and their size."""
    last, size = None, Size(0, 0)
    for number, length in rows:
        grown = Size(size.events + 1, size.bytes + length)
        if not grown.within(limits):
            break
        last, size = number, grown
    return last, size
