"""The store's front: open it, take a transaction, use the tables through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import URL, QueuePool, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kuma_sync.core.errors import StoreError, StoreUnavailable
from kuma_sync.settings import Secret
from kuma_sync.store import postgres, schema
from kuma_sync.store.alerts import Alerts
from kuma_sync.store.audit import Audit
from kuma_sync.store.cursor import CursorRow
from kuma_sync.store.dialect import LeaseClock
from kuma_sync.store.engine import open_engine, store_file, translated
from kuma_sync.store.file import StoreFile
from kuma_sync.store.file_lock import held, looked_at
from kuma_sync.store.heartbeats import Heartbeats
from kuma_sync.store.lease import Lease
from kuma_sync.store.limits import StoreLimits
from kuma_sync.store.links import Links
from kuma_sync.store.pruning import Pruning
from kuma_sync.store.queue import DurableQueue
from kuma_sync.store.read_models import Overview
from kuma_sync.store.rejects import Rejects
from kuma_sync.store.sqlite import WRITES, all_stopped, save_log

LOOK_AGAIN = 0.02
"""Seconds between looks for a connection of ours that is free, where the server gives no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tx:
    """One transaction over all tables; `now` is our time when it began."""

    now: datetime
    alerts: Alerts
    links: Links
    delivery: DurableQueue
    closes: DurableQueue
    cursor: CursorRow
    audit: Audit
    rejects: Rejects
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
        limits: StoreLimits | None = None,
    ) -> None:
        self._file = store_file(url)
        self._limits = limits or StoreLimits()
        self._engine = open_engine(url, limits=self._limits, password=password, file=self._file, untouched=untouched)
        self._clock = clock
        self._horizon = horizon
        self._local = url.get_backend_name() == "sqlite"
        self._writer = asyncio.Lock()
        self._at_end = ExitStack()

    @property
    def engine(self) -> AsyncEngine:
        """Return the engine, for migrations."""
        return self._engine

    @property
    def local(self) -> bool:
        """Tell whether it is a file that only one daemon may hold."""
        return self._local

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only daemon on this file while the block runs, or raise StoreHeld.

        Close the store before the block ends: to let go of the file drops SQLite's own locks on it.
        """
        if self._file is None:  # a server is shared
            yield
            return
        with held(self._file):
            yield

    def is_held(self) -> bool | None:
        """Tell whether a process holds the file now; None of PostgreSQL, and where this user may not look."""
        return None if self._file is None else looked_at(self._file, self._at_end)

    def expect_dues(self, *, within: timedelta) -> None:
        """Take a job put off as long as this for what it is; one due even later counts as due: the clock was set back.

        A wait once expected stays so, for a job may be waiting that an earlier configuration put off.
        """
        self._horizon = max(self._horizon, within)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        """Open a transaction that writes; it commits at the end, and rolls back on any exception.

        Where its file went away meanwhile, what was committed is in that file, and StoreUnavailable says so.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(translated())
            await stack.enter_async_context(self._in_time())
            if self._local:
                await stack.enter_async_context(self._writer)
            connection = await self._connect(stack)
            await connection.execution_options(**{WRITES: True})
            async with _transaction(connection):
                yield self._tx(connection)
            if self._file is not None:
                self._file.assure_in_place()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """Open a transaction that only reads."""
        async with AsyncExitStack() as stack:
            stack.enter_context(translated())
            await stack.enter_async_context(self._in_time())
            connection = await self._connect(stack)
            await stack.enter_async_context(connection.begin())
            yield self._tx(connection)

    def _in_time(self) -> asyncio.Timeout:
        return asyncio.timeout(self._limits.transaction.total_seconds())

    async def _connect(self, stack: AsyncExitStack) -> AsyncConnection:
        """Take a connection. Where the server gives us no more of them, wait for one of those that we have."""
        deadline = asyncio.get_running_loop().time() + self._limits.lock.total_seconds()
        while True:
            try:
                return await stack.enter_async_context(self._engine.connect())
            except exc.OperationalError as error:
                pool = self._engine.pool
                ours = pool.checkedout() + pool.checkedin() if isinstance(pool, QueuePool) else 0
                late = asyncio.get_running_loop().time() > deadline
                if late or not ours or not postgres.is_full(error):
                    raise
            await asyncio.sleep(LOOK_AGAIN)

    async def close(self) -> None:
        """Close all connections."""
        if self._file is not None:
            await self._write_log_back(self._file)
        await self._engine.dispose()
        if self._file is not None:
            await all_stopped()
            self._at_end.close()
            self._file.release()

    async def _write_log_back(self, file: StoreFile) -> None:
        """Write what is in the log into a file that was moved, or whose log was: SQLite itself would leave it there.

        A log that stays beside the name would be played into whatever file comes to be there.
        """
        with suppress(StoreError):
            try:
                file.assure_in_place()
            except StoreUnavailable:
                with translated():
                    await save_log(self._engine)

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
            cursor=CursorRow(connection, now),
            audit=Audit(connection, now),
            rejects=Rejects(connection, now),
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
