"""What hangs on a qualifier, as rows of the database: see `attachments`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table

from sandbox.catalog import tables
from sandbox.catalog.attachments import FunctionUrl, Policy, RuntimeManagement
from sandbox.names import FunctionKey

Row = dict[str, Any]
Attached = dict[str, Any]
"""Members of Function: each a mapping by qualifier."""


class Kind(NamedTuple):
    """How one kind of attachment is kept."""

    member: str
    """Of Function: a mapping by qualifier."""
    table: Table
    """The columns of the key and `qualifier`, then the record's further fields in their order."""
    record: Callable[..., Any]


KINDS = (
    Kind("policies", tables.policies, Policy),
    Kind("urls", tables.function_urls, FunctionUrl),
    Kind("runtime_management", tables.runtime_management, RuntimeManagement),
)


def load(connection: Connection) -> Mapping[FunctionKey, Attached]:
    """What every function has attached, sorted by qualifier."""
    found: dict[FunctionKey, Attached] = defaultdict(dict)
    for kind in KINDS:
        # sorted here: databases have orders of their own
        rows = sorted(connection.execute(kind.table.select()), key=lambda row: row.qualifier)
        for account, region, name, qualifier, *rest in rows:
            key = FunctionKey(account, region, name)
            of_kind = found[key].setdefault(kind.member, {})
            of_kind[qualifier] = kind.record(key, qualifier, *rest)
    return found


def row(kind: Kind) -> Callable[[Any], Row]:
    """What makes the row of a record of this kind."""
    fields = [
        column.name for column in kind.table.columns if column.name not in FunctionKey._fields
    ]
    return lambda record: {
        **record.key._asdict(),
        **{field: getattr(record, field) for field in fields},
    }
