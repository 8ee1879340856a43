"""Events on disk.

What `put` has accepted stays until it has ended, over crashes too. An event is leased before it
runs, and the attempt is counted in the same transaction: one that takes the control plane down
with it is not tried for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from sandbox.catalog.database import Database
from sandbox.catalog.tables import events
from sandbox.clock import Clock
from sandbox.errors import TooManyRequests
from sandbox.invocation import Invocation
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue.leasing import Leasing

_LEASING = Leasing(
    events,
    (events.c.account, events.c.region, events.c.name),
    attempts=events.c.attempts + 1,
)
_INSERT = events.insert()
_OF_ACCOUNT = select(func.count()).where(events.c.account == bindparam("whose"))


def _unlimited(account: str) -> int | None:
    """Nobody limits events."""
    return None


@dataclass(frozen=True, slots=True)
class Event:
    """An accepted invocation that is about to run."""

    id: int
    invocation: Invocation
    """Its request id is that of all attempts."""
    enqueued_at: float
    """Seconds since the Unix epoch."""
    attempts: int
    """Runs that were begun, this one included, but for those that were refused."""
    refusals: int
    """Runs that no environment was found for."""

    def __repr__(self) -> str:
        return f"<event {self.invocation.request_id} of {self.invocation.reference.arn}>"


class EventQueue:
    """The table of events. Safe to be used by many threads."""

    def __init__(
        self, database: Database, clock: Clock, limit: Callable[[str], int | None] = _unlimited
    ) -> None:
        """`limit`: how many events an account may have at once."""
        self._database = database
        self._clock = clock
        self._limit = limit
        self._on_put: Callable[[FunctionKey, float], None] = _ignore
        database.transaction(_LEASING.release_all)

    def on_put(self, callback: Callable[[FunctionKey, float], None]) -> None:
        """Have `callback(function, due_at)` called after each put, in the putting thread."""
        self._on_put = callback

    def put(self, invocation: Invocation) -> None:
        """Accept an event; it is on disk when this returns. Raises TooManyRequests when its
        account has as many as it may."""
        row = new_row(invocation, self._clock.wall())
        most = self._limit(invocation.reference.key.account)
        self._database.transaction(lambda connection: _insert_within(connection, row, most))
        self.announce(invocation.reference.key)

    def announce(self, key: FunctionKey) -> None:
        """An event of a function has been added that is due now."""
        self._on_put(key, self._clock.wall())

    def due(self) -> dict[FunctionKey, float]:
        """The functions that have events which are not leased, and when the first is due."""
        found = self._database.transaction(_LEASING.first_due)
        return {FunctionKey(*key): due_at for *key, due_at in found}

    def count(self) -> int:
        """Events that have not ended."""
        return self._database.transaction(_LEASING.count)

    def lease(self, key: FunctionKey, limit: int) -> tuple[list[Event], float | None]:
        """Take a function's due events, the longest due first, `limit` at most.

        Also returns when the next of those left is due, None when none is left.
        """
        now, lane = self._clock.wall(), key._asdict()
        rows, next_due = self._database.transaction(
            lambda connection: _LEASING.take(connection, lane, now, limit)
        )
        return [_event(row, key) for row in rows], next_due

    def release(self, event: Event, due_at: float, *, refused: bool) -> None:
        """Give an event back, to run again at `due_at`; when it was refused this was no attempt."""
        change = (
            events.update()
            .where(events.c.id == event.id)
            .values(
                leased=False,
                due_at=due_at,
                attempts=event.attempts - refused,
                refusals=event.refusals + refused,
            )
        )
        self._database.transaction(lambda connection: connection.execute(change).close())


def new_row(invocation: Invocation, now: float) -> dict[str, Any]:
    """An event that is due now."""
    return {
        **invocation.reference.key._asdict(),
        "qualifier": invocation.reference.qualifier,
        "request_id": invocation.request_id,
        "payload": bytes(invocation.payload),
        "trace_id": invocation.trace_id,
        "tenant_id": invocation.tenant_id,
        "enqueued_at": now,
        "due_at": now,
        "attempts": 0,
        "refusals": 0,
        "leased": False,
    }


def _insert_within(connection: Connection, row: dict[str, Any], most: int | None) -> None:
    whose = {"whose": row["account"]}
    if most is not None and (connection.scalar(_OF_ACCOUNT, whose) or 0) >= most:
        raise TooManyRequests("CallerRateLimitExceeded")
    insert(connection, row)


def insert(connection: Connection, row: dict[str, Any]) -> None:
    connection.execute(_INSERT, row)


def delete(connection: Connection, event: Event) -> None:
    """Forget an event that has ended."""
    _LEASING.delete(connection, event.id)


def _ignore(key: FunctionKey, due_at: float) -> None:
    """Nobody waits for events yet."""


def _event(row: Any, key: FunctionKey) -> Event:
    invocation = Invocation(
        FunctionReference(key, row.qualifier),
        row.payload,
        row.request_id,
        tenant_id=row.tenant_id,
        trace_id=row.trace_id,
    )
    return Event(row.id, invocation, row.enqueued_at, row.attempts + 1, row.refusals)
