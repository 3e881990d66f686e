"""Closings on their way to KUMA and to the IRPs, and those of the last day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from kuma_sync.core.lanes import Lane
from kuma_sync.store import schema
from kuma_sync.store.jobs import JobState
from kuma_sync.store.read_models.waiting import QUEUES, QueueName, Towards, with_name

DAY = timedelta(days=1)

DONE = ("closed_in_kuma", "close_refused", "incident_closed", "alert_closed")
"""What the history says of a closing that was carried out, refused, or seen."""

OURS = "kuma-sync"
"""Who the history names where the daemon itself did something."""

_ORDERS = ("close_ordered", "alert_closed")
"""What makes the daemon close the other side."""

_LANES = (Lane.CLOSE, Lane.STOPPED_CLOSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingJob:
    """A closing that is not carried out yet. `reason` is KUMA's, `trouble` why it failed or waits for a human."""

    id: str
    name: str
    towards: Towards
    target: str
    state: JobState
    reason: str
    by: str
    trouble: str
    attempts: int
    due: datetime
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingDone:
    """A line of the history about a closing. `actor` did it, `ordered_by` wanted it, as far as the history says."""

    at: datetime
    id: str
    name: str
    action: str
    actor: str
    detail: str
    ordered_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closings:
    """The closings towards each side that wait, those longest first who wait longest; `counts` counts all of them."""

    waiting: list[ClosingJob]
    counts: dict[Towards, dict[JobState, int]]
    done: list[ClosingDone]


class ClosingRows:
    """Questions about closings, inside one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def all(self, *, limit: int) -> Closings:
        """Return the closings: of each queue, and of the last day, so many at most."""
        return Closings(
            waiting=[*self._waiting("close", limit), *self._waiting("delivery", limit)],
            counts={"kuma": self._counts("close"), "irp": self._counts("delivery")},
            done=self._done(limit),
        )

    def _waiting(self, queue: QueueName, limit: int) -> list[ClosingJob]:
        table, links = QUEUES[queue], schema.links
        query = with_name(table.c.subject, table, links.c.close_reason)
        # What waits for a human stands on its own page, too; here it is shown after what moves.
        joined = query.outerjoin(links, links.c.alert_id == table.c.subject)
        ordered = joined.where(_closes(queue)).order_by(table.c.state == JobState.PARKED, table.c.due, table.c.id)
        return [_job(queue, row) for row in self._connection.execute(ordered.limit(limit))]

    def _counts(self, queue: QueueName) -> dict[JobState, int]:
        table = QUEUES[queue]
        rows = self._connection.execute(
            select(table.c.state, func.count()).where(_closes(queue)).group_by(table.c.state)
        )
        return {JobState(state): count for state, count in rows}

    def _done(self, limit: int) -> list[ClosingDone]:
        audit = schema.audit
        orders = audit.alias("orders")
        ordered = (
            select(orders.c.actor)
            .where(orders.c.alert_id == audit.c.alert_id, orders.c.action.in_(_ORDERS), orders.c.id < audit.c.id)
            .order_by(orders.c.id.desc())
            .limit(1)
            .scalar_subquery()
            .label("ordered_by")
        )
        query = with_name(audit.c.alert_id, audit, ordered)
        query = query.where(audit.c.at > self._now - DAY, audit.c.action.in_(DONE))
        rows = self._connection.execute(query.order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit))
        return [
            ClosingDone(
                at=row.at,
                id=row.alert_id,
                name=row.name,
                action=row.action,
                actor=row.actor,
                detail=row.detail,
                ordered_by=(row.ordered_by if row.actor == OURS else None) or row.actor,
            )
            for row in rows
        ]


def _closes(queue: QueueName) -> ColumnElement[bool]:
    table = QUEUES[queue]
    return table.c.lane.in_(_LANES) if queue == "delivery" else table.c.id.is_not(None)


def _job(queue: QueueName, row: Any) -> ClosingJob:
    ordered = row.payload or {}
    return ClosingJob(
        id=row.subject,
        name=row.name,
        towards="kuma" if queue == "close" else "irp",
        target=row.target if queue == "delivery" else "",
        state=JobState(row.state),
        reason=ordered.get("reason") or row.close_reason or "",
        by=ordered.get("by") or ordered.get("origin") or "",
        trouble=row.reason,
        attempts=row.attempts,
        due=row.due,
        since=row.put_at,
    )
