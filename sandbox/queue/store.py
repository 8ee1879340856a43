"""Events on disk.

What `put` has accepted stays until `complete` or `drop`, over crashes too. An event is leased
before it runs, and the attempt is counted in the same transaction: one that takes the control
plane down with it is not tried for ever. One process uses the queue at a time, so what is leased
when the queue is opened was leased by a dead one, and may be leased again at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Executable, and_, false, func, select, true

from sandbox.catalog.database import Database
from sandbox.catalog.tables import events
from sandbox.clock import Clock
from sandbox.invocation import Invocation
from sandbox.names import FunctionKey, FunctionReference


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


class EventQueue:
    """The table of events. Safe to be used by many threads."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._on_put: Callable[[FunctionKey, float], None] = _ignore
        database.transaction(_release_all)

    def on_put(self, callback: Callable[[FunctionKey, float], None]) -> None:
        """Have `callback(function, due_at)` called after each put, in the putting thread."""
        self._on_put = callback

    def put(self, invocation: Invocation) -> None:
        """Accept an event; it is on disk when this returns."""
        now = self._clock.wall()
        row = {
            **invocation.reference.key._asdict(),
            "qualifier": invocation.reference.qualifier,
            "request_id": invocation.request_id,
            "payload": bytes(invocation.payload),
            "trace_id": invocation.trace_id,
            "enqueued_at": now,
            "due_at": now,
            "attempts": 0,
            "refusals": 0,
            "leased": False,
        }
        self._database.transaction(lambda connection: _execute(connection, events.insert(), row))
        self._on_put(invocation.reference.key, now)

    def due(self) -> dict[FunctionKey, float]:
        """The functions that have events which are not leased, and when the first is due."""
        return self._database.transaction(_due)

    def lease(self, key: FunctionKey, limit: int) -> tuple[list[Event], float | None]:
        """Take a function's due events, the longest due first, `limit` at most.

        Also returns when the next of those left is due, None when none is left.
        """
        now = self._clock.wall()
        return self._database.transaction(lambda connection: _lease(connection, key, now, limit))

    def complete(self, event: Event) -> None:
        """Forget an event that has run, or that is given up."""
        self._database.transaction(
            lambda connection: _execute(connection, events.delete().where(events.c.id == event.id))
        )

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
        self._database.transaction(lambda connection: _execute(connection, change))


def _ignore(key: FunctionKey, due_at: float) -> None:
    """Nobody waits for events yet."""


def _execute(connection: Connection, statement: Executable, *parameters: dict[str, Any]) -> None:
    connection.execute(statement, *parameters)


def _release_all(connection: Connection) -> None:
    connection.execute(events.update().where(events.c.leased == true()).values(leased=False))


def _due(connection: Connection) -> dict[FunctionKey, float]:
    of = (events.c.account, events.c.region, events.c.name)
    statement = (
        select(*of, func.min(events.c.due_at)).where(events.c.leased == false()).group_by(*of)
    )
    found: Iterable[Any] = connection.execute(statement)
    return {FunctionKey(*key): due_at for *key, due_at in found}


def _lease(
    connection: Connection, key: FunctionKey, now: float, limit: int
) -> tuple[list[Event], float | None]:
    waiting = and_(
        events.c.account == key.account,
        events.c.region == key.region,
        events.c.name == key.name,
        events.c.leased == false(),
    )
    due = select(events).where(waiting, events.c.due_at <= now)
    rows = connection.execute(due.order_by(events.c.due_at, events.c.id).limit(limit)).all()
    leased = [_event(row, key) for row in rows]
    if leased:
        taken = events.c.id.in_([event.id for event in leased])
        change = events.update().where(taken)
        connection.execute(change.values(leased=True, attempts=events.c.attempts + 1))
    return leased, connection.scalar(select(func.min(events.c.due_at)).where(waiting))


def _event(row: Any, key: FunctionKey) -> Event:
    invocation = Invocation(
        FunctionReference(key, row.qualifier),
        row.payload,
        row.request_id,
        trace_id=row.trace_id,
    )
    return Event(row.id, invocation, row.enqueued_at, row.attempts + 1, row.refusals)
