"""Functions, their versions and aliases, and queued events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _key(*, primary: bool = True) -> list[sa.Column[str]]:
    return [
        sa.Column(name, sa.Text, primary_key=primary, nullable=False)
        for name in ("account", "region", "name")
    ]


def _of_a_function() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["account", "region", "name"],
        ["functions.account", "functions.region", "functions.name"],
        ondelete="CASCADE",
    )


def upgrade() -> None:
    op.create_table(
        "functions",
        *_key(),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
        sa.Column("reserved_concurrency", sa.Integer),
    )
    op.create_table(
        "versions",
        *_key(),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("configuration", sa.JSON, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("code_sha256", sa.Text),
        sa.Column("code_size", sa.BigInteger),
        sa.Column("unpacked_size", sa.BigInteger),
        sa.Column("image_uri", sa.Text),
        sa.Column("image_id", sa.Text),
        _of_a_function(),
    )
    op.create_table(
        "aliases",
        *_key(),
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("function_version", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("weights", sa.JSON, nullable=False),
        sa.Column("revision_id", sa.Text, nullable=False),
        _of_a_function(),
    )
    op.create_table(
        "used_versions",
        *_key(),
        sa.Column("last_version", sa.Integer, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        *_key(primary=False),
        sa.Column("qualifier", sa.Text),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text),
        sa.Column("enqueued_at", sa.Float(53), nullable=False),
        sa.Column("due_at", sa.Float(53), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("leased", sa.Boolean, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_index("events_due", "events", ["account", "region", "name", "leased", "due_at"])
