"""The budget of updates, and indexes that keep a quiet minute from reading what is settled."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

HELD = sa.text("(held_create OR held_close)")
SETTLED = sa.text("(alert_closed OR incident_closed OR gone OR ignored OR dropped)")


def upgrade() -> None:
    op.add_column("links", sa.Column("spent_until", UtcTime(), nullable=True))
    op.create_index("ix_links_held", "links", ["alert_id"], unique=False, postgresql_where=HELD, sqlite_where=HELD)
    op.create_index(
        "ix_links_settled",
        "links",
        ["changed_at", "alert_id"],
        unique=False,
        postgresql_where=SETTLED,
        sqlite_where=SETTLED,
    )
