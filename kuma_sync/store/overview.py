"""The store as an operator sees it: states and counts.

Must not: change anything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kuma_sync.core.alert import AlertId
from kuma_sync.store import schema
from kuma_sync.store.jobs import HELD, PARKED, PENDING, RUNNING

STATES = ("parked", "held", "missed", "ignored", "pending", "closed", "gone", "open")
"""The states of an alert, the first that fits."""

_SUBJECTS = (
    schema.alerts.c.id,
    schema.parked.c.digest,
    schema.delivery_queue.c.subject,
    schema.close_queue.c.subject,
)
"""What an operator may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of `kuma-sync alerts`."""

    alert_id: AlertId
    state: str
    name: str
    priority: str
    status: str
    last_seen: datetime | None
    incident_id: str | None
    incident_number: str
    reason: str


class Overview:
    """Questions over all tables, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def counts(self) -> dict[str, int]:
        """Count the alerts by state."""
        state = _state()
        rows = await self._connection.execute(_joined(state, func.count()).group_by(state))
        found = {name: count for name, count in rows}
        return {name: found.get(name, 0) for name in STATES}

    async def rows(self, *, state: str | None = None, limit: int | None = None) -> list[Row]:
        """List alerts, the latest lastSeen first."""
        alerts, links, chosen = schema.alerts, schema.links, _state()
        columns = (alerts, links.c.incident_id, links.c.incident_number, chosen.label("state"), _reason())
        query = _joined(*columns).order_by(alerts.c.last_seen.desc().nulls_last(), alerts.c.id).limit(limit)
        if state is not None:
            query = query.where(chosen == state)
        return [_row(row) for row in await self._connection.execute(query)]

    async def state(self, alert_id: AlertId) -> str | None:
        """Return one alert's state."""
        found = await self._connection.execute(_joined(_state()).where(schema.alerts.c.id == alert_id))
        state: str | None = found.scalar_one_or_none()
        return state

    async def named(self, names: Collection[str]) -> set[str]:
        """Return which of these are subjects: alerts, parked pieces by digest, and closings for alerts unknown here."""
        found: set[str] = set()
        for column in _SUBJECTS:
            rows = await self._connection.execute(select(column).where(column.in_(names)))
            found.update(name for (name,) in rows)
        return found

    async def matching(self, prefix: str, *, limit: int, any_case: bool = False) -> list[str]:
        """Return the subjects that begin with a prefix, the first `limit` of them."""
        found: set[str] = set()
        for column in _SUBJECTS:
            # LIKE knows no case on SQLite, and does on PostgreSQL.
            beginning: ColumnElement[str] = func.substr(column, 1, len(prefix))
            same = func.lower(beginning) == prefix.lower() if any_case else beginning == prefix
            rows = await self._connection.execute(select(column).where(same).order_by(column).limit(limit))
            found.update(name for (name,) in rows)
        return sorted(found)[:limit]


def _queued(table: Any, states: Sequence[str] = ()) -> ColumnElement[bool]:
    condition = table.c.subject == schema.alerts.c.id
    return exists().where(and_(condition, table.c.state.in_(states)) if states else condition)


def _in(*states: str) -> ColumnElement[bool]:
    return or_(*(_queued(table, states) for table in (schema.delivery_queue, schema.close_queue)))


def _state() -> ColumnElement[str]:
    links = schema.links.c
    return case(
        (_in(PARKED), "parked"),
        (or_(links.held_create, links.held_close, _in(HELD)), "held"),
        (links.missed, "missed"),
        (or_(links.ignored, links.dropped), "ignored"),
        (_in(PENDING, RUNNING), "pending"),
        (or_(links.alert_closed, links.incident_closed), "closed"),
        (links.gone, "gone"),
        else_="open",
    )


def _reason() -> ColumnElement[str]:
    reasons = [
        select(func.max(table.c.reason)).where(table.c.subject == schema.alerts.c.id).scalar_subquery()
        for table in (schema.delivery_queue, schema.close_queue)
    ]
    return func.coalesce(func.nullif(reasons[0], ""), reasons[1], "").label("reason")


def _joined(*columns: Any) -> Select[Any]:
    return select(*columns).select_from(schema.alerts.join(schema.links, schema.links.c.alert_id == schema.alerts.c.id))


def _row(row: Any) -> Row:
    return Row(
        alert_id=AlertId(row.id),
        state=row.state,
        name=row.name,
        priority=row.priority,
        status=row.status,
        last_seen=row.last_seen,
        incident_id=row.incident_id,
        incident_number=row.incident_number or "",
        reason=row.reason or "",
    )
