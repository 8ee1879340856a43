"""Messages about the end of events, on disk until they are delivered or dead.

An event ends and its messages are written in one transaction: whatever happens to the control
plane, the event is still in the queue, or its messages are here, or it is a dead event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from sandbox.catalog.database import Database
from sandbox.catalog.tables import dead_events, deliveries
from sandbox.clock import Clock
from sandbox.names import FunctionKey, FunctionReference
from sandbox.queue import store
from sandbox.queue.leasing import Leasing
from sandbox.queue.records import Message
from sandbox.queue.rules import Ending
from sandbox.queue.store import Event

_LEASING = Leasing(deliveries, (deliveries.c.target,))


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way."""

    id: int
    message: Message
    created_at: float
    """Seconds since the Unix epoch."""
    failures: int
    """Times that it was tried in vain."""

    def __repr__(self) -> str:
        message = self.message
        return f"<{message.kind} message of event {message.request_id} to {message.target}>"


class Outbox:
    """The table of messages. Safe to be used by many threads."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._on_put: Callable[[str, float], None] = _ignore
        self._on_burial: Callable[[int], None] = _forget
        database.transaction(_LEASING.release_all)

    def on_put(self, callback: Callable[[str, float], None]) -> None:
        """Have `callback(target, due_at)` called after each message, in the writing thread."""
        self._on_put = callback

    def on_burial(self, callback: Callable[[int], None]) -> None:
        """Have `callback(bytes)` called after each dead event, in the writing thread."""
        self._on_burial = callback

    def announce(self, target: str) -> None:
        """A message to a target has been added that is due now."""
        self._on_put(target, self._clock.wall())

    def end(self, event: Event, ending: Ending, messages: Sequence[Message], lost: bool) -> None:
        """Forget an event and keep what is to be told of it; when it is `lost`, as a dead event."""
        now = self._clock.wall()
        rows = [new_row(message, now) for message in messages]
        buried = _dead_event(event, ending, now) if lost else None

        def work(connection: Connection) -> None:
            store.delete(connection, event)
            for row in rows:
                insert(connection, row)
            if buried is not None:
                connection.execute(dead_events.insert(), buried)

        self._database.transaction(work)
        for message in messages:
            self.announce(message.target)
        if buried is not None:
            self._on_burial(len(buried["body"]))

    def due(self) -> dict[str, float]:
        """The targets that messages wait for, and when the first is due."""
        return dict(self._database.transaction(_LEASING.first_due))

    def count(self) -> int:
        """Messages that are not delivered."""
        return self._database.transaction(_LEASING.count)

    def lease(self, target: str, limit: int) -> tuple[list[Delivery], float | None]:
        """Take a target's due messages, the longest due first, and when the next is due."""
        now = self._clock.wall()
        rows, next_due = self._database.transaction(
            lambda connection: _LEASING.take(connection, {"target": target}, now, limit)
        )
        return [_delivery(row) for row in rows], next_due

    def delivered(self, delivery: Delivery) -> None:
        """Forget a message."""
        self._database.transaction(lambda connection: _LEASING.delete(connection, delivery.id))

    def postpone(self, delivery: Delivery, due_at: float) -> None:
        """Try again at `due_at`."""
        change = (
            deliveries.update()
            .where(deliveries.c.id == delivery.id)
            .values(leased=False, due_at=due_at, failures=delivery.failures + 1)
        )
        self._database.transaction(lambda connection: connection.execute(change).close())

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Keep a message that cannot be delivered as a dead event."""
        row = _dead_message(delivery, reason, self._clock.wall())

        def work(connection: Connection) -> None:
            _LEASING.delete(connection, delivery.id)
            connection.execute(dead_events.insert(), row)

        self._database.transaction(work)
        self._on_burial(len(row["body"]))


def new_row(message: Message, now: float) -> dict[str, Any]:
    """A message that is due now."""
    return {
        **message.reference.key._asdict(),
        "qualifier": message.reference.qualifier,
        "request_id": message.request_id,
        "trace_id": message.trace_id,
        "kind": message.kind,
        "target": message.target,
        "attributes": dict(message.attributes),
        "created_at": now,
        "due_at": now,
        "failures": 0,
        "leased": False,
        "body": message.body,
    }


def insert(connection: Connection, row: dict[str, Any]) -> None:
    connection.execute(deliveries.insert(), row)


def _dead_event(event: Event, ending: Ending, now: float) -> dict[str, Any]:
    invocation = event.invocation
    return {
        **invocation.reference.key._asdict(),
        "qualifier": invocation.reference.qualifier,
        "request_id": invocation.request_id,
        "trace_id": invocation.trace_id,
        "tenant_id": invocation.tenant_id,
        "died_at": now,
        "reason": ending.message,
        "condition": ending.condition,
        "attempts": ending.runs,
        "created_at": event.enqueued_at,
        "body": bytes(invocation.payload),
    }


def _dead_message(delivery: Delivery, reason: str, now: float) -> dict[str, Any]:
    row = new_row(delivery.message, delivery.created_at)
    row = {name: value for name, value in row.items() if name in dead_events.c}
    return {**row, "died_at": now, "reason": reason}


def _ignore(target: str, due_at: float) -> None:
    """Nobody waits for messages yet."""


def _forget(size: int) -> None:
    """Nobody bounds the dead events."""


def _delivery(row: Any) -> Delivery:
    key = FunctionKey(row.account, row.region, row.name)
    message = Message(
        FunctionReference(key, row.qualifier),
        row.request_id,
        row.trace_id,
        row.kind,
        row.target,
        row.body,
        row.attributes,
    )
    return Delivery(row.id, message, row.created_at, row.failures)
