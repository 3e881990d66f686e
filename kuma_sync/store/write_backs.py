"""Alerts in KUMA that are to be given a comment with their incident, a row for each until that is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from kuma_sync.core.alert import AlertId
from kuma_sync.core.incident import Incident
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into

_TABLE = schema.write_backs


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBack:
    """A comment to write: what the alert's incident is, and how often it was tried in vain."""

    alert_id: AlertId
    incident: Incident
    attempts: int


class WriteBacks:
    """The table write_backs, inside one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def put(self, ids: Sequence[AlertId]) -> None:
        """Have these alerts given their comment."""
        if ids:
            insert = insert_into(self._connection, _TABLE)
            rows = [{"alert_id": alert_id, "due": self._now, "attempts": 0} for alert_id in ids]
            self._connection.execute(insert.on_conflict_do_nothing(index_elements=["alert_id"]), rows)

    def take(self, limit: int, *, lease: timedelta) -> list[WriteBack]:
        """Return the next ones whose time has come, the longest waiting first; nobody else gets them for so long."""
        links = schema.links.c
        query = (
            select(_TABLE.c.alert_id, _TABLE.c.attempts, links.incident_id, links.incident_number, links.incident_url)
            .join(schema.links, links.alert_id == _TABLE.c.alert_id)
            .where(_TABLE.c.due <= self._now, links.incident_id.is_not(None))
            .order_by(_TABLE.c.due)
            .limit(limit)
            .with_for_update(skip_locked=True, of=_TABLE)
        )
        taken = [
            WriteBack(
                alert_id=AlertId(row.alert_id),
                incident=Incident(id=row.incident_id, number=row.incident_number, url=row.incident_url),
                attempts=row.attempts,
            )
            for row in self._connection.execute(query)
        ]
        if taken:
            mine = _TABLE.c.alert_id.in_([one.alert_id for one in taken])
            self._connection.execute(update(_TABLE).where(mine).values(due=self._now + lease))
        return taken

    def again(self, alert_id: AlertId, *, at: datetime, attempts: int) -> None:
        """Put one off."""
        mine = _TABLE.c.alert_id == alert_id
        self._connection.execute(update(_TABLE).where(mine).values(due=at, attempts=attempts))

    def done(self, alert_id: AlertId) -> None:
        """Note that nothing more is to be written."""
        self._connection.execute(delete(_TABLE).where(_TABLE.c.alert_id == alert_id))

    def count(self) -> int:
        """Count the comments that wait."""
        return len(self._connection.execute(select(_TABLE.c.alert_id)).all())
