"""The one row about a store: how far it has read, and which KUMA it belongs to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from kuma_sync.core.window import Cursor
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into


class CursorRow:
    """The table cursor, inside one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def read(self) -> Cursor:
        """Return how far this store has read; the row itself is made by the first call that writes."""
        table = schema.cursor
        row = self._connection.execute(select(table)).one_or_none()
        if row is None:
            return Cursor(born_at=self._now)
        return Cursor(
            watermark=row.watermark,
            sweep=row.sweep,
            swept_at=row.swept_at,
            first_read=row.first_read_at,
            born_at=row.born_at,
        )

    def begin_sweep(self) -> int:
        """Return a new number for a sweep, used once: marks of an aborted sweep must not count for the next."""
        self._born()
        table = schema.cursor
        begun = self._connection.execute(
            update(table).values(sweeps_begun=table.c.sweeps_begun + 1).returning(table.c.sweeps_begun)
        )
        return int(begun.scalar_one())

    def move(self, **values: Any) -> None:
        """Set some of: watermark, sweep, swept_at, first_read_at."""
        self._born()
        self._connection.execute(update(schema.cursor).values(**values))

    def bind(self, kuma_instance: str) -> None:
        """Set the KUMA that this store belongs to."""
        self.move(kuma_instance=kuma_instance)

    def _born(self) -> None:
        insert = insert_into(self._connection, schema.cursor).values(id=1, born_at=self._now)
        self._connection.execute(insert.on_conflict_do_nothing(index_elements=["id"]))
