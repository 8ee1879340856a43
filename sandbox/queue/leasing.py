"""Rows of a table that are taken to be worked on, by lane, the longest due first.

A lane is what shares a turn: the events of one function, the messages to one target. A row is
leased before it is worked on. One process uses the database at a time, so what is leased when it
is opened was leased by a dead one, and may be leased again at once.

Statements are made once: to make one takes longer than SQLite takes to run it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, and_, bindparam, false, func, select, true


class Leasing:
    """What is done to one table: `id`, `due_at` and `leased` are columns of it."""

    def __init__(self, table: Table, lane: Sequence[Column[Any]], **changes: Any) -> None:
        """`lane` says by which columns rows share a turn; `changes` are made to what is leased."""
        column = table.c
        waiting = and_(
            *(part == bindparam(f"lane_{part.name}") for part in lane), column.leased == false()
        )
        self._release_all = table.update().where(column.leased == true()).values(leased=False)
        first = select(*lane, func.min(column.due_at)).where(column.leased == false())
        self._first_due = first.group_by(*lane)
        due = select(table).where(waiting, column.due_at <= bindparam("now"))
        self._due = due.order_by(column.due_at, column.id).limit(bindparam("most"))
        mark = table.update().where(column.id.in_(bindparam("ids", expanding=True)))
        self._mark = mark.values(leased=True, **changes)
        self._next_due = select(func.min(column.due_at)).where(waiting)
        self._count = select(func.count()).select_from(table)
        self._delete = table.delete().where(column.id == bindparam("gone"))

    def release_all(self, connection: Connection) -> None:
        """Nobody works on any row."""
        connection.execute(self._release_all)

    def first_due(self, connection: Connection) -> list[Any]:
        """The lanes with rows that are not leased, each with when the first of them is due."""
        return [tuple(row) for row in connection.execute(self._first_due)]

    def take(
        self, connection: Connection, lane: Mapping[str, Any], now: float, limit: int
    ) -> tuple[Sequence[Any], float | None]:
        """Lease due rows of a lane, `limit` at most.

        Returns the rows as they were, and when the next of those left is due, None when none is.
        """
        where = {f"lane_{name}": value for name, value in lane.items()}
        rows = connection.execute(self._due, {**where, "now": now, "most": limit}).all()
        if rows:
            connection.execute(self._mark, {"ids": [row.id for row in rows]})
        return rows, connection.scalar(self._next_due, where)

    def count(self, connection: Connection) -> int:
        return connection.scalar(self._count) or 0

    def delete(self, connection: Connection, number: int) -> None:
        """Forget the row of this id."""
        connection.execute(self._delete, {"gone": number})
