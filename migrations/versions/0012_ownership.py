"""Whose the fields of an incident are, and what is still to be told as a comment."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("links", sa.Column("ownership", sa.Text(), nullable=True))
    op.add_column("links", sa.Column("owed", sa.Text(), nullable=True))
    op.add_column("links", sa.Column("close_commented", sa.Boolean(), nullable=False, server_default=sa.text("false")))
