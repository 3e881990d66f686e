"""What was told by `[notify]`: so that neither a restart nor another copy tells it again.

It lies in the table of leases, in one row of its own, for it belongs to whoever has the lease of the notifier (ADR 30).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from kuma_sync.core.moments import EPOCH, read_moment, rfc3339
from kuma_sync.core.notices import Event, Key, Notice, Severity, Told
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into

ROW = "notified"
"""The name of the row. Its `owner` holds a JSON list, and its lease is never anybody's."""


class Notified:
    """The memory of what was told, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def told(self) -> dict[Key, Told]:
        """Return what is remembered."""
        table = schema.lease
        found = self._connection.execute(select(table.c.owner).where(table.c.name == ROW)).scalar_one_or_none()
        known = [one for row in json.loads(found or "[]") if (one := _of_row(row)) is not None]
        return {one.notice.key: one for one in known}

    def remember(self, told: Mapping[Key, Told]) -> None:
        """Take this in place of what was remembered."""
        table = schema.lease
        rows = json.dumps([_as_row(one) for one in told.values()], ensure_ascii=False)
        insert = insert_into(self._connection, table).values(name=ROW, owner="[]", fence=0, expires_at=EPOCH)
        self._connection.execute(insert.on_conflict_do_nothing(index_elements=["name"]))
        self._connection.execute(update(table).where(table.c.name == ROW).values(owner=rows, fence=table.c.fence + 1))


def _as_row(told: Told) -> dict[str, Any]:
    notice = told.notice
    return {
        "event": notice.event.value,
        "severity": notice.severity.value,
        "text": notice.text,
        "target": notice.target,
        "since": rfc3339(notice.since),
        "over_at": rfc3339(told.over_at) if told.over_at else "",
        "times": told.times,
    }


def _of_row(row: dict[str, Any]) -> Told | None:
    try:
        event, severity = Event(row["event"]), Severity(row["severity"])
    except ValueError:  # of a newer version
        return None
    since = read_moment(row["since"]) or EPOCH
    notice = Notice(event=event, severity=severity, text=row["text"], target=row["target"], since=since)
    return Told(notice=notice, over_at=read_moment(row["over_at"]), times=row["times"])
