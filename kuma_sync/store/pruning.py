"""Removal of old rows, a few in each transaction, so that nobody waits for long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, exists, func, or_, select, true, tuple_

from kuma_sync.store import schema
from kuma_sync.store.activity import KEPT, Activity

PASSES_KEPT = timedelta(days=7)
ENDS_KEPT = timedelta(days=7)
"""How long it is remembered that the end of a trouble was told; whoever tells forgets it sooner (core/notices)."""

AT_ONCE = 200
"""Links looked at in one transaction: this takes some milliseconds, and both databases use their indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The last link that was looked at."""

    changed_at: datetime
    alert_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many alerts were removed, and where to go on; `reached` is None at the end."""

    removed: int
    reached: Mark | None


class Pruning:
    """Removal of old rows, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def alerts(self, before: datetime, *, listed_since: datetime | None = None, after: Mark | None = None) -> Pruned:
        """Look at the next few settled links unchanged since `before`, and remove their alerts if nothing needs them.

        An alert stays if the last complete sweep showed it, or if it was last seen at `listed_since` or later: a read
        would show it again, and it would be taken for a new one.
        """
        looked_at = self._settled(before, after)
        old = self._unneeded([mark.alert_id for mark in looked_at], before, listed_since)
        for table, column in (
            (schema.alerts, schema.alerts.c.id),
            (schema.links, schema.links.c.alert_id),
            (schema.contents, schema.contents.c.alert_id),
            (schema.handouts, schema.handouts.c.alert_id),
            (schema.handout_bodies, schema.handout_bodies.c.alert_id),
            (schema.audit, schema.audit.c.alert_id),
            (schema.write_backs, schema.write_backs.c.alert_id),
        ):
            if old:
                self._connection.execute(delete(table).where(column.in_(old)))
        return Pruned(removed=len(old), reached=looked_at[-1] if len(looked_at) == AT_ONCE else None)

    def records(self, before: datetime, *, now: datetime) -> None:
        """Remove old passes and slots, audit lines of no alert here, dropped pieces, what the console and `[notify]`
        need no more.
        """
        passes, audit, parked = schema.passes, schema.audit, schema.parked
        newest = select(func.max(passes.c.id)).group_by(passes.c.kind)
        known = exists().where(schema.links.c.alert_id == audit.c.alert_id)
        self._connection.execute(
            delete(passes).where(passes.c.started_at < now - PASSES_KEPT, passes.c.id.not_in(newest))
        )
        self._connection.execute(delete(audit).where(audit.c.at < before, ~known))
        self._connection.execute(delete(parked).where(parked.c.last_seen < before, parked.c.dropped))
        for table in (schema.console_sessions, schema.console_tokens, schema.console_tries):
            self._connection.execute(delete(table).where(table.c.expires_at < now))
        self._connection.execute(delete(schema.notified).where(schema.notified.c.over_at < now - ENDS_KEPT))
        Activity(self._connection).forget(now - KEPT)

    def _settled(self, before: datetime, after: Mark | None) -> list[Mark]:
        links = schema.links.c
        query = select(links.changed_at, links.alert_id).where(
            schema.SETTLED, links.held_create.is_(False), links.held_close.is_(False), links.changed_at < before
        )
        if after is not None:
            query = query.where(tuple_(links.changed_at, links.alert_id) > (after.changed_at, after.alert_id))
        # A closing that comes in now waits for this lock, and then finds no alert. Links being changed are skipped.
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
                alerts.sweep < last_sweep,  # alerts that the running sweep has shown already have the next number
            )
        )
        old = {alert_id for (alert_id,) in found}
        # Separate queries: joined with the alerts, PostgreSQL would read a whole queue.
        for queue in (schema.delivery_queue, schema.close_queue):
            busy = self._connection.execute(select(queue.c.subject).where(queue.c.subject.in_(ids)))
            old -= {subject for (subject,) in busy}
        return sorted(old)
