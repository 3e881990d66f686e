"""Several targets: what was known of the one IRP moves into a row of its own, links and jobs name their target."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import UtcTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOVED = ("irp_url", "profile", "profile_digest", "profile_shown", "watched_until")

UNROUTED = sa.text("(target = '' AND NOT ignored AND NOT dropped)")


def upgrade() -> None:
    op.create_table(
        "targets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("irp_url", sa.Text()),
        sa.Column("profile", sa.Text()),
        sa.Column("profile_digest", sa.Text()),
        sa.Column("profile_shown", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("watched_until", UtcTime()),
        sa.PrimaryKeyConstraint("name", name="pk_targets"),
    )
    columns = ", ".join(MOVED)
    op.execute(sa.text(f"INSERT INTO targets (name, {columns}) SELECT 'irp', {columns} FROM cursor"))  # noqa: S608
    for column in MOVED:
        op.drop_column("cursor", column)
    op.add_column("links", sa.Column("target", sa.Text(), nullable=False, server_default="irp"))
    op.create_index(
        "ix_links_unrouted", "links", ["alert_id"], postgresql_where=UNROUTED, sqlite_where=UNROUTED, unique=False
    )
    for queue in ("delivery_queue", "close_queue"):
        op.add_column(queue, sa.Column("target", sa.Text(), nullable=False, server_default="irp"))
        op.drop_index(f"ix_{queue}_claim", queue)
        op.create_index(f"ix_{queue}_claim", queue, ["target", "state", "lane", "due", "id"], unique=False)
    op.create_table(
        "pauses",
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("until", UtcTime()),
        sa.Column("by", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("part", name="pk_pauses"),
    )
