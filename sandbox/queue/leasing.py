"""Rows of a table that are taken to be worked on, by lane, the longest due first.

A lane is what shares a turn: the events of one function, the messages to one target. A row is
leased before it is worked on. One process uses the database at a time, so what is leased when it
is opened was leased by a dead one, and may be leased again at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, and_, false, func, select, true


def release_all(connection: Connection, table: Table) -> None:
    """Nobody works on any row."""
    connection.execute(table.update().where(table.c.leased == true()).values(leased=False))


def first_due(connection: Connection, table: Table, lane: Sequence[Column[Any]]) -> list[Any]:
    """The lanes that have rows which are not leased, each with when the first of them is due."""
    found = select(*lane, func.min(table.c.due_at)).where(table.c.leased == false())
    return [tuple(row) for row in connection.execute(found.group_by(*lane))]


def take(
    connection: Connection,
    table: Table,
    lane: Mapping[str, Any],
    now: float,
    limit: int,
    **changes: Any,
) -> tuple[Sequence[Any], float | None]:
    """Lease due rows of a lane, `limit` at most, and make `changes` to them in the table.

    Returns the rows as they were, and when the next of those left is due, None when none is.
    """
    waiting = and_(
        *(table.c[column] == value for column, value in lane.items()), table.c.leased == false()
    )
    due = select(table).where(waiting, table.c.due_at <= now)
    rows = connection.execute(due.order_by(table.c.due_at, table.c.id).limit(limit)).all()
    if rows:
        change = table.update().where(table.c.id.in_([row.id for row in rows]))
        connection.execute(change.values(leased=True, **changes))
    return rows, connection.scalar(select(func.min(table.c.due_at)).where(waiting))
