"""The store as an operator sees it: states, counts, and what is old enough to go.

Must not: change anything but by pruning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, delete, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kuma_sync.core.alert import AlertId
from kuma_sync.store import schema
from kuma_sync.store.dialect import batches
from kuma_sync.store.jobs import HELD, PARKED, PENDING, RUNNING

STATES = ("parked", "held", "ignored", "pending", "closed", "gone", "open")
"""The states of an alert, the first that fits."""

PASSES_KEPT = timedelta(days=7)


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

    async def matching(self, prefix: str, *, limit: int) -> list[str]:
        """Return what begins with a prefix: alerts, parked pieces by digest, and closings for alerts unknown here."""
        columns = (
            schema.alerts.c.id,
            schema.parked.c.digest,
            schema.delivery_queue.c.subject,
            schema.close_queue.c.subject,
        )
        found: set[str] = set()
        for column in columns:
            query = select(column).where(column.startswith(prefix, autoescape=True)).order_by(column).limit(limit)
            found.update(name for (name,) in await self._connection.execute(query))
        # SQLite's LIKE knows no case.
        return sorted(name for name in found if name.startswith(prefix))[:limit]

    async def prune(self, before: datetime, *, now: datetime) -> int:
        """Remove settled alerts not touched since `before`, unless the last complete sweep still showed them.

        A settled alert that KUMA still shows would be born again as a new one if it were forgotten.
        """
        alerts, links = schema.alerts, schema.links
        last_sweep = select(func.coalesce(func.max(schema.cursor.c.sweep), 0)).scalar_subquery()
        rows = await self._connection.execute(
            select(alerts.c.id)
            .join(links, links.c.alert_id == alerts.c.id)
            .where(
                or_(links.c.alert_closed, links.c.incident_closed, links.c.gone, links.c.ignored, links.c.dropped),
                links.c.held_create.is_(False),
                links.c.held_close.is_(False),
                links.c.changed_at < before,
                alerts.c.shown_at < before,
                alerts.c.sweep < last_sweep,  # what the sweep under way has shown already bears the next number
                ~_queued(schema.delivery_queue),
                ~_queued(schema.close_queue),
            )
        )
        old = [alert_id for (alert_id,) in rows]
        for some in batches(old):
            for table, column in (
                (alerts, alerts.c.id),
                (links, links.c.alert_id),
                (schema.contents, schema.contents.c.alert_id),
                (schema.audit, schema.audit.c.alert_id),
            ):
                await self._connection.execute(delete(table).where(column.in_(some)))
        await self._prune_records(before, now)
        return len(old)

    async def _prune_records(self, before: datetime, now: datetime) -> None:
        passes, audit, parked = schema.passes, schema.audit, schema.parked
        newest = select(func.max(passes.c.id)).group_by(passes.c.kind)
        await self._connection.execute(
            delete(passes).where(passes.c.started_at < now - PASSES_KEPT, passes.c.id.not_in(newest))
        )
        await self._connection.execute(delete(audit).where(audit.c.at < before, audit.c.alert_id == ""))
        await self._connection.execute(delete(parked).where(parked.c.last_seen < before, parked.c.dropped))


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
