"""The parts that an operator paused, a row for each."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select

from kuma_sync.core.maintenance import Maintenance
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into

_TABLE = schema.pauses


class Pauses:
    """The table pauses, inside one transaction. A pause whose end has come is over, though its row is still there."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def all(self) -> list[Maintenance]:
        """Return the pauses that last, by part."""
        rows = self._connection.execute(select(_TABLE).order_by(_TABLE.c.part))
        known = [Maintenance(part=row.part, since=row.since, until=row.until, by=row.by) for row in rows]
        return [one for one in known if one.lasts(self._now)]

    def locked(self, part: str) -> Maintenance | None:
        """Return the pause of a part, None where there is none; nobody else begins or ends one meanwhile.

        Without a row to lock two who begin one at the same moment would both find none. Writing its key once more locks
        a row that is there; one that somebody deletes at this moment is put anew.
        """
        none = {"part": part, "since": self._now, "until": self._now, "by": ""}  # over as it begins
        insert = insert_into(self._connection, _TABLE).values(none)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["part"], set_={"part": part}))
        row = self._connection.execute(select(_TABLE).where(_TABLE.c.part == part)).one()
        known = Maintenance(part=row.part, since=row.since, until=row.until, by=row.by)
        return known if known.lasts(self._now) else None

    def begin(self, part: str, *, until: datetime | None, by: str) -> Maintenance:
        """Pause a part; one that is paused already gets another end, and keeps its beginning."""
        before = self.locked(part)
        since = before.since if before is not None else self._now
        values = {"since": since, "until": until, "by": by}
        insert = insert_into(self._connection, _TABLE).values(part=part, **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["part"], set_=values))
        return Maintenance(part=part, since=since, until=until, by=by)

    def end(self, part: str) -> Maintenance | None:
        """Resume a part; return the pause that was ended, None where there was none."""
        before = self.locked(part)
        self._connection.execute(delete(_TABLE).where(_TABLE.c.part == part))
        return before
