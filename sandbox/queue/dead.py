"""Dead events: those that failed and that nobody was told of, and messages without a taker.

They stay on disk until someone lets them run, or be delivered, again, or purges them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select, true

from sandbox.catalog.database import Database
from sandbox.catalog.tables import dead_events
from sandbox.clock import Clock
from sandbox.errors import NotFound
from sandbox.invocation import Invocation
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import outbox, store
from sandbox.queue.outbox import Outbox
from sandbox.queue.records import Message
from sandbox.queue.store import EventQueue

_BATCH = 256
"""Rows that one transaction moves: their bodies are in memory."""
_ABOUT = tuple(column for column in dead_events.c if column is not dead_events.c.body)


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that failed, or with a `target` a message that could not be delivered."""

    id: int
    reference: FunctionReference
    request_id: str
    reason: str
    condition: str | None
    """Of an event, as Lambda's records name it."""
    attempts: int | None
    """Of an event: how often it ran."""
    kind: str | None
    """Of a message."""
    target: str | None
    created_at: float
    """When the event was accepted, or the message written; seconds since the Unix epoch."""
    died_at: float
    size: int
    """Bytes of the payload or message."""


class DeadEvents:
    """The table of dead events. Safe to be used by many threads."""

    def __init__(
        self, database: Database, clock: Clock, events: EventQueue, messages: Outbox
    ) -> None:
        self._database = database
        self._clock = clock
        self._events = events
        self._messages = messages

    def count(self, account: str | None = None) -> int:
        """Of one account, or of all."""
        counted = select(func.count()).select_from(dead_events).where(_of(None, account))
        return self._database.transaction(lambda connection: connection.scalar(counted)) or 0

    def list(
        self,
        key: FunctionKey | None,
        *,
        after: int = 0,
        limit: int = 100,
        account: str | None = None,
    ) -> list[DeadEvent]:
        """The oldest first, of one function or of all; `after` is the last id of the page before.

        At most `limit`, without their payloads. With an `account`, here and below, those of others
        are as if they were not there.
        """
        chosen = and_(_of(key, account), dead_events.c.id > after)
        size = func.length(dead_events.c.body).label("size")
        query = select(*_ABOUT, size).where(chosen).order_by(dead_events.c.id).limit(limit)
        rows = self._database.transaction(lambda connection: connection.execute(query).all())
        return [_dead_event(row) for row in rows]

    def show(self, number: int, account: str | None = None) -> tuple[DeadEvent, bytes]:
        """One with its payload or message. Raises NotFound."""
        size = func.length(dead_events.c.body).label("size")
        query = select(dead_events, size).where(_one(number, account))
        row = self._database.transaction(lambda connection: connection.execute(query).first())
        if row is None:
            raise _missing(number)
        return _dead_event(row), row.body

    def retry(self, key: FunctionKey | None = None, account: str | None = None) -> int:
        """Have all events of a function, or of all, run as new ones, and messages delivered.

        Request ids stay. Returns how many; those that die meanwhile are not among them.
        """
        last = select(func.max(dead_events.c.id))
        newest = self._database.transaction(lambda connection: connection.scalar(last)) or 0
        chosen, total = and_(_of(key, account), dead_events.c.id <= newest), 0
        while moved := self._retry(chosen):
            total += moved
        return total

    def retry_one(self, number: int, account: str | None = None) -> None:
        """As `retry`. Raises NotFound."""
        if not self._retry(_one(number, account)):
            raise _missing(number)

    def purge(self, key: FunctionKey | None = None, account: str | None = None) -> int:
        """Forget all of a function, or of all; how many."""
        return self._delete(_of(key, account))

    def purge_one(self, number: int, account: str | None = None) -> None:
        """Raises NotFound."""
        if not self._delete(_one(number, account)):
            raise _missing(number)

    def _delete(self, chosen: ColumnElement[bool]) -> int:
        statement = dead_events.delete().where(chosen)
        return self._database.transaction(lambda connection: connection.execute(statement).rowcount)

    def _retry(self, chosen: ColumnElement[bool]) -> int:
        now = self._clock.wall()
        rows = self._database.transaction(lambda connection: _revive(connection, chosen, now))
        for row in rows:
            if row.target is None:
                self._events.announce(_reference(row).key)
            else:
                self._messages.announce(row.target)
        return len(rows)


def _revive(connection: Connection, chosen: ColumnElement[bool], now: float) -> list[Any]:
    query = select(dead_events).where(chosen).order_by(dead_events.c.id).limit(_BATCH)
    rows = list(connection.execute(query).all())
    for row in rows:
        common = (_reference(row), row.request_id, row.trace_id)
        if row.target is None:
            reference, request_id, trace_id = common
            invocation = Invocation(
                reference, row.body, request_id, tenant_id=row.tenant_id, trace_id=trace_id
            )
            store.insert(connection, store.new_row(invocation, now))
        else:
            message = Message(*common, row.kind, row.target, row.body, row.attributes)
            outbox.insert(connection, outbox.new_row(message, now))
    revived = dead_events.c.id.in_([row.id for row in rows])
    connection.execute(dead_events.delete().where(revived))
    return rows


def _of(key: FunctionKey | None, account: str | None = None) -> ColumnElement[bool]:
    own = true() if account is None else dead_events.c.account == account
    if key is None:
        return own
    return and_(own, *(dead_events.c[column] == value for column, value in key._asdict().items()))


def _one(number: int, account: str | None) -> ColumnElement[bool]:
    return and_(_of(None, account), dead_events.c.id == number)


def _reference(row: Any) -> FunctionReference:
    return FunctionReference(FunctionKey(row.account, row.region, row.name), row.qualifier)


def _dead_event(row: Any) -> DeadEvent:
    return DeadEvent(
        row.id,
        _reference(row),
        row.request_id,
        row.reason,
        row.condition,
        row.attempts,
        row.kind,
        row.target,
        row.created_at,
        row.died_at,
        row.size,
    )


def _missing(number: int) -> NotFound:
    return NotFound(f"There is no dead event {number}.")
