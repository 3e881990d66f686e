"""What was told by `[notify]`: so that neither a restart nor another copy tells it again (ADR 30)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, select, tuple_

from kuma_sync.core.notices import Event, Key, Notice, Severity, Told
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into

_ROWS = schema.notified
_KEY = ("event", "target")


class Notified:
    """The memory of what was told, inside one transaction. It is written by whoever has the lease of the notifier."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def told(self) -> dict[Key, Told]:
        """Return what is remembered."""
        known = (_of_row(row) for row in self._connection.execute(select(_ROWS)))
        return {one.notice.key: one for one in known if one is not None}

    def remember(self, told: Mapping[Key, Told]) -> None:
        """Take this in place of what was remembered; what a newer version told stays."""
        forgotten = self.told().keys() - told.keys()
        self._connection.execute(delete(_ROWS).where(tuple_(_ROWS.c.event, _ROWS.c.target).in_(list(forgotten))))
        for one in told.values():
            row = _as_row(one)
            insert = insert_into(self._connection, _ROWS).values(row)
            changed = {name: value for name, value in row.items() if name not in _KEY}
            self._connection.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=changed))


def _as_row(told: Told) -> dict[str, Any]:
    notice = told.notice
    return {
        "event": notice.event.value,
        "target": notice.target,
        "severity": notice.severity.value,
        "text": notice.text,
        "since": notice.since,
        "over_at": told.over_at,
        "times": told.times,
    }


def _of_row(row: Row[Any]) -> Told | None:
    try:
        event, severity = Event(row.event), Severity(row.severity)
    except ValueError:  # of a newer version
        return None
    notice = Notice(event=event, severity=severity, text=row.text, target=row.target, since=row.since)
    return Told(notice=notice, over_at=row.over_at, times=row.times)
