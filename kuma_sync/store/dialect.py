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


async def database_now(connection: AsyncConnection, ours: datetime) -> datetime:
    """Return the time leases are measured by: the server's where several machines share one, ours on a local file."""
    if connection.dialect.name != "postgresql":
        return ours
    moment: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return moment


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces for IN lists."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
