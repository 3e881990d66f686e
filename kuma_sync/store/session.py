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

from kuma_sync.store import schema
from kuma_sync.store.alerts import Alerts
from kuma_sync.store.dialect import LeaseClock
from kuma_sync.store.engine import WRITES, open_engine, translated
from kuma_sync.store.lease import Lease
from kuma_sync.store.links import Links
from kuma_sync.store.overview import Overview
from kuma_sync.store.queue import DurableQueue
from kuma_sync.store.records import Records


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
    overview: Overview


class Store:
    """The state of everything, in SQLite or PostgreSQL.

    In one process all writes go one after the other on SQLite (one writer, BEGIN IMMEDIATE); reads never wait.
    Every failure of the database raises StoreUnavailable.
    """

    def __init__(self, url: URL, *, clock: Callable[[], datetime], horizon: timedelta = timedelta(hours=1)) -> None:
        self._engine = open_engine(url)
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

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        """Open a transaction that writes; it commits at the end, and rolls back on any exception."""
        async with AsyncExitStack() as stack:
            if self._local:
                await stack.enter_async_context(self._writer)
            stack.enter_context(translated())
            connection = await stack.enter_async_context(self._engine.connect())
            await connection.execution_options(**{WRITES: True})
            await stack.enter_async_context(connection.begin())
            yield self._tx(connection)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """Open a transaction that only reads."""
        with translated():
            async with self._engine.connect() as connection, connection.begin():
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
            overview=Overview(connection),
        )
