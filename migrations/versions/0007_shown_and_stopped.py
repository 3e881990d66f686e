"""Whether find shows what a profile's create makes, and lanes for jobs whose operation stands still."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UNSHOWN = sa.text("doubt = 'unshown'")


def upgrade() -> None:
    op.add_column("cursor", sa.Column("profile_digest", sa.Text()))
    op.add_column("cursor", sa.Column("profile_shown", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_index(
        "ix_links_unshown", "links", ["alert_id"], postgresql_where=UNSHOWN, sqlite_where=UNSHOWN, unique=False
    )
    for queue in ("delivery_queue", "close_queue"):
        table = sa.table(queue, sa.column("lane", sa.Integer))
        op.execute(sa.update(table).values(lane=table.c.lane * 10))
