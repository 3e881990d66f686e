"""How much happened, by process and five minutes: for the charts of the console and the first line of `status`."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import UtcTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    counts = ("arrived", "changed", "delivered", "waited", "longest", "closed", "failed")
    op.create_table(
        "activity",
        sa.Column("slot", UtcTime(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        *(
            sa.Column(
                name,
                sa.Float() if name in ("waited", "longest") else sa.BigInteger(),
                nullable=False,
                server_default="0",
            )
            for name in counts
        ),
        sa.PrimaryKeyConstraint("slot", "owner", "target", name="pk_activity"),
    )
