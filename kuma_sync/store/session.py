"""The store's front: open it, take a transaction, use the tables through it.

Must not: hold queries; those are in the rooms a `Tx` joins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kuma_sync.settings import Secret
from kuma_sync.store import schema
from kuma_sync.store.alerts import Alerts
from kuma_sync.store.dialect import LeaseClock
from kuma_sync.store.engine import WRITES, open_engine, translated
from kuma_sync.store.heartbeats import Heartbeats
from kuma_sync.store.lease import Lease
from kuma_sync.store.links import Links
from kuma_sync.store.overview import Overview
from kuma_sync.store.pruning import Pruning
from kuma_sync.store.queue import DurableQueue
from kuma_sync.store.records import Records

LONGEST = 240.0
"""Seconds a transaction may take, with all it waits for: a database that neither answers nor fails is away, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tx:
    """One transaction over all tables; `now` is our time when it began."""

    now: datetime
    alerts: Alerts
    links: Links
    delivery: DurableQueue
    closes: DurableQueue
    records: Records
    lease: Lease
    heartbeats: Heartbeats
    overview: Overview
    pruning: Pruning


class Store:
    """The state of everything, in SQLite or PostgreSQL.

    In one process all writes go one after the other on SQLite (one writer, BEGIN IMMEDIATE); reads never wait.
    Every failure of the database raises StoreUnavailable. A file that must stay `untouched` can only be read.
    """

    def __init__(
        self,
        url: URL,
        *,
        clock: Callable[[], datetime],
        password: Secret | None = None,
        horizon: timedelta = timedelta(hours=1),
        untouched: bool = False,
    ) -> None:
        self._engine = open_engine(url, password=password, untouched=untouched)
        self._clock = clock
        self._horizon = horizon
        self._local = url.get_backend_name() == "sqlite"
        self._writer = asyncio.Lock()

    @property
    def engine(self) -> AsyncEngine:
        """Return the engine, for migrations."""
        return self._engine

    @property
    def local(self) -> bool:
        """Tell whether it is a file that only one daemon may hold."""
        return self._local

    def expect_dues(self, *, within: timedelta) -> None:
        """Take a job put off as long as this for what it is; one due even later counts as due: the clock was set back.

        A wait once expected stays so, for a job may be waiting that an earlier configuration put off.
        """
        self._horizon = max(self._horizon, within)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        """Open a transaction that writes; it commits at the end, and rolls back on any exception."""
        async with AsyncExitStack() as stack:
            stack.enter_context(translated())
            await stack.enter_async_context(asyncio.timeout(LONGEST))
            if self._local:
                await stack.enter_async_context(self._writer)
            connection = await stack.enter_async_context(self._engine.connect())
            await connection.execution_options(**{WRITES: True})
            await stack.enter_async_context(_transaction(connection))
            yield self._tx(connection)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """Open a transaction that only reads."""
        with translated():
            async with asyncio.timeout(LONGEST), self._engine.connect() as connection, connection.begin():
                yield self._tx(connection)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    def _tx(self, connection: AsyncConnection) -> Tx:
        now = self._clock()
        lease_clock = LeaseClock(connection, now)
        delivery, closes = (
            DurableQueue(connection, table, now=now, lease_clock=lease_clock, horizon=self._horizon)
            for table in (schema.delivery_queue, schema.close_queue)
        )
        return Tx(
            now=now,
            alerts=Alerts(connection),
            links=Links(connection),
            delivery=delivery,
            closes=closes,
            records=Records(connection, now),
            lease=Lease(connection, lease_clock),
            heartbeats=Heartbeats(connection, lease_clock),
            overview=Overview(connection),
            pruning=Pruning(connection),
        )


@asynccontextmanager
async def _transaction(connection: AsyncConnection) -> AsyncIterator[None]:
    async with connection.begin():
        try:
            yield
        except AssertionError:
            # psycopg 3.3 makes one of a cancellation that comes while it opens a pipeline. SQLAlchemy takes it for any
            # error, and would lend the connection out again in the middle of a statement.
            await connection.invalidate()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from None
            raise
