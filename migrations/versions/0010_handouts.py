"""What is put out for IRPs that poll us."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import UtcTime, Words

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

PENDING = sa.text("pending")
REPEATABLE = sa.text("(first_handed_at IS NOT NULL AND NOT ended)")
REPLACED = sa.text("replaced_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("links", sa.Column("offered", sa.Text()))
    op.add_column("targets", sa.Column("asked_at", UtcTime()))
    op.create_table(
        "handouts",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("pending", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("ended", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("put_out_at", UtcTime(), nullable=False),
        sa.Column("first_handed_at", UtcTime()),
        sa.Column("tenant_id", Words(), nullable=False, server_default=""),
        sa.Column("name", Words(), nullable=False, server_default=""),
        sa.Column("status", Words(), nullable=False, server_default=""),
        sa.Column("first_seen", UtcTime()),
        sa.Column("last_seen", UtcTime()),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("lists_digest", sa.LargeBinary(), nullable=False),
        sa.Column("head_size", sa.BigInteger(), nullable=False),
        sa.Column("events_size", sa.BigInteger(), nullable=False),
        sa.Column("affected_size", sa.BigInteger(), nullable=False),
        sa.Column("affected_lists_size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", name="pk_handouts"),
    )
    op.create_index(
        "ix_handouts_pending",
        "handouts",
        ["target", "status", "put_out_at"],
        postgresql_where=PENDING,
        sqlite_where=PENDING,
        unique=False,
    )
    op.create_index(
        "ix_handouts_repeated",
        "handouts",
        ["target", "first_handed_at"],
        postgresql_where=REPEATABLE,
        sqlite_where=REPEATABLE,
        unique=False,
    )
    op.create_table(
        "handout_bodies",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("events", sa.LargeBinary(), nullable=False),
        sa.Column("affected", sa.LargeBinary(), nullable=False),
        sa.Column("affected_lists", sa.LargeBinary(), nullable=False),
        sa.Column("replaced_at", UtcTime()),
        sa.PrimaryKeyConstraint("alert_id", "version", name="pk_handout_bodies"),
    )
    op.create_index(
        "ix_handout_bodies_replaced",
        "handout_bodies",
        ["replaced_at"],
        postgresql_where=REPLACED,
        sqlite_where=REPLACED,
        unique=False,
    )
