"""The tables. The migrations in `migrations/` make the same ones; a test compares both."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from kuma_sync.store.types import Digests, Json, UtcTime, Words

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only for INTEGER keys.
RowId = BigInteger().with_variant(Integer, "sqlite")

NOT_RUNNING = text("state <> 'running'")
"""The partial index's condition; literal, because PostgreSQL cannot match a bound one against the index."""

OPEN = text("NOT alert_closed AND NOT ignored AND NOT dropped")
"""Open links: KUMA may still change their alerts, so a sweep must account for them. Literal for the same reason."""

HELD = text("(held_create OR held_close)")
"""Links held by the brake."""

UNROUTED = text("(target = '' AND NOT ignored AND NOT dropped)")
"""Links of alerts that no route takes."""

UNRESOLVED = text("unresolved_at IS NOT NULL")
"""Links whose incident was seen closed without a resolution."""

UNSHOWN = text("doubt = 'unshown'")
"""Links whose incidents can prove that `find` shows created incidents. Literal for the same reason."""

PENDING = text("pending")
"""Alerts that an IRP which polls us was not shown since they changed. Literal for the same reason."""

REPEATABLE = text("(first_handed_at IS NOT NULL AND NOT ended)")
"""Alerts that such an IRP is shown again for a while."""

SETTLED = text("(alert_closed OR incident_closed OR gone OR ignored OR dropped)")
"""Links that may be pruned one day."""

GIVEN_UP = text("(ignored OR dropped)")
"""Links for which nothing is done."""

MISSED = text("missed")
"""Links of alerts that were closed before they were ever read."""

GONE = text("gone")
"""Links whose alerts KUMA no longer has."""

NUMBERED = text("incident_number <> ''")


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def _count(name: str, kind: type[Integer] = BigInteger) -> Column[int]:
    return Column(name, kind, nullable=False, server_default="0")


def _words(name: str) -> Column[str]:
    return Column(name, Words, nullable=False, server_default="")


alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    _words("tenant_id"),
    _words("tenant_name"),
    _words("name"),
    _words("rule_id"),
    _words("priority"),
    _words("status"),
    Column("first_seen", UtcTime),
    Column("last_seen", UtcTime),
    _words("assignee"),
    _words("closing_reason"),
    _flag("overflow"),
    Column("event_ids", Digests, nullable=False),
    Column("affected", Text),
    _flag("oversize"),
    Column("fingerprint", Text, nullable=False),
    Column("contents_digest", LargeBinary, index=True),
    Column("listing_digest", LargeBinary, index=True),
    Column("shown_at", UtcTime, nullable=False),
    Column("sweep", BigInteger, nullable=False, server_default="0"),
    _flag("recheck"),
    _words("words"),
    Index("ix_alerts_last_seen", "last_seen", "id", "words"),
    Index("ix_alerts_first_seen", "first_seen", "id"),
    Index("ix_alerts_words", "words", "id"),
    Index("ix_alerts_recheck", "last_seen", postgresql_where=text("recheck"), sqlite_where=text("recheck")),
)

contents = Table(
    "contents",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("packed", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False, server_default="0"),
)

links = Table(
    "links",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("target", Text, nullable=False, server_default="irp"),
    Column("incident_id", Text, index=True),
    _words("incident_number"),
    _words("incident_url"),
    Column("sent_fingerprint", Text),
    Column("sent_fields", Json, nullable=False),
    Column("sent_events", Digests, nullable=False),
    Column("intent", Json),
    Column("intent_events", Digests, nullable=False),
    Column("doubt", Text),
    Column("not_found_at", UtcTime),
    _flag("alert_closed"),
    _flag("incident_closed"),
    Column("close_origin", Text),
    _words("close_reason"),
    _words("close_comment"),
    _flag("held_create"),
    _flag("held_close"),
    _flag("ignored"),
    _flag("dropped"),
    _flag("gone"),
    _flag("missed"),
    Column("changed_at", UtcTime, nullable=False),
    Column("offered", Text),
    Column("spent_until", UtcTime),
    Column("unresolved_at", UtcTime),
    Column("ownership", Json),
    Column("owed", Json),
    _flag("close_commented"),
    Index("ix_links_open", "alert_id", "incident_closed", "gone", postgresql_where=OPEN, sqlite_where=OPEN),
    Index("ix_links_held", "alert_id", postgresql_where=HELD, sqlite_where=HELD),
    Index("ix_links_unrouted", "alert_id", postgresql_where=UNROUTED, sqlite_where=UNROUTED),
    Index("ix_links_given_up", "alert_id", postgresql_where=GIVEN_UP, sqlite_where=GIVEN_UP),
    Index("ix_links_missed", "alert_id", postgresql_where=MISSED, sqlite_where=MISSED),
    Index("ix_links_gone", "alert_id", postgresql_where=GONE, sqlite_where=GONE),
    Index(
        "ix_links_incident_number",
        "incident_number",
        postgresql_where=NUMBERED,
        sqlite_where=NUMBERED,
        postgresql_using="hash",  # a number may be of any length, and other indexes take no long row
    ),
    Index("ix_links_unresolved", "alert_id", postgresql_where=UNRESOLVED, sqlite_where=UNRESOLVED),
    Index("ix_links_unshown", "alert_id", postgresql_where=UNSHOWN, sqlite_where=UNSHOWN),
    Index("ix_links_settled", "changed_at", "alert_id", postgresql_where=SETTLED, sqlite_where=SETTLED),
)


def _queue(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("id", RowId, primary_key=True, autoincrement=True),
        Column("subject", Text, nullable=False),
        Column("target", Text, nullable=False, server_default="irp"),
        Column("state", Text, nullable=False),
        Column("lane", Integer, nullable=False),
        Column("due", UtcTime, nullable=False),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("owner", Text),
        Column("lease_until", UtcTime),
        _words("reason"),
        Column("payload", Json),
        Column("put_at", UtcTime, nullable=False),
        Index(f"uq_{name}_waiting", "subject", unique=True, postgresql_where=NOT_RUNNING, sqlite_where=NOT_RUNNING),
        Index(f"ix_{name}_claim", "target", "state", "lane", "due", "id"),
        Index(f"ix_{name}_subject", "subject"),
        sqlite_autoincrement=True,  # a number is never used twice, so an old claim cannot mean a new row
    )


delivery_queue = _queue("delivery_queue")
close_queue = _queue("close_queue")

parked = Table(
    "parked",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("raw", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False, server_default="0"),
    Column("reason", Words, nullable=False),
    Column("first_seen", UtcTime, nullable=False),
    Column("last_seen", UtcTime, nullable=False),
    _flag("dropped"),
)

cursor = Table(
    "cursor",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("watermark", UtcTime),
    Column("sweep", BigInteger, nullable=False, server_default="0"),
    Column("sweeps_begun", BigInteger, nullable=False, server_default="0"),
    Column("swept_at", UtcTime),
    Column("first_read_at", UtcTime),
    Column("born_at", UtcTime, nullable=False),
    Column("kuma_instance", Text),
)

targets = Table(
    "targets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("irp_url", Text),
    Column("profile", Text),
    Column("profile_digest", Text),
    _flag("profile_shown"),
    Column("watched_until", UtcTime),
    Column("asked_at", UtcTime),
)

_PIECES = ("head", "events", "affected", "affected_lists")

handouts = Table(
    "handouts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("target", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    _flag("pending"),
    _flag("ended"),
    Column("put_out_at", UtcTime, nullable=False),
    Column("first_handed_at", UtcTime),
    _words("tenant_id"),
    _words("name"),
    _words("status"),
    Column("first_seen", UtcTime),
    Column("last_seen", UtcTime),
    Column("digest", LargeBinary, nullable=False),
    Column("lists_digest", LargeBinary, nullable=False),
    *(Column(f"{piece}_size", BigInteger, nullable=False) for piece in _PIECES),
    Index("ix_handouts_pending", "target", "status", "put_out_at", postgresql_where=PENDING, sqlite_where=PENDING),
    Index("ix_handouts_repeated", "target", "first_handed_at", postgresql_where=REPEATABLE, sqlite_where=REPEATABLE),
)

_REPLACED = text("replaced_at IS NOT NULL")

handout_pages = Table(
    "handout_pages",
    metadata,
    Column("target", Text, primary_key=True),
    Column("listing", LargeBinary, primary_key=True),
    Column("page", BigInteger, primary_key=True),
    Column("alert_ids", Text, nullable=False),
    Column("made_at", UtcTime, nullable=False),
)
handout_bodies = Table(
    "handout_bodies",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    *(Column(piece, LargeBinary, nullable=False) for piece in _PIECES),
    Column("replaced_at", UtcTime),
    Index("ix_handout_bodies_replaced", "replaced_at", postgresql_where=_REPLACED, sqlite_where=_REPLACED),
)

pauses = Table(
    "pauses",
    metadata,
    Column("part", Text, primary_key=True),
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime),
    _words("by"),
)

write_backs = Table(
    "write_backs",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("due", UtcTime, nullable=False, index=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
)

passes = Table(
    "passes",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("started_at", UtcTime, nullable=False, index=True),
    Column("seconds", Float, nullable=False),
    _flag("complete"),
    _count("bytes"),
    *(_count(name, Integer) for name in ("pages", "seen", "appeared", "changed", "left", "rejected")),
    _words("error"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False, index=True),
    _words("actor"),
    Column("action", Text, nullable=False),
    Column("alert_id", Text, nullable=False, server_default="", index=True),
    _words("detail"),
)

activity = Table(
    "activity",
    metadata,
    Column("slot", UtcTime, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("waited", Float, nullable=False, server_default="0"),
    Column("longest", Float, nullable=False, server_default="0"),
    *(_count(name) for name in ("arrived", "changed", "delivered", "closed", "failed")),
)

lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)

console_keys = Table(
    "console_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("key", LargeBinary, nullable=False),
    Column("made_at", UtcTime, nullable=False),
)

console_sessions = Table(
    "console_sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("name", Words, nullable=False),
    Column("source", Text, nullable=False),
    Column("role", Text, nullable=False, server_default=""),
    Column("proof", Text, nullable=False),
    Column("begun_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
)


def _digests_for_a_while(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("digest", LargeBinary, primary_key=True),
        Column("expires_at", UtcTime, nullable=False, index=True),
    )


console_tokens = _digests_for_a_while("console_tokens")
console_tries = _digests_for_a_while("console_tries")

notified = Table(
    "notified",
    metadata,
    Column("event", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("severity", Text, nullable=False),
    Column("text", Words, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("over_at", UtcTime),
    Column("times", Integer, nullable=False),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    _flag("single_pass"),
    Column("started_at", UtcTime, nullable=False),
    Column("heard_at", UtcTime, nullable=False),
    Column("condition", Json, nullable=False),
)
