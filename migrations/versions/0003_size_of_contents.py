"""How many bytes contents are when unpacked, so that no more are taken up at once than there is room for."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What is stored already weighs nothing: it is delivered soon, as it was before.
    op.add_column("contents", sa.Column("size", sa.Integer(), nullable=False, server_default="0"))
