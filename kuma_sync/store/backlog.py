"""Questions about one queue, for workers' gauges and for humans.

Must not: change a row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Table, and_, case, func, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kuma_sync.core.lanes import Lane
from kuma_sync.store.dialect import batches
from kuma_sync.store.jobs import Depth, Job, JobState, as_job

WAITING = (Depth.PENDING, Depth.BACKOFF, Depth.RUNNING)
"""What a worker will do or tries to do; a postponed job is put off on purpose."""


class Backlog:
    """One queue table as it stands, inside one transaction; `now` is our time."""

    def __init__(self, connection: AsyncConnection, table: Table, *, now: datetime) -> None:
        self._connection = connection
        self._table = table
        self._now = now

    async def jobs(self, subject: str | None = None, *, states: Sequence[JobState] = ()) -> list[Job]:
        """List rows for a human: all, one subject's, or those in some states."""
        query = select(self._table).order_by(self._table.c.id)
        if subject is not None:
            query = query.where(self._table.c.subject == subject)
        if states:
            query = query.where(self._table.c.state.in_(states))
        return [as_job(row) for row in await self._connection.execute(query)]

    async def queued(self, subjects: Collection[str]) -> set[str]:
        """Return which of these subjects have a job, in whatever state."""
        found: set[str] = set()
        for some in batches(list(subjects)):
            rows = await self._connection.execute(select(self._table.c.subject).where(self._table.c.subject.in_(some)))
            found.update(rows.scalars())
        return found

    async def waits(self, lanes: Collection[Lane] = tuple(Lane)) -> bool:
        """Tell whether there is a job on these lanes that somebody does, or will do."""
        table = self._table
        found = await self._connection.execute(
            select(table.c.id)
            .where(table.c.state.in_((JobState.PENDING, JobState.RUNNING)), table.c.lane.in_(sorted(lanes)))
            .limit(1)
        )
        return found.first() is not None

    async def depths(self) -> dict[Depth, int]:
        """Count rows by state; pending ones whose due lies ahead are in back-off, or postponed if nothing failed."""
        ahead = and_(self._table.c.state == JobState.PENDING, self._table.c.due > self._now)
        state = case((self._postponed(), Depth.POSTPONED), (ahead, Depth.BACKOFF), else_=self._table.c.state)
        rows = await self._connection.execute(select(state, func.count()).group_by(state))
        return {Depth(name): count for name, count in rows}

    async def oldest(self) -> datetime | None:
        """Return since when the oldest job waits or runs; one that is postponed is not late."""
        waits = and_(self._table.c.state.in_((JobState.PENDING, JobState.RUNNING)), not_(self._postponed()))
        found = await self._connection.execute(select(func.min(self._table.c.put_at)).where(waits))
        moment: datetime | None = found.scalar_one_or_none()
        return moment

    def _postponed(self) -> ColumnElement[bool]:
        table = self._table
        return and_(table.c.state == JobState.PENDING, table.c.attempts == 0, table.c.due > self._now)
