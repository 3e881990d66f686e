"""How a transaction is carried out for an event loop: on a file, and on a server. See docs/adr/0020.

On SQLite a statement takes about ten microseconds and runs at once, on the loop's own thread; COMMIT, which waits for
the disk, and long work run in another thread. On PostgreSQL all work runs in a greenlet, which returns to the loop at
every wait for the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, exc

from kuma_sync.store import sqlite
from kuma_sync.store.attempt import Attempt
from kuma_sync.store.blocking import LOOK_AGAIN, begun_at_once, may_come_free, transaction
from kuma_sync.store.file import StoreFile

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

T = TypeVar("T")
Work = Callable[[Connection], T]


class OnFile:
    """Transactions on a SQLite file. In one process all writes go one after the other; reads never wait."""

    def __init__(self, engine: Engine, file: StoreFile, *, patience: timedelta) -> None:
        self._engine = engine
        self._file = file
        self._patience = patience
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def write(self, work: Work[T], *, long: bool) -> T:
        """Carry out a work that writes."""
        async with self._as_writer() as until:
            if long:
                attempt = Attempt(sqlite.interrupt)
                try:
                    done: T = await until(self._thread.submit(self._carry_out, attempt, work))
                except asyncio.CancelledError:
                    attempt.abort()
                    raise
                return done
            connection = await self._begun()
            try:
                result = work(connection)
                committing = self._thread.submit(self._commit, connection)
            except BaseException:
                connection.close()  # rolls back
                raise
            await until(committing)
            return result

    async def read(self, work: Work[T]) -> T:
        """Carry out a work that only reads."""
        with self._engine.connect() as connection, connection.begin():
            return work(connection)

    async def close(self) -> None:
        """Wait until running work is done."""
        await asyncio.to_thread(self._thread.shutdown)

    @asynccontextmanager
    async def _as_writer(self) -> AsyncIterator[Callable[[Future[Any]], Awaitable[Any]]]:
        """Be the only writer while the block runs, and until the work that it gave to the thread has ended.

        Yields a function that waits for the thread. A cancelled caller does not wait for the end: the disk may hang.
        """
        await self._turn.acquire()
        handed: asyncio.Future[Any] | None = None

        async def until(future: Future[Any]) -> Any:
            nonlocal handed
            handed = asyncio.wrap_future(future)
            return await asyncio.shield(handed)

        def over(future: asyncio.Future[Any]) -> None:
            if not future.cancelled():
                future.exception()  # nobody waits for it
            self._turn.release()

        try:
            yield until
        finally:
            if handed is None or handed.done():
                self._turn.release()
            else:
                handed.add_done_callback(over)

    async def _begun(self) -> Connection:
        """Begin to write; wait while another process writes."""
        deadline = time.monotonic() + self._patience.total_seconds()
        with ExitStack() as stack:
            connection = stack.enter_context(self._engine.connect())
            connection.execution_options(**{sqlite.WRITES: True, sqlite.AT_ONCE: True})
            while begun_at_once(connection, deadline) is None:  # noqa: ASYNC110  # another process tells nobody
                await asyncio.sleep(LOOK_AGAIN)
            stack.pop_all()
            return connection

    def _commit(self, connection: Connection) -> None:
        with connection:
            connection.commit()
        self._file.assure_in_place()

    def _carry_out(self, attempt: Attempt, work: Work[T]) -> T:
        with transaction(self._engine, attempt, writes=True, patience=self._patience, file=self._file) as connection:
            return work(connection)


class OnServer:
    """Transactions on PostgreSQL, several at once."""

    def __init__(self, open_engine: Callable[[], AsyncEngine], *, patience: timedelta) -> None:
        self._open_engine = open_engine
        self._engine: AsyncEngine | None = None
        self._patience = patience

    @property
    def engine(self) -> AsyncEngine:
        """Return the engine; it is opened when it is first used."""
        if self._engine is None:
            self._engine = self._open_engine()
        return self._engine

    async def write(self, work: Work[T], *, long: bool) -> T:  # noqa: ARG002  # every wait here gives way to the loop
        """Carry out a work that writes."""
        return await self._carried_out(work, writes=True)

    async def read(self, work: Work[T]) -> T:
        """Carry out a work that only reads."""
        return await self._carried_out(work, writes=False)

    async def close(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            await self._engine.dispose()

    async def _carried_out(self, work: Work[T], *, writes: bool) -> T:
        def carry_out(connection: Connection) -> T:
            connection.execution_options(**{sqlite.WRITES: writes})
            with connection.begin():
                try:
                    return work(connection)
                except AssertionError:
                    # psycopg 3.3 raises it when it is cancelled while it opens a pipeline. SQLAlchemy takes it
                    # for any error, and would lend the connection out again in the middle of a statement.
                    connection.invalidate()
                    raise

        async with AsyncExitStack() as stack:
            connection = await self._connected(stack)
            try:
                return await connection.run_sync(carry_out)
            except AssertionError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from None
                raise

    async def _connected(self, stack: AsyncExitStack) -> AsyncConnection:
        """Take a connection. When the server gives us no more, wait until one of ours becomes free."""
        deadline = time.monotonic() + self._patience.total_seconds()
        while True:
            try:
                return await stack.enter_async_context(self.engine.connect())
            except exc.OperationalError as error:
                if time.monotonic() > deadline or not may_come_free(error, self.engine.sync_engine):
                    raise
            await asyncio.sleep(LOOK_AGAIN)
