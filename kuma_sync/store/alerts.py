"""The last snapshot and the contents of every alert, and their rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, case, delete, func, or_, select, text, update

from kuma_sync.core.alert import CLOSED, Alert, AlertId, AlertSnapshot, Contents, Fingerprint
from kuma_sync.core.words import words_of
from kuma_sync.store import schema
from kuma_sync.store.dialect import batches, insert_into, one_of
from kuma_sync.store.links import in_order
from kuma_sync.store.types import pack, same_named, unpack

_scalars = same_named(
    "tenant_id",
    "tenant_name",
    "name",
    "rule_id",
    "priority",
    "status",
    "first_seen",
    "last_seen",
    "assignee",
    "closing_reason",
    "overflow",
)

# Statements of every delivery and every read, built once: building one costs more than running it.
_SNAPSHOTS = select(schema.alerts).where(one_of(schema.alerts.c.id, "b_ids"))

_CONTENTS = select(schema.contents.c.alert_id, schema.contents.c.packed).where(
    one_of(schema.contents.c.alert_id, "b_ids")
)

_SIZES = select(schema.contents.c.alert_id, schema.contents.c.size).where(one_of(schema.contents.c.alert_id, "b_ids"))
_GONE = select(schema.links.c.alert_id).where(one_of(schema.links.c.alert_id, "b_ids"), schema.links.c.gone)
_HOLD = (
    select(schema.contents.c.alert_id)
    .where(one_of(schema.contents.c.alert_id, "b_ids"))
    .with_for_update(skip_locked=True)
)

_FORGET = delete(schema.contents).where(one_of(schema.contents.c.alert_id, "b_ids"))
_COLUMNS = [column.name for column in schema.alerts.columns]


class Shape(StrEnum):
    """Which request showed an alert: the bytes differ, so each shape has its own digest column."""

    CONTENTS = "contents_digest"
    LISTING = "listing_digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An alert as it is to be stored after a read.

    `recheck` asks for one more look at its contents when its lastSeen leaves the overlap.
    """

    snapshot: AlertSnapshot
    shape: Shape
    digest: bytes | None
    contents: Contents | None = None
    recheck: bool = False


def as_row(item: Shown, now: datetime, sweep: int) -> dict[str, Any]:
    """Return the row to write."""
    alert = item.snapshot.alert
    return {
        "id": alert.id,
        **_scalars(alert),
        "event_ids": item.snapshot.event_ids,
        "affected": item.snapshot.affected,
        "oversize": item.snapshot.oversize,
        "fingerprint": item.snapshot.fingerprint,
        item.shape.value: item.digest,
        "shown_at": now,
        "sweep": sweep,
        "recheck": item.recheck,
        "words": words_of(alert, item.contents),
    }


def as_snapshot(row: Row[Any]) -> AlertSnapshot:
    """Read a row back."""
    return AlertSnapshot(
        alert=Alert(id=AlertId(row.id), **_scalars(row)),
        event_ids=row.event_ids,
        affected=Fingerprint(row.affected) if row.affected is not None else None,
        oversize=row.oversize,
    )


class Alerts:
    """The tables alerts and contents, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def by_digest(self, shape: Shape, digests: Sequence[bytes]) -> dict[bytes, AlertId]:
        """Return the known ones of these digests with their alerts: those alerts did not change."""
        table = schema.alerts
        column = table.c[shape.value]
        found: dict[bytes, AlertId] = {}
        for some in batches(digests):
            rows = self._connection.execute(select(column, table.c.id).where(column.in_(some)))
            found.update((bytes(digest), AlertId(alert_id)) for digest, alert_id in rows)
        return found

    def newest(self, ids: Collection[AlertId]) -> datetime | None:
        """Return the latest lastSeen of these alerts."""
        seen: list[datetime | None] = []
        for some in batches(list(ids)):
            latest = select(func.max(schema.alerts.c.last_seen)).where(schema.alerts.c.id.in_(some))
            seen.append(self._connection.execute(latest).scalar_one())
        return max((moment for moment in seen if moment is not None), default=None)

    def snapshots(self, ids: Collection[AlertId], *, lock: bool = False) -> dict[AlertId, AlertSnapshot]:
        """Return the snapshots of these alerts. With `lock` nobody else writes them until this transaction ends."""
        statement = _SNAPSHOTS.with_for_update() if lock else _SNAPSHOTS
        found: dict[AlertId, AlertSnapshot] = {}
        for some in batches(list(ids)):
            rows = self._connection.execute(statement, {"b_ids": some})
            found.update((AlertId(row.id), as_snapshot(row)) for row in rows)
        return found

    def save(self, shown: Sequence[Shown], *, now: datetime, sweep: int) -> None:
        """Insert or replace snapshots, and contents where given. `sweep`: the running sweep's number, or 0."""
        if not shown:
            return
        for shape in Shape:
            rows = [as_row(item, now, sweep) for item in shown if item.shape is shape]
            if rows:
                self._connection.execute(self._upsert(shape), rows)
        self._put_contents({item.snapshot.alert.id: item.contents for item in shown if item.contents is not None})

    def note_digests(self, shape: Shape, digests: Mapping[AlertId, bytes]) -> None:
        """Store the digest of an unchanged alert's bytes, so that next time they need not be parsed."""
        if digests:
            table = schema.alerts
            statement = (
                update(table)
                .where(table.c.id == bindparam("b_alert"))
                .values({table.c[shape.value]: bindparam("b_digest")})
            )
            self._connection.execute(
                statement, [{"b_alert": key, "b_digest": digest} for key, digest in digests.items()]
            )

    def gone(self, ids: Collection[AlertId]) -> list[AlertId]:
        """Return those of these alerts that KUMA no longer has."""
        found: list[AlertId] = []
        for some in batches(list(ids)):
            rows = self._connection.execute(_GONE, {"b_ids": some})
            found += [AlertId(alert_id) for (alert_id,) in rows]
        return found

    def mark_shown(self, ids: Collection[AlertId], sweep: int) -> None:
        """Note that a read showed these alerts; a link that was gone is there again. `sweep` as in `save`."""
        for some in batches(list(ids)):
            if sweep:
                self._connection.execute(update(schema.alerts).where(schema.alerts.c.id.in_(some)).values(sweep=sweep))
            self._connection.execute(
                update(schema.links)
                .where(in_order(schema.links.c.alert_id.in_(some), schema.links.c.gone))
                .values(gone=False)
            )

    def unshown(self, sweep: int) -> list[AlertId]:
        """Return the alerts that this sweep did not show and whose links are neither closed nor given up."""
        alerts, links = schema.alerts, schema.links
        rows = self._connection.execute(
            select(alerts.c.id)
            .join(links, links.c.alert_id == alerts.c.id)
            .where(alerts.c.sweep != sweep, schema.OPEN)
            .order_by(links.c.alert_id)  # by alerts.id SQLite would read every alert
        )
        return [AlertId(alert_id) for (alert_id,) in rows]

    def newly_closed(self) -> dict[AlertId, str]:
        """Return the alerts that KUMA calls closed while their links do not yet, with KUMA's reason."""
        alerts, links = schema.alerts, schema.links
        rows = self._connection.execute(
            select(alerts.c.id, alerts.c.closing_reason)
            .join(links, links.c.alert_id == alerts.c.id)
            .where(alerts.c.status == CLOSED, schema.OPEN)
            .order_by(links.c.alert_id)
        )
        return {AlertId(alert_id): reason for alert_id, reason in rows}

    def to_recheck(self, before: datetime) -> list[AlertId]:
        """Return the alerts marked for one more look at their contents whose lastSeen has left the overlap."""
        table = schema.alerts
        rows = self._connection.execute(
            # In the index's order: by id SQLite would read every alert.
            select(table.c.id).where(text("recheck"), table.c.last_seen < before).order_by(table.c.last_seen)
        )
        return [AlertId(alert_id) for (alert_id,) in rows]

    def rechecked(self, ids: Collection[AlertId], before: datetime) -> None:
        """Note that these alerts had their last look, except those that changed again meanwhile."""
        for some in batches(list(ids)):
            self._connection.execute(
                update(schema.alerts)
                .where(schema.alerts.c.id.in_(some), schema.alerts.c.last_seen < before)
                .values(recheck=False)
            )

    def tied(self, watermark: datetime) -> int:
        """Count the known alerts last seen within the watermark's second."""
        seen = schema.alerts.c.last_seen
        found = self._connection.execute(
            select(func.count()).where(and_(seen >= watermark, seen < _a_second_after(watermark)))
        )
        return int(found.scalar_one())

    def contents(self, alert_id: AlertId) -> Contents | None:
        """Return an alert's stored contents; None when they were delivered, or never read."""
        return self.contents_of([alert_id]).get(alert_id)

    def packed_contents(self, alert_id: AlertId) -> bytes | None:
        """Return an alert's stored contents as they are stored: to unpack many events takes long (`store/types`)."""
        row = self._connection.execute(_CONTENTS, {"b_ids": [alert_id]}).first()
        return None if row is None else bytes(row.packed)

    def contents_of(self, ids: Collection[AlertId]) -> dict[AlertId, Contents]:
        """Return the stored contents of these alerts; none where they were delivered, or never read."""
        found: dict[AlertId, Contents] = {}
        for some in batches(list(ids)):
            rows = self._connection.execute(_CONTENTS, {"b_ids": some})
            found.update((AlertId(alert_id), unpack(bytes(packed))) for alert_id, packed in rows)
        return found

    def lock_contents(self, ids: Collection[AlertId]) -> set[AlertId]:
        """Lock stored contents until this transaction ends; return the alerts that could be locked at once."""
        held: set[AlertId] = set()
        for some in batches(list(ids)):
            held.update(self._connection.execute(_HOLD, {"b_ids": some}).scalars())
        return held

    def forget_contents(self, *ids: AlertId) -> None:
        """Drop contents that were delivered; their events' digests stay with the links."""
        for some in batches(ids):
            self._connection.execute(_FORGET, {"b_ids": some})

    def store_contents(self, alert_id: AlertId, contents: Contents) -> None:
        """Keep contents that were read again for a delivery."""
        self._put_contents({alert_id: contents})

    def amend(self, snapshot: AlertSnapshot) -> None:
        """Update the columns that come from contents; leave those that come from a listing or a poll."""
        self._connection.execute(
            update(schema.alerts)
            .where(schema.alerts.c.id == snapshot.alert.id)
            .values(event_ids=snapshot.event_ids, affected=snapshot.affected, fingerprint=snapshot.fingerprint)
        )

    def sizes(self, ids: Collection[str]) -> dict[str, int]:
        """Return how many bytes the stored contents of these alerts are when unpacked."""
        found: dict[str, int] = {}
        for some in batches(list(ids)):
            rows = self._connection.execute(_SIZES, {"b_ids": some})
            found.update((alert_id, size) for alert_id, size in rows)
        return found

    def _put_contents(self, contents: Mapping[AlertId, Contents]) -> None:
        if not contents:
            return
        rows = []
        for alert_id, one in contents.items():
            packed, size = pack(one)
            rows.append({"alert_id": alert_id, "packed": packed, "size": size})
        insert = insert_into(self._connection, schema.contents)
        fresh = {"packed": insert.excluded.packed, "size": insert.excluded.size}
        self._connection.execute(insert.on_conflict_do_update(index_elements=["alert_id"], set_=fresh), rows)

    def _upsert(self, shape: Shape) -> Any:
        insert = insert_into(self._connection, schema.alerts)
        # The other shape's digest is out of date: an edit that is undone later would look unchanged.
        others = {other.value: None for other in Shape if other is not shape}
        kept = {"id", "shown_at", *others}
        fresh = {name: insert.excluded[name] for name in _COLUMNS if name not in kept} | others
        stored = schema.alerts.c
        fresh["sweep"] = case((insert.excluded.sweep > stored.sweep, insert.excluded.sweep), else_=stored.sweep)
        if shape is Shape.LISTING:
            fresh["recheck"] = or_(stored.recheck, insert.excluded.recheck)
            fresh.pop("words")  # a listing shows neither hosts nor users; its contents are read soon
        return insert.on_conflict_do_update(index_elements=["id"], set_=fresh)


def _a_second_after(moment: datetime) -> datetime:
    last = datetime.max.replace(tzinfo=UTC)
    return moment + timedelta(seconds=1) if moment < last - timedelta(seconds=1) else last
