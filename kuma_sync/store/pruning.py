"""What is old enough to go, removed a little at a time, so that no transaction is long and nobody waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, exists, func, or_, select, true, tuple_

from kuma_sync.store import schema

PASSES_KEPT = timedelta(days=7)

AT_ONCE = 200
"""Links looked at in one transaction: some milliseconds, and few enough for both databases to go by their indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a pruning has come: the last link it looked at."""

    changed_at: datetime
    alert_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many alerts went, and where to go on; None when nothing is left to look at."""

    removed: int
    reached: Mark | None


class Pruning:
    """Removals of what is old, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def alerts(self, before: datetime, *, listed_since: datetime | None = None, after: Mark | None = None) -> Pruned:
        """Look at the next few settled links not touched since `before`, and remove what nobody needs any more.

        A settled alert that the last complete sweep still showed, or that was last seen at `listed_since` or later, so
        that the late listing shows it, would be born again as a new one if it were forgotten.
        """
        looked_at = self._settled(before, after)
        old = self._unneeded([mark.alert_id for mark in looked_at], before, listed_since)
        for table, column in (
            (schema.alerts, schema.alerts.c.id),
            (schema.links, schema.links.c.alert_id),
            (schema.contents, schema.contents.c.alert_id),
            (schema.audit, schema.audit.c.alert_id),
        ):
            if old:
                self._connection.execute(delete(table).where(column.in_(old)))
        return Pruned(removed=len(old), reached=looked_at[-1] if len(looked_at) == AT_ONCE else None)

    def records(self, before: datetime, *, now: datetime) -> None:
        """Remove old passes, audit lines that belong to no alert here, and dropped pieces that were no alerts."""
        passes, audit, parked = schema.passes, schema.audit, schema.parked
        newest = select(func.max(passes.c.id)).group_by(passes.c.kind)
        known = exists().where(schema.links.c.alert_id == audit.c.alert_id)
        self._connection.execute(
            delete(passes).where(passes.c.started_at < now - PASSES_KEPT, passes.c.id.not_in(newest))
        )
        self._connection.execute(delete(audit).where(audit.c.at < before, ~known))
        self._connection.execute(delete(parked).where(parked.c.last_seen < before, parked.c.dropped))

    def _settled(self, before: datetime, after: Mark | None) -> list[Mark]:
        links = schema.links.c
        query = select(links.changed_at, links.alert_id).where(
            schema.SETTLED, links.held_create.is_(False), links.held_close.is_(False), links.changed_at < before
        )
        if after is not None:
            query = query.where(tuple_(links.changed_at, links.alert_id) > (after.changed_at, after.alert_id))
        # Whoever hands in a closing for one of them waits, and then knows it no more; what is being changed is left.
        few = query.order_by(links.changed_at, links.alert_id).limit(AT_ONCE).with_for_update(skip_locked=True)
        rows = self._connection.execute(few)
        return [Mark(changed_at=row.changed_at, alert_id=row.alert_id) for row in rows]

    def _unneeded(self, ids: list[str], before: datetime, listed_since: datetime | None) -> list[str]:
        alerts = schema.alerts.c
        unlisted = true() if listed_since is None else or_(alerts.last_seen.is_(None), alerts.last_seen < listed_since)
        last_sweep = select(func.coalesce(func.max(schema.cursor.c.sweep), 0)).scalar_subquery()
        found = self._connection.execute(
            select(alerts.id).where(
                alerts.id.in_(ids),
                alerts.shown_at < before,
                unlisted,
                alerts.sweep < last_sweep,  # what the sweep under way has shown already bears the next number
            )
        )
        old = {alert_id for (alert_id,) in found}
        # Asked one by one: together with the alerts PostgreSQL would rather read a whole queue.
        for queue in (schema.delivery_queue, schema.close_queue):
            busy = self._connection.execute(select(queue.c.subject).where(queue.c.subject.in_(ids)))
            old -= {subject for (subject,) in busy}
        return sorted(old)
