"""The pages after the first of what an IRP that polls us is shown."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import UtcTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "handout_pages",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("listing", sa.LargeBinary(), nullable=False),
        sa.Column("page", sa.BigInteger(), nullable=False),
        sa.Column("alert_ids", sa.Text(), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("target", "listing", "page", name="pk_handout_pages"),
    )
