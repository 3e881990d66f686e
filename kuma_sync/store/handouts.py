"""What is put out for IRPs that poll us: a row for each alert, and its item as bytes, packed.

A row's `version` names the bytes. Bytes that were replaced stay for a while: an answer that is being sent goes on with
the bytes whose length it has announced.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, delete, func, or_, select, true, update

from kuma_sync.core.alert import CLOSED, Alert, AlertId
from kuma_sync.core.handout import Asked, HandedOut, filed_as, shown_anyhow
from kuma_sync.store import schema
from kuma_sync.store.dialect import batches, insert_into, one_of
from kuma_sync.store.types import UtcTime

KEPT = timedelta(minutes=10)
"""How long replaced bytes stay: an answer that takes longer breaks off."""

_FAST = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A part of an item's JSON, packed, with its unpacked size and a digest."""

    packed: bytes
    size: int
    digest: bytes

    @classmethod
    def of(cls, text: bytes) -> Text:
        """Pack a text."""
        digest = hashlib.blake2b(text, digest_size=16).digest()
        return cls(packed=zlib.compress(text, _FAST), size=len(text), digest=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """An item's lists: its events, and what follows them, with hosts written as texts and as lists."""

    events: Text
    affected: Text
    affected_lists: Text


def as_json(value: Any) -> bytes:
    """Write a part of an item."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which KUMA may send
        return json.dumps(value, separators=(",", ":")).encode()


NO_AFFECTED = b'"affectedAssets":[],"affectedAccounts":[]}'
"""What follows an item's events where nothing is affected, or nobody asked for it."""

_UNAFFECTED = Text.of(NO_AFFECTED)
NOTHING = Lists(events=Text.of(b"[]"), affected=_UNAFFECTED, affected_lists=_UNAFFECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handout:
    """An alert as it is put out. `head` is its item without the lists; without `lists` those put out before stay.

    `anew`: it is shown again although nothing of it changed.
    """

    alert: Alert
    target: str
    head: Text
    lists: Lists | None = None
    anew: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """One alert of an answer: which bytes of it are sent, and how many of each part."""

    alert_id: AlertId
    version: int
    pending: bool
    put_out_at: datetime
    moment: datetime | None
    head: int
    events: int
    affected: int
    affected_lists: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The packed parts of an item that an answer needs."""

    head: bytes
    events: bytes | None
    affected: bytes | None


_ALL = 2**63 - 1
"""A limit that leaves nothing out: LIMIT of both databases takes it."""

_ROWS = schema.handouts
_BODIES = schema.handout_bodies
_KNOWN = select(_ROWS).where(one_of(_ROWS.c.alert_id, "b_ids"))
_REPLACE = (
    update(_BODIES)
    .where(_BODIES.c.alert_id == bindparam("b_alert"), _BODIES.c.replaced_at.is_(None))
    .values(replaced_at=bindparam("b_now"))
)
_UNSENT = delete(_BODIES).where(_BODIES.c.alert_id == bindparam("b_alert"), _BODIES.c.replaced_at < bindparam("b_then"))
_DELIVERED = (
    update(_ROWS)
    .where(_ROWS.c.alert_id == bindparam("b_alert"))
    .values(
        pending=_ROWS.c.pending & (_ROWS.c.version != bindparam("b_version")),
        first_handed_at=func.coalesce(_ROWS.c.first_handed_at, bindparam("b_now", type_=UtcTime())),
    )
)


def to_be_shown() -> ColumnElement[bool]:
    """Return the condition for alerts of which an IRP that polls us lacks something.

    A connector that asks for new alerts alone is never shown again what was closed: that is nothing it lacks.
    """
    return and_(schema.PENDING, or_(_ROWS.c.status != CLOSED, _ROWS.c.first_handed_at.is_(None)))


class Handouts:
    """The tables handouts and handout_bodies, inside one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def put(self, items: Sequence[Handout]) -> None:
        """Put alerts out; the transaction has locked their links."""
        known = self._known([item.alert.id for item in items])
        # In one order with `delivered`, which locks no links: else two copies may wait for each other's rows.
        for item in sorted(items, key=lambda item: item.alert.id):
            self._put(item, known.get(item.alert.id))

    def end(self, alert_id: AlertId) -> None:
        """Show an alert no more, unless it is asked for by its id: the IRP has closed it."""
        self._connection.execute(update(_ROWS).where(_ROWS.c.alert_id == alert_id).values(pending=False, ended=True))

    def forget(self, alert_id: AlertId) -> None:
        """Take an alert back: it goes to another target. An answer that is being sent may break off."""
        for table in (_ROWS, _BODIES):
            self._connection.execute(delete(table).where(table.c.alert_id == alert_id))

    def unshown(self, target: str) -> set[AlertId]:
        """Return the alerts that a target was not shown since they changed; a closed one counts if it never was."""
        rows = self._connection.execute(select(_ROWS.c.alert_id).where(to_be_shown(), _ROWS.c.target == target))
        return {AlertId(alert_id) for (alert_id,) in rows}

    def listed(self, target: str, asked: Asked, *, repeat_for: timedelta, limit: int) -> list[AlertId]:
        """Return what a target is shown: new and changed alerts, the longest waiting first, then the repeated ones."""
        kind, bound = _Kind.of(asked), _bound(target, asked)
        found = self._fitting(_new_or_changed(kind), bound, asked, limit)
        if len(found) < limit:
            lately = {"b_after": self._now - repeat_for, "b_before": self._now + repeat_for}
            found += self._fitting(_shown_lately(kind), bound | lately, asked, limit - len(found))
        return found

    def by_id(self, target: str, asked: Asked, ids: Collection[str]) -> list[Out]:
        """Return those of these alerts that were put out for a target, as far as the query wants them."""
        query, bound = _with_ids(_Kind.of(asked)), _bound(target, asked)
        found: list[Out] = []
        for some in batches(list(ids)):
            rows = self._connection.execute(query, {**bound, "b_ids": some})
            found += [_out(row) for row in rows if asked.name is None or asked.name.search(row.name)]
        return in_order(found)

    def parts(self, outs: Sequence[Out], asked: Asked) -> dict[AlertId, Parts]:
        """Return the bytes of these alerts in these versions; those that are gone are left out."""
        body = _BODIES.c
        affected = body.affected_lists if asked.lists else body.affected
        columns = [body.events] * asked.with_events + [affected.label("tail")] * asked.with_affected
        versions = {out.alert_id: out.version for out in outs}
        rows = self._connection.execute(
            select(body.alert_id, body.version, body.head, *columns).where(
                body.alert_id.in_(versions), body.version.in_(set(versions.values()))
            )
        )
        return {
            AlertId(row.alert_id): Parts(
                head=bytes(row.head),
                events=bytes(row.events) if asked.with_events else None,
                affected=bytes(row.tail) if asked.with_affected else None,
            )
            for row in rows
            if versions[AlertId(row.alert_id)] == row.version
        }

    def delivered(self, outs: Sequence[Out]) -> list[Out]:
        """Note that these were sent whole: what did not change meanwhile is no longer new or changed.

        Return those of which that was not known: another answer may have held them, too.
        """
        known = self._known([out.alert_id for out in outs])
        new = [out for out in outs if (row := known.get(out.alert_id)) and (row.pending or row.first_handed_at is None)]
        if new:
            rows = sorted(new, key=lambda out: out.alert_id)  # see `put`
            values = [{"b_alert": out.alert_id, "b_version": out.version, "b_now": self._now} for out in rows]
            self._connection.execute(_DELIVERED, values)
        return new

    def waiting(self) -> dict[str, int]:
        """Count what each target was not shown yet; what is closed by now is not counted."""
        rows = self._connection.execute(
            select(_ROWS.c.target, func.count())
            .where(schema.PENDING, _ROWS.c.status != CLOSED)
            .group_by(_ROWS.c.target)
        )
        return {target: count for target, count in rows}

    def handed_out(self, alert_id: AlertId) -> HandedOut | None:
        """Return how far an alert came; None where it was not put out."""
        query = select(_ROWS, to_be_shown().label("lacks")).where(_ROWS.c.alert_id == alert_id)
        row = self._connection.execute(query).first()
        if row is None:
            return None
        return HandedOut(put_out_at=row.put_out_at, first_at=row.first_handed_at, lacks=bool(row.lacks))

    def sweep(self) -> None:
        """Remove replaced bytes that no answer needs any more."""
        self._connection.execute(delete(_BODIES).where(_BODIES.c.replaced_at < self._now - KEPT))

    def _known(self, ids: Sequence[AlertId]) -> dict[AlertId, Row[Any]]:
        found: dict[AlertId, Row[Any]] = {}
        for some in batches(ids):
            rows = self._connection.execute(_KNOWN, {"b_ids": some})
            found.update((AlertId(row.alert_id), row) for row in rows)
        return found

    def _put(self, item: Handout, before: Row[Any] | None) -> None:
        lists = item.lists or (NOTHING if before is None else None)
        digest = before.lists_digest if lists is None and before is not None else lists_digest(lists or NOTHING)
        same = before is not None and (before.digest, before.lists_digest) == (item.head.digest, digest)
        if before is not None and same and before.target == item.target and not item.anew:
            return
        version = 1 if before is None else before.version + 1
        sizes = _sizes(lists) if lists is not None else {name: getattr(before, name) for name in _SIZES}
        moved = before is None or before.target != item.target or item.anew
        ended = not moved and before is not None and before.ended
        row = {
            "alert_id": item.alert.id,
            "target": item.target,
            "version": version,
            "pending": not ended,
            "ended": ended,
            "put_out_at": self._now,
            "first_handed_at": None if moved or before is None else before.first_handed_at,
            "tenant_id": item.alert.tenant_id,
            "name": item.alert.name,
            "status": filed_as(item.alert.status),
            "first_seen": item.alert.first_seen,
            "last_seen": item.alert.last_seen,
            "digest": item.head.digest,
            "lists_digest": digest,
            "head_size": item.head.size,
            **sizes,
        }
        body = self._body(item, lists)
        insert = insert_into(self._connection, _ROWS).values(row)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["alert_id"], set_=row))
        self._connection.execute(_REPLACE, {"b_alert": item.alert.id, "b_now": self._now})
        self._connection.execute(_UNSENT, {"b_alert": item.alert.id, "b_then": self._now - KEPT})
        self._connection.execute(_BODIES.insert().values(alert_id=item.alert.id, version=version, **body))

    def _body(self, item: Handout, lists: Lists | None) -> dict[str, bytes]:
        if lists is not None:
            events, affected, hosts = lists.events.packed, lists.affected.packed, lists.affected_lists.packed
        else:
            current = select(_BODIES).where(_BODIES.c.alert_id == item.alert.id, _BODIES.c.replaced_at.is_(None))
            row = self._connection.execute(current).one()
            events, affected, hosts = bytes(row.events), bytes(row.affected), bytes(row.affected_lists)
        return {"head": item.head.packed, "events": events, "affected": affected, "affected_lists": hosts}

    def _fitting(self, query: Select[Any], bound: Mapping[str, Any], asked: Asked, limit: int) -> list[AlertId]:
        """Return the first ids of a query whose names fit."""
        if asked.name is None:
            rows = self._connection.execute(query, {**bound, "b_limit": limit})
            return [AlertId(alert_id) for alert_id, _name in rows]
        search = asked.name.search
        rows = self._connection.execute(query, {**bound, "b_limit": _ALL})
        fitting = [AlertId(alert_id) for alert_id, name in rows if search(name)]
        return fitting[:limit]


# A connector asks the same thing each time, and building a statement costs more than running it: there is one for each
# kind of query, and its values are bound.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What of a query its statements depend on."""

    statuses: frozenset[str]
    tenants: bool
    by_first_seen: bool

    @classmethod
    def of(cls, asked: Asked) -> _Kind:
        return cls(statuses=asked.statuses, tenants=bool(asked.tenants), by_first_seen=asked.by_first_seen)

    @property
    def moment(self) -> ColumnElement[Any]:
        return _ROWS.c.first_seen if self.by_first_seen else _ROWS.c.last_seen


@cache
def _new_or_changed(kind: _Kind) -> Select[Any]:
    anyhow = shown_anyhow(kind.statuses)
    query = select(_ROWS.c.alert_id, _ROWS.c.name).where(schema.PENDING, *_wanted(kind, anyhow))
    if anyhow != kind.statuses:
        query = query.where(or_(_ROWS.c.status.in_(sorted(kind.statuses)), _ROWS.c.first_handed_at.is_(None)))
    return query.order_by(_ROWS.c.put_out_at, _ROWS.c.alert_id).limit(bindparam("b_limit"))


@cache
def _shown_lately(kind: _Kind) -> Select[Any]:
    query = select(_ROWS.c.alert_id, _ROWS.c.name).where(
        schema.REPEATABLE,
        *_wanted(kind, kind.statuses),
        _ROWS.c.first_handed_at > bindparam("b_after"),
        _ROWS.c.first_handed_at < bindparam("b_before"),  # a clock that was set back repeats no longer
        _ROWS.c.pending.is_(False),
    )
    ordered = query.order_by(kind.moment.is_(None), kind.moment.desc(), _ROWS.c.alert_id)
    return ordered.limit(bindparam("b_limit"))


@cache
def _with_ids(kind: _Kind) -> Select[Any]:
    wanted = _wanted(kind, kind.statuses)
    return select(_ROWS, kind.moment.label("moment")).where(one_of(_ROWS.c.alert_id, "b_ids"), *wanted)


def _wanted(kind: _Kind, statuses: frozenset[str]) -> Iterator[ColumnElement[bool]]:
    """Yield a query's conditions; `_bound` gives their values."""
    yield _ROWS.c.target == bindparam("b_target")
    if statuses:
        yield _ROWS.c.status.in_(sorted(statuses))
    if kind.tenants:
        yield one_of(_ROWS.c.tenant_id, "b_tenants")
    # An alert whose time is not known must not be hidden by it, and a time that was not asked for hides nothing.
    yield func.coalesce(kind.moment >= bindparam("b_since"), true())
    yield func.coalesce(kind.moment <= bindparam("b_until"), true())


def _bound(target: str, asked: Asked) -> dict[str, Any]:
    bound: dict[str, Any] = {"b_target": target, "b_since": asked.since, "b_until": asked.until}
    return {**bound, "b_tenants": sorted(asked.tenants)} if asked.tenants else bound


def in_order(outs: Sequence[Out]) -> list[Out]:
    """Sort as KUMA does: the latest first; equal moments by id, unknown ones last."""
    by_id = sorted(outs, key=lambda out: out.alert_id)
    return sorted(by_id, key=lambda out: out.moment.timestamp() if out.moment else float("-inf"), reverse=True)


_SIZES = ("events_size", "affected_size", "affected_lists_size")


def _sizes(lists: Lists) -> Mapping[str, int]:
    return dict(zip(_SIZES, (lists.events.size, lists.affected.size, lists.affected_lists.size), strict=True))


def lists_digest(lists: Lists) -> bytes:
    """Return what stands for an item's lists: equal for equal ones."""
    return hashlib.blake2b(lists.events.digest + lists.affected.digest, digest_size=16).digest()


def _out(row: Any) -> Out:
    return Out(
        alert_id=AlertId(row.alert_id),
        version=row.version,
        pending=row.pending,
        put_out_at=row.put_out_at,
        moment=row.moment,
        head=row.head_size,
        events=row.events_size,
        affected=row.affected_size,
        affected_lists=row.affected_lists_size,
    )
