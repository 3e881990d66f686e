"""Comments that alerts in KUMA are to be given: the number and link of an incident that was made."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import UtcTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "write_backs",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("due", UtcTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("alert_id", name="pk_write_backs"),
    )
    op.create_index("ix_write_backs_due", "write_backs", ["due"])
