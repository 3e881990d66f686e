"""The few places where SQLite and PostgreSQL are spoken to differently.

Must not: know what the rows mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

BATCH = 500
"""Values in one IN list; SQLite's limit is far above, the plans of both stay cheap."""


def insert_into(connection: AsyncConnection, table: Table) -> Any:
    """Return the dialect's INSERT, which knows ON CONFLICT."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


class LeaseClock:
    """The time leases are measured by: the server's where several machines share one, ours on a local file.

    The server is asked at most once a transaction, and only by one that deals with leases.
    """

    def __init__(self, connection: AsyncConnection, ours: datetime) -> None:
        self._connection = connection
        self._now = None if connection.dialect.name == "postgresql" else ours

    async def now(self) -> datetime:
        """Return the time."""
        if self._now is None:
            self._now = (await self._connection.execute(_CLOCK)).scalar_one()
        return self._now


_CLOCK = select(func.clock_timestamp())


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces for IN lists."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
