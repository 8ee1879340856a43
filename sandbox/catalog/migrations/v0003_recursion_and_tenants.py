"""What becomes of a function that calls itself, and whose tenant's an event is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "functions",
        sa.Column("recursive_loop", sa.Text, nullable=False, server_default="Terminate"),
    )
    op.add_column("events", sa.Column("tenant_id", sa.Text))
    op.add_column("dead_events", sa.Column("tenant_id", sa.Text))
