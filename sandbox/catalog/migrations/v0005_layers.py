"""Layers, what functions have of them at /opt, and where a function's package is from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def _key() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, primary_key=True) for name in ("account", "region", "name")]


def upgrade() -> None:
    for column in (
        sa.Column("layers_sha256", sa.Text),
        sa.Column("layers_size", sa.BigInteger),
        sa.Column("layers_unpacked_size", sa.BigInteger),
        sa.Column("source", sa.JSON),
    ):
        op.add_column("versions", column)
    op.create_table("layers", *_key(), sa.Column("last_version", sa.Integer, nullable=False))
    op.create_table(
        "layer_versions",
        *_key(),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("code_sha256", sa.Text, nullable=False),
        sa.Column("code_size", sa.BigInteger, nullable=False),
        sa.Column("unpacked_size", sa.BigInteger, nullable=False),
        sa.Column("policy", sa.JSON, nullable=False),
    )
