"""Alerts that left the asked-for statuses before they were read, and when the store first read KUMA."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.columns import UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("links", sa.Column("missed", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.add_column("cursor", sa.Column("first_read_at", UtcTime()))
    # The nearest to it that an older store remembers; it asked KUMA within seconds of its birth.
    op.execute("UPDATE cursor SET first_read_at = born_at")
