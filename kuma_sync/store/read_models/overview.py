"""The store as an operator sees it: states and counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    union,
    union_all,
)

from kuma_sync.core.alert import CLOSED, AlertId
from kuma_sync.core.plan import CLOSING_HELD, CREATE_HELD
from kuma_sync.core.routing import NO_ROUTE, UNROUTED
from kuma_sync.core.text import incident_spellings
from kuma_sync.store import schema
from kuma_sync.store.jobs import JobState
from kuma_sync.store.read_models.waiting import Named, both

_SUBJECTS = (
    schema.alerts.c.id,
    schema.parked.c.digest,
    schema.delivery_queue.c.subject,
    schema.close_queue.c.subject,
)
"""The columns that hold ids an operator may give."""


class AlertState(StrEnum):
    """How an alert stands, for people: the first that fits."""

    PARKED = "parked"
    HELD = "held"
    MISSED = "missed"
    IGNORED = "ignored"
    PENDING = "pending"
    CLOSED = "closed"
    GONE = "gone"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of `kuma-sync alerts`."""

    alert_id: AlertId
    target: str
    state: AlertState
    name: str
    priority: str
    status: str
    last_seen: datetime | None
    incident_id: str | None
    incident_number: str
    tenant: str = ""
    first_seen: datetime | None = None
    towards: str = ""
    """The direction of what waits for a human: irp, kuma, or both; empty where nothing waits."""
    reason: str = ""
    """Why it waits for a human."""


class Overview:
    """Questions over all tables, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def counts(self, target: str | None = None) -> dict[AlertState, int]:
        """Count the alerts, all or those of a target, by state."""
        if target is None:
            return self._by_indexes()
        state = state_of()
        rows = self._connection.execute(
            _joined(state, func.count()).where(schema.links.c.target == target).group_by(state)
        )
        found = {name: count for name, count in rows}
        return {name: found.get(name, 0) for name in AlertState}

    def _by_indexes(self) -> dict[AlertState, int]:
        """Count all alerts without reading each: by indexes of their links' marks, as if none had a job.

        Those that have one, or are held, are read then, and counted where they belong.
        """
        marks = {name: count for name, count in self._connection.execute(_MARKS)}
        settled = marks["all"] - marks["unsettled"]
        found = {
            AlertState.MISSED: marks["missed"],
            AlertState.IGNORED: marks["given up"] - marks["missed"],
            AlertState.HELD: marks["unrouted"],
            AlertState.GONE: marks["gone"],
            AlertState.CLOSED: settled - marks["given up"] - marks["gone"] - marks["unrouted settled"],
            AlertState.OPEN: marks["unsettled"] - (marks["unrouted"] - marks["unrouted settled"]),
        }
        for marked, state, count in self._connection.execute(_EXCEPTIONS):
            found[AlertState(marked)] -= count
            found[AlertState(state)] = found.get(AlertState(state), 0) + count
        return {name: max(found.get(name, 0), 0) for name in AlertState}

    def rows(
        self, *, state: AlertState | None = None, target: str | None = None, limit: int | None = None
    ) -> list[Row]:
        """List alerts, all or those in a state or of a target, the latest lastSeen first."""
        alerts, links, chosen = schema.alerts, schema.links, state_of()
        query = _joined(*_columns()).order_by(alerts.c.last_seen.desc().nulls_last(), alerts.c.id).limit(limit)
        if state is not None:
            query = query.where(chosen == state)
        if target is not None:
            query = query.where(links.c.target == target)
        return [_row(row) for row in self._connection.execute(query)]

    def state(self, alert_id: AlertId) -> AlertState | None:
        """Return one alert's state."""
        found = self._connection.execute(_joined(state_of()).where(schema.alerts.c.id == alert_id))
        state = found.scalar_one_or_none()
        return None if state is None else AlertState(state)

    def by_incident(self, text: str) -> list[str]:
        """Return the alerts whose incident has this id or number; if there is none, compare without case."""
        links = schema.links
        wanted = or_(
            links.c.incident_id.in_(incident_spellings(text)),
            links.c.incident_number == text,  # SQLite knows the case of ASCII alone
            func.lower(links.c.incident_number) == text.lower(),
        )
        rows = self._connection.execute(select(links.c.alert_id).where(wanted).order_by(links.c.alert_id))
        return [alert_id for (alert_id,) in rows]

    def by_name(self, text: str) -> list[Named]:
        """Return the alerts whose name holds a text, compared without case, the latest first."""
        alerts = schema.alerts
        query = select(alerts.c.id, alerts.c.name, alerts.c.last_seen).order_by(alerts.c.last_seen.desc().nulls_last())
        # SQLite knows the case of ASCII alone.
        wanted = text.casefold()
        return [
            Named(id=row.id, name=row.name, last_seen=row.last_seen)
            for row in self._connection.execute(query)
            if wanted in row.name.casefold()
        ]

    def named(self, names: Collection[str]) -> set[str]:
        """Return which of these are subjects: alerts, parked pieces by digest, and closings for alerts unknown here."""
        found: set[str] = set()
        for column in _SUBJECTS:
            rows = self._connection.execute(select(column).where(column.in_(names)))
            found.update(name for (name,) in rows)
        return found

    def matching(self, prefix: str, *, limit: int, any_case: bool = False) -> list[str]:
        """Return the subjects that begin with a prefix, the first `limit` of them."""
        found: set[str] = set()
        for column in _SUBJECTS:
            # LIKE ignores case on SQLite, but not on PostgreSQL.
            beginning: ColumnElement[str] = func.substr(column, 1, len(prefix))
            same = func.lower(beginning) == prefix.lower() if any_case else beginning == prefix
            rows = self._connection.execute(select(column).where(same).order_by(column).limit(limit))
            found.update(name for (name,) in rows)
        return sorted(found)[:limit]


UNFETCHED = select(schema.handouts.c.alert_id).where(schema.PENDING, schema.handouts.c.status != CLOSED)
"""Alerts that an IRP which polls us has not fetched since they changed; what is closed by now is not counted."""


def _queued(table: Any, states: Sequence[JobState] = ()) -> ColumnElement[bool]:
    condition = table.c.subject == schema.links.c.alert_id
    return exists().where(and_(condition, table.c.state.in_(states)) if states else condition)


def _in(*states: JobState) -> ColumnElement[bool]:
    return or_(*(_queued(table, states) for table in (schema.delivery_queue, schema.close_queue)))


def rows_of(connection: Connection, ids: Sequence[str]) -> list[Row]:
    """Return the rows of these alerts, in their order."""
    query = _joined(*_columns()).where(schema.alerts.c.id.in_(ids))
    rows = {row.id: _row(row) for row in connection.execute(query)}
    return [rows[alert_id] for alert_id in ids if alert_id in rows]


@cache
def _columns() -> tuple[Any, ...]:
    alerts, links = schema.alerts.c, schema.links.c
    mine = (alerts.id, alerts.name, alerts.priority, alerts.status, alerts.tenant_name, alerts.first_seen)
    its = (alerts.last_seen, links.target, links.incident_id, links.incident_number)
    return (*mine, *its, state_of().label("state"), *_stops())


@cache
def state_of() -> ColumnElement[str]:
    """Return an alert's state as an expression over links."""
    links = schema.links.c
    return case(
        (_in(JobState.PARKED), AlertState.PARKED),
        (or_(links.held_create, links.held_close, _in(JobState.HELD)), AlertState.HELD),
        (links.missed, AlertState.MISSED),
        (or_(links.ignored, links.dropped), AlertState.IGNORED),
        (links.target == NO_ROUTE, AlertState.HELD),
        (_in(JobState.PENDING, JobState.RUNNING), AlertState.PENDING),
        (UNFETCHED.where(schema.handouts.c.alert_id == schema.links.c.alert_id).exists(), AlertState.PENDING),
        (or_(links.alert_closed, links.incident_closed), AlertState.CLOSED),
        (links.gone, AlertState.GONE),
        else_=AlertState.OPEN,
    )


def _stops() -> list[ColumnElement[Any]]:
    """Return the reasons why an alert waits for a human, one column for each kind; NULL for no reason."""

    def why(table: Any, state: JobState, name: str) -> ColumnElement[str]:
        mine = (table.c.subject == schema.alerts.c.id, table.c.state == state)
        return select(func.max(table.c.reason)).where(*mine).scalar_subquery().label(name)

    return [
        why(schema.delivery_queue, JobState.PARKED, "parked_irp"),
        why(schema.close_queue, JobState.PARKED, "parked_kuma"),
        why(schema.close_queue, JobState.HELD, "held_kuma"),
        schema.links.c.held_create,
        schema.links.c.held_close,
    ]


def _marked_state() -> ColumnElement[str]:
    """Return the state that an alert would have without a job, and with nothing held."""
    links = schema.links.c
    return case(
        (links.missed, AlertState.MISSED),
        (or_(links.ignored, links.dropped), AlertState.IGNORED),
        (links.target == NO_ROUTE, AlertState.HELD),
        (or_(links.alert_closed, links.incident_closed), AlertState.CLOSED),
        (links.gone, AlertState.GONE),
        else_=AlertState.OPEN,
    )


def _counted(name: str, *conditions: Any) -> Select[Any]:
    # SQLite counts a whole table by its pages where the count alone is asked for.
    count = select(func.count()).select_from(schema.links).where(*conditions).scalar_subquery()
    return select(literal(name).label("name"), count.label("links"))


_CLOSED = or_(schema.links.c.alert_closed, schema.links.c.incident_closed)

# One statement, so that all its parts see the same moment.
_MARKS = union_all(
    _counted("unsettled", schema.OPEN, not_(schema.links.c.incident_closed), not_(schema.links.c.gone)),
    _counted("all"),
    _counted("given up", schema.GIVEN_UP),
    _counted("missed", schema.MISSED),
    _counted("unrouted", schema.UNROUTED),
    _counted("unrouted settled", schema.UNROUTED, or_(_CLOSED, schema.links.c.gone)),
    _counted("gone", schema.GONE, _marked_state() == AlertState.GONE),
)

_SPECIAL = union(
    select(schema.delivery_queue.c.subject.label("id")),
    select(schema.close_queue.c.subject),
    select(schema.links.c.alert_id).where(schema.HELD),
    UNFETCHED,
).subquery("special")

_EXCEPTIONS = (
    select(_marked_state().label("marked"), state_of().label("state"), func.count())
    .select_from(_SPECIAL.join(schema.links, schema.links.c.alert_id == _SPECIAL.c.id))
    .group_by("marked", "state")
)


def _joined(*columns: Any) -> Select[Any]:
    return select(*columns).select_from(schema.alerts.join(schema.links, schema.links.c.alert_id == schema.alerts.c.id))


def _row(row: Any) -> Row:
    stops = [
        *([("irp", row.parked_irp)] if row.parked_irp is not None else []),
        *([("irp", UNROUTED)] if row.target == NO_ROUTE and row.state == AlertState.HELD else []),
        *([("irp", CREATE_HELD)] if row.held_create else []),
        *([("irp", CLOSING_HELD)] if row.held_close else []),
        *([("kuma", row.parked_kuma)] if row.parked_kuma is not None else []),
        *([("kuma", both(CLOSING_HELD, row.held_kuma))] if row.held_kuma is not None else []),
    ]
    return Row(
        alert_id=AlertId(row.id),
        target=row.target,
        state=AlertState(row.state),
        name=row.name,
        priority=row.priority,
        status=row.status,
        last_seen=row.last_seen,
        incident_id=row.incident_id,
        incident_number=row.incident_number or "",
        tenant=row.tenant_name,
        first_seen=row.first_seen,
        towards=", ".join(dict.fromkeys(side for side, _why in stops)),
        reason="; ".join(why for _side, why in stops),
    )
