"""Provisioned concurrency of versions and aliases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "provisioned_concurrency",
        sa.Column("account", sa.Text, primary_key=True, nullable=False),
        sa.Column("region", sa.Text, primary_key=True, nullable=False),
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("qualifier", sa.Text, primary_key=True),
        sa.Column("requested", sa.Integer, nullable=False),
        sa.Column("last_modified", sa.Float(53), nullable=False),
        sa.ForeignKeyConstraint(
            ["account", "region", "name"],
            ["functions.account", "functions.region", "functions.name"],
            ondelete="CASCADE",
        ),
    )
