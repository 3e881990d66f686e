"""An index that counts the open alerts without reading their rows."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = sa.text("NOT alert_closed AND NOT ignored AND NOT dropped")
    op.drop_index("ix_links_open", "links")
    op.create_index(
        "ix_links_open",
        "links",
        ["alert_id", "incident_closed", "gone"],
        postgresql_where=where,
        sqlite_where=where,
    )
