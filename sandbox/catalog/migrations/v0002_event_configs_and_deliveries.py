"""How events are retried, and who is told of their end: configurations, messages, dead events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _key(*, primary: bool) -> list[sa.Column[str]]:
    return [
        sa.Column(name, sa.Text, primary_key=primary, nullable=False)
        for name in ("account", "region", "name")
    ]


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)


def upgrade() -> None:
    op.create_table(
        "event_invoke_configs",
        *_key(primary=True),
        sa.Column("qualifier", sa.Text, primary_key=True),
        sa.Column("last_modified", sa.Float(53), nullable=False),
        sa.Column("maximum_retry_attempts", sa.Integer),
        sa.Column("maximum_event_age", sa.Integer),
        sa.Column("on_success", sa.Text),
        sa.Column("on_failure", sa.Text),
        sa.ForeignKeyConstraint(
            ["account", "region", "name"],
            ["functions.account", "functions.region", "functions.name"],
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "deliveries",
        _id(),
        *_key(primary=False),
        sa.Column("qualifier", sa.Text),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("due_at", sa.Float(53), nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("leased", sa.Boolean, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("deliveries_due", "deliveries", ["target", "leased", "due_at"])
    op.create_table(
        "dead_events",
        _id(),
        *_key(primary=False),
        sa.Column("qualifier", sa.Text),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text),
        sa.Column("died_at", sa.Float(53), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("condition", sa.Text),
        sa.Column("attempts", sa.Integer),
        sa.Column("kind", sa.Text),
        sa.Column("target", sa.Text),
        sa.Column("attributes", sa.JSON),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
