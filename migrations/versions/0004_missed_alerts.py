"""When a store was first read, and which alerts had left the statuses asked for before they were ever read."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("links", sa.Column("missed", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("cursor", sa.Column("first_read_at", UtcTime(), nullable=True))
    # A store that has read KUMA did so after its birth. A moment too early makes an incident too many at worst, one too
    # late loses an alert.
    op.execute(
        "UPDATE cursor SET first_read_at = born_at"
        " WHERE watermark IS NOT NULL OR sweep > 0 OR EXISTS (SELECT 1 FROM alerts)"
    )
