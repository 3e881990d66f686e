"""What waits for a human, grouped by its reason: the counts by statements, the members page by page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache, partial
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, Text, and_, func, select

from kuma_sync.core.plan import CLOSING_HELD, CREATE_HELD
from kuma_sync.core.routing import UNROUTED
from kuma_sync.store import schema
from kuma_sync.store.dialect import one_of
from kuma_sync.store.jobs import JobState
from kuma_sync.store.read_models.waiting import (
    HELD_LINK,
    PIECE,
    QUEUES,
    Held,
    Named,
    ParkedJob,
    QueueName,
    Towards,
    both,
    held_closing,
    held_link,
    named,
    parked_job,
    parked_piece,
    with_name,
)

MOST_REASONS = 1_000
"""Different reasons of one kind that are read: those with the most members."""


class Kind(StrEnum):
    """What waits, and where its rows are."""

    DELIVERY = "delivery"  # parked, towards the IRP
    CLOSING = "closing"  # parked, towards KUMA
    PIECE = "piece"  # parked, no alert
    HELD_CREATE = "held create"
    HELD_CLOSE = "held close"  # towards the IRP
    HELD_CLOSING = "held closing"  # towards KUMA
    UNROUTED = "unrouted"

    @property
    def parked(self) -> bool:
        """Tell whether its members can be tried again."""
        return self in (Kind.DELIVERY, Kind.CLOSING, Kind.PIECE)

    @property
    def held(self) -> bool:
        """Tell whether its members can be released."""
        return self in (Kind.HELD_CREATE, Kind.HELD_CLOSE, Kind.HELD_CLOSING)

    @property
    def given_up(self) -> bool:
        """Tell whether its members can be given up all at once.

        What the brake holds towards KUMA cannot: those alerts have incidents, which would be updated no more.
        """
        return self.parked or self in (Kind.HELD_CREATE, Kind.HELD_CLOSE)

    @property
    def towards(self) -> Towards:
        """Return the side that it goes to."""
        return "kuma" if self in (Kind.CLOSING, Kind.HELD_CLOSING) else "irp"


Member = ParkedJob | Held | Named


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All that waits for the same reason, towards the same side and target.

    Reasons that differ in numbers and ids alone are one; `reason` is the one with the most members, `reasons` are all.
    `key` names the group for as long as it exists. `oldest` is since when the first member waits, `examples` some.
    """

    key: str
    kind: Kind
    target: str
    reason: str
    count: int
    oldest: datetime | None
    examples: tuple[Member, ...] = ()
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Some members of a group; `after` is where the next ones begin, None at the end."""

    items: list[Member]
    after: str | None


class Groups:
    """Questions about these groups, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self, *, examples: int = 0) -> list[Group]:
        """Return the groups, the largest first, each with so many of its members."""
        found: dict[str, Group] = {}
        for kind in Kind:
            for group in self._of(kind):
                known = found.get(group.key)
                found[group.key] = group if known is None else _together(known, group)
        groups = sorted(found.values(), key=lambda one: (-one.count, one.key))
        return [replace(one, examples=tuple(self.members(one, limit=examples).items)) for one in groups]

    def named(self, key: str) -> Group | None:
        """Return the group with this key."""
        return next((group for group in self.all() if group.key == key), None)

    def members(self, group: Group, *, after: str | None = None, limit: int) -> Members:
        """Return the next members of a group, in the order of its rows."""
        if not limit:
            return Members(items=[], after=None)
        rows = _rows(group.kind)
        query = rows.query.where(rows.condition).order_by(rows.key).limit(limit + 1)
        values: dict[str, Any] = {}
        if rows.target is not None:
            query = query.where(rows.target == group.target)
        if rows.reason is not None:
            query, values = query.where(one_of(rows.reason, "b_reasons")), {"b_reasons": group.reasons}
        if after is not None:
            query = query.where(rows.key > (after if isinstance(rows.key.type, Text) else int(after)))
        found = self._connection.execute(query, values).all()
        last = str(getattr(found[limit - 1], rows.key.name)) if len(found) > limit else None
        return Members(items=[rows.member(row) for row in found[:limit]], after=last)

    def _of(self, kind: Kind) -> Iterator[Group]:
        rows = _rows(kind)
        for row in self._connection.execute(_counted(kind)):
            target, reason = getattr(row, "target", ""), getattr(row, "reason", "")
            if row.members:  # without a GROUP BY there is a row of nothing
                yield Group(
                    key=_key(kind, target, reason),
                    kind=kind,
                    target=target,
                    reason=rows.told(reason),
                    count=row.members,
                    oldest=row.oldest,
                    reasons=(reason,),
                )


_NUMBERS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", re.IGNORECASE)


def _key(kind: Kind, target: str, reason: str) -> str:
    told = "\n".join((kind, target, _NUMBERS.sub("#", reason)))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _together(one: Group, other: Group) -> Group:
    since = [each.oldest for each in (one, other) if each.oldest is not None]
    count, reasons = one.count + other.count, one.reasons + other.reasons
    return replace(one, count=count, oldest=min(since, default=None), reasons=reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Where the members of a kind are: their rows, and what of a row tells the groups apart."""

    query: Select[Any]
    condition: ColumnElement[bool]
    key: Column[Any]
    since: Column[Any]
    member: Callable[[Any], Member]
    target: Column[str] | None = None
    reason: Column[str] | None = None
    told: Callable[[str], str] = str


@cache
def _rows(kind: Kind) -> _Rows:
    pieces, links = schema.parked, schema.links
    match kind:
        case Kind.DELIVERY:
            return _jobs("delivery", JobState.PARKED, partial(parked_job, "delivery"))
        case Kind.CLOSING:
            return replace(_jobs("close", JobState.PARKED, partial(parked_job, "close")), target=None)
        case Kind.HELD_CLOSING:
            told = partial(both, CLOSING_HELD)
            return replace(_jobs("close", JobState.HELD, held_closing), target=None, told=told)
        case Kind.PIECE:
            return _Rows(
                query=select(*PIECE),
                condition=pieces.c.dropped.is_(False),
                key=pieces.c.digest,
                since=pieces.c.first_seen,
                member=parked_piece,
                reason=pieces.c.reason,
            )
        case Kind.HELD_CREATE:
            return _links(and_(schema.HELD, links.c.held_create), CREATE_HELD, lambda row: held_link(row)[0])
        case Kind.HELD_CLOSE:
            return _links(and_(schema.HELD, links.c.held_close), CLOSING_HELD, lambda row: held_link(row)[-1])
        case Kind.UNROUTED:
            return _links(and_(schema.UNROUTED), UNROUTED, named)


@cache
def _counted(kind: Kind) -> Select[Any]:
    """Count the members of each group, the largest first, and tell since when the oldest waits."""
    rows, count = _rows(kind), func.count().label("members")
    told_apart: list[Any] = [column for column in (rows.target, rows.reason) if column is not None]
    columns: list[Any] = [*told_apart, count, func.min(rows.since).label("oldest")]
    query = select(*columns).where(rows.condition).group_by(*told_apart)
    return query.order_by(count.desc()).limit(MOST_REASONS)


def _jobs(queue: QueueName, state: JobState, member: Callable[[Any], Member]) -> _Rows:
    table = QUEUES[queue]
    return _Rows(
        query=with_name(table.c.subject, table),
        condition=table.c.state == state,
        key=table.c.id,
        since=table.c.put_at,
        member=member,
        target=table.c.target,
        reason=table.c.reason,
    )


def _links(condition: ColumnElement[bool], reason: str, member: Callable[[Any], Member]) -> _Rows:
    links = schema.links
    return _Rows(
        query=with_name(links.c.alert_id, *HELD_LINK, schema.alerts.c.last_seen),
        condition=condition,
        key=links.c.alert_id,
        since=links.c.changed_at,
        member=member,
        target=links.c.target,
        told=lambda _nothing: reason,
    )
