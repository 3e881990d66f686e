"""When an incident was first seen closed without a resolution: it is looked at once more."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import UtcTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UNRESOLVED = sa.text("unresolved_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("links", sa.Column("unresolved_at", UtcTime(), nullable=True))
    op.create_index(
        "ix_links_unresolved",
        "links",
        ["alert_id"],
        unique=False,
        postgresql_where=UNRESOLVED,
        sqlite_where=UNRESOLVED,
    )
