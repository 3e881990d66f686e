"""Heartbeats: which processes work on this store, and how they are, for `status`."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import Json, UtcTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "heartbeats",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("single_pass", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("heard_at", UtcTime(), nullable=False),
        sa.Column("condition", Json(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_heartbeats"),
    )
