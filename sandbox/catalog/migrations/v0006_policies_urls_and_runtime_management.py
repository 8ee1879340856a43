"""What hangs on a qualifier: policies, function URLs, runtime management."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def _create(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("account", sa.Text, primary_key=True, nullable=False),
        sa.Column("region", sa.Text, primary_key=True, nullable=False),
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("qualifier", sa.Text, primary_key=True),
        *columns,
        sa.ForeignKeyConstraint(
            ["account", "region", "name"],
            ["functions.account", "functions.region", "functions.name"],
            ondelete="CASCADE",
        ),
    )


def upgrade() -> None:
    _create(
        "policies",
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("revision_id", sa.Text, nullable=False),
    )
    _create(
        "function_urls",
        sa.Column("url_id", sa.Text, nullable=False, unique=True),
        sa.Column("auth_type", sa.Text, nullable=False),
        sa.Column("cors", sa.JSON, nullable=False),
        sa.Column("invoke_mode", sa.Text),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("modified_at", sa.Float(53), nullable=False),
    )
    _create(
        "runtime_management",
        sa.Column("update_on", sa.Text, nullable=False),
        sa.Column("runtime_version_arn", sa.Text),
    )
