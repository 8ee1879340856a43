"""Accounts, their users and roles, and access keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("account", sa.Text, primary_key=True, nullable=False),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("concurrency", sa.BigInteger),
        sa.Column("functions", sa.BigInteger),
        sa.Column("code_storage_bytes", sa.BigInteger),
        sa.Column("queued_events", sa.BigInteger),
        sa.Column("memory_mib", sa.BigInteger),
    )
    op.create_table(
        "identities",
        sa.Column("account", sa.Text, primary_key=True, nullable=False),
        sa.Column("kind", sa.Text, primary_key=True, nullable=False),
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("policies", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.account"], ondelete="CASCADE"),
    )
    op.create_table(
        "access_keys",
        sa.Column("access_key", sa.Text, primary_key=True, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text),
        sa.Column("salt", sa.Text, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.account"], ondelete="CASCADE"),
    )
