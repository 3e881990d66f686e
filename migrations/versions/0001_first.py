"""The first schema."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import Digests, Json, UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), server_default="", nullable=False),
        sa.Column("tenant_name", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("rule_id", sa.Text(), server_default="", nullable=False),
        sa.Column("priority", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="", nullable=False),
        sa.Column("first_seen", UtcTime(), nullable=True),
        sa.Column("last_seen", UtcTime(), nullable=True),
        sa.Column("assignee", sa.Text(), server_default="", nullable=False),
        sa.Column("closing_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("overflow", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("event_ids", Digests(), nullable=False),
        sa.Column("affected", sa.Text(), nullable=True),
        sa.Column("oversize", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("contents_digest", sa.LargeBinary(), nullable=True),
        sa.Column("listing_digest", sa.LargeBinary(), nullable=True),
        sa.Column("shown_at", UtcTime(), nullable=False),
        sa.Column("sweep", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("recheck", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(op.f("ix_alerts_contents_digest"), "alerts", ["contents_digest"], unique=False)
    op.create_index("ix_alerts_last_seen", "alerts", ["last_seen"], unique=False)
    op.create_index(
        "ix_alerts_recheck",
        "alerts",
        ["last_seen"],
        unique=False,
        postgresql_where=sa.text("recheck"),
        sqlite_where=sa.text("recheck"),
    )
    op.create_index(op.f("ix_alerts_listing_digest"), "alerts", ["listing_digest"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", sa.Text(), server_default="", nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_alert_id"), "audit", ["alert_id"], unique=False)
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_table(
        "close_queue",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("due", UtcTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("payload", Json(), nullable=True),
        sa.Column("put_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_close_queue")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_close_queue_claim", "close_queue", ["state", "lane", "due", "id"], unique=False)
    op.create_index("ix_close_queue_subject", "close_queue", ["subject"], unique=False)
    op.create_index(
        "uq_close_queue_waiting",
        "close_queue",
        ["subject"],
        unique=True,
        postgresql_where=sa.text("state <> 'running'"),
        sqlite_where=sa.text("state <> 'running'"),
    )
    op.create_table(
        "contents",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_contents")),
    )
    op.create_table(
        "cursor",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("watermark", UtcTime(), nullable=True),
        sa.Column("sweep", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sweeps_begun", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("swept_at", UtcTime(), nullable=True),
        sa.Column("watched_until", UtcTime(), nullable=True),
        sa.Column("born_at", UtcTime(), nullable=False),
        sa.Column("kuma_instance", sa.Text(), nullable=True),
        sa.Column("irp_url", sa.Text(), nullable=True),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cursor")),
    )
    op.create_table(
        "delivery_queue",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("due", UtcTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("payload", Json(), nullable=True),
        sa.Column("put_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_queue")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_delivery_queue_claim", "delivery_queue", ["state", "lane", "due", "id"], unique=False)
    op.create_index("ix_delivery_queue_subject", "delivery_queue", ["subject"], unique=False)
    op.create_index(
        "uq_delivery_queue_waiting",
        "delivery_queue",
        ["subject"],
        unique=True,
        postgresql_where=sa.text("state <> 'running'"),
        sqlite_where=sa.text("state <> 'running'"),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "links",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("incident_id", sa.Text(), nullable=True),
        sa.Column("incident_number", sa.Text(), server_default="", nullable=False),
        sa.Column("incident_url", sa.Text(), server_default="", nullable=False),
        sa.Column("sent_fingerprint", sa.Text(), nullable=True),
        sa.Column("sent_fields", Json(), nullable=False),
        sa.Column("sent_events", Digests(), nullable=False),
        sa.Column("intent", Json(), nullable=True),
        sa.Column("intent_events", Digests(), nullable=False),
        sa.Column("doubt", sa.Text(), nullable=True),
        sa.Column("not_found_at", UtcTime(), nullable=True),
        sa.Column("alert_closed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("incident_closed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("close_origin", sa.Text(), nullable=True),
        sa.Column("close_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("close_comment", sa.Text(), server_default="", nullable=False),
        sa.Column("held_create", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("held_close", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("ignored", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("dropped", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("gone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("changed_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_links")),
    )
    op.create_index(
        "ix_links_open",
        "links",
        ["alert_id"],
        unique=False,
        postgresql_where=sa.text("NOT alert_closed AND NOT ignored AND NOT dropped"),
        sqlite_where=sa.text("NOT alert_closed AND NOT ignored AND NOT dropped"),
    )
    op.create_index(op.f("ix_links_incident_id"), "links", ["incident_id"], unique=False)
    op.create_table(
        "parked",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("first_seen", UtcTime(), nullable=False),
        sa.Column("last_seen", UtcTime(), nullable=False),
        sa.Column("dropped", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_parked")),
    )
    op.create_table(
        "passes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("complete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("pages", sa.Integer(), server_default="0", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("seen", sa.Integer(), server_default="0", nullable=False),
        sa.Column("appeared", sa.Integer(), server_default="0", nullable=False),
        sa.Column("changed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("left", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rejected", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passes")),
    )
    op.create_index(op.f("ix_passes_started_at"), "passes", ["started_at"], unique=False)
