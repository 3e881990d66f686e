"""Pieces of KUMA's answer that are no alerts, or that the database did not take: one row each."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from kuma_sync.core.comparison import Rejected
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedAlert:
    """A piece of KUMA's answer that is no alert, or that the database did not take; `size` in bytes, as it came."""

    digest: str
    reason: str
    size: int
    first_seen: datetime


class Rejects:
    """The table parked, inside one transaction: pieces of KUMA's answer that could not be taken."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def park(self, rejected: Sequence[Rejected]) -> int:
        """Store pieces that are no alerts, each once; return how many are new."""
        table = schema.parked
        if not rejected:
            return 0
        before = self.count()
        insert = insert_into(self._connection, table)
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=["digest"], set_={"last_seen": insert.excluded.last_seen}),
            [
                {
                    "digest": item.digest,
                    "raw": zlib.compress(item.raw),
                    "size": len(item.raw),
                    "reason": item.reason,
                    "first_seen": self._now,
                    "last_seen": self._now,
                }
                for item in rejected
            ],
        )
        return self.count() - before

    def waiting(self) -> list[ParkedAlert]:
        """Return the pieces that wait for a human, oldest first, without their bytes."""
        table = schema.parked
        columns = (table.c.digest, table.c.reason, table.c.size, table.c.first_seen)
        rows = self._connection.execute(
            select(*columns).where(table.c.dropped.is_(False)).order_by(table.c.first_seen, table.c.digest)
        )
        return [ParkedAlert(**row) for row in rows.mappings()]

    def body(self, digest: str) -> bytes | None:
        """Return the original bytes of a waiting piece; None where there is no such piece."""
        table = schema.parked
        found = self._connection.execute(
            select(table.c.raw).where(table.c.digest == digest, table.c.dropped.is_(False))
        )
        packed: bytes | None = found.scalar_one_or_none()
        return None if packed is None else zlib.decompress(packed)

    def count(self) -> int:
        """Count the pieces that wait for a human."""
        table = schema.parked
        found = self._connection.execute(select(func.count()).where(table.c.dropped.is_(False)))
        return int(found.scalar_one())

    def drop(self, digest: str) -> bool:
        """Give a piece up for good. Its row stays, so that the same piece is not parked again."""
        table = schema.parked
        dropped = self._connection.execute(
            update(table).where(table.c.digest == digest, table.c.dropped.is_(False)).values(dropped=True)
        )
        return dropped.rowcount == 1

    def forget(self, digest: str) -> bool:
        """Forget a piece that could be read as an alert; false if it does not wait any more."""
        table = schema.parked
        forgotten = self._connection.execute(delete(table).where(table.c.digest == digest, table.c.dropped.is_(False)))
        return forgotten.rowcount == 1
