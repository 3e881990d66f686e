"""What the console reads (what happened, the words that find an alert), wrong passwords, and what `[notify]` told."""

import sqlalchemy as sa
from alembic import op

from kuma_sync.store.types import UtcTime, Words

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


AT_ONCE = 1000


def upgrade() -> None:
    _activity()
    _tries()
    _notified()
    op.add_column("alerts", sa.Column("words", Words(), nullable=False, server_default=""))
    _fill_words()
    op.drop_index("ix_alerts_last_seen", "alerts")
    op.create_index("ix_alerts_last_seen", "alerts", ["last_seen", "id", "words"])
    op.create_index("ix_alerts_first_seen", "alerts", ["first_seen", "id"])
    op.create_index("ix_alerts_words", "alerts", ["words", "id"])
    for name, columns, condition, using in (
        ("ix_links_given_up", ["alert_id"], "(ignored OR dropped)", "btree"),
        ("ix_links_missed", ["alert_id"], "missed", "btree"),
        ("ix_links_gone", ["alert_id"], "gone", "btree"),
        ("ix_links_incident_number", ["incident_number"], "incident_number <> ''", "hash"),
    ):
        where = sa.text(condition)
        op.create_index(name, "links", columns, postgresql_where=where, sqlite_where=where, postgresql_using=using)


def _fill_words() -> None:
    """Let alerts that are known be found by their names: their contents were forgotten."""
    alerts = sa.table("alerts", sa.column("id", sa.Text()), sa.column("name", Words()), sa.column("words", Words()))
    connection, reached = op.get_bind(), ""
    write = alerts.update().where(alerts.c.id == sa.bindparam("b_id")).values(words=sa.bindparam("b_words"))
    while True:
        few = sa.select(alerts.c.id, alerts.c.name).where(alerts.c.id > reached).order_by(alerts.c.id).limit(AT_ONCE)
        rows = connection.execute(few).all()
        if not rows:
            return
        connection.execute(
            write, [{"b_id": row.id, "b_words": " ".join(row.name.casefold().split())[:200]} for row in rows]
        )
        reached = rows[-1].id


def _activity() -> None:
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


def _tries() -> None:
    op.create_table(
        "console_tries",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_console_tries"),
    )
    op.create_index("ix_console_tries_expires_at", "console_tries", ["expires_at"])


def _notified() -> None:
    op.create_table(
        "notified",
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("text", Words(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("over_at", UtcTime()),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("event", "target", name="pk_notified"),
    )
