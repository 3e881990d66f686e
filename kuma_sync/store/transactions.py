"""How a transaction is carried out: in the calling thread, or for an event loop on a file or a server.

A command opens one and waits. For an event loop see docs/adr/0020: on SQLite a statement takes about ten microseconds
and runs at once, on the loop's own thread; COMMIT, which waits for the disk, and long work run in another thread. On
PostgreSQL all work runs in a greenlet, which returns to the loop at every wait for the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, QueuePool, RootTransaction, exc

from kuma_sync.store import postgres, sqlite
from kuma_sync.store.attempt import Attempt
from kuma_sync.store.file import StoreFile
from kuma_sync.store.revisions import ANY_SCHEMA

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

LOOK_AGAIN = 0.02
"""Seconds between looks for another writer's end, and for a connection of ours that is free."""

READERS = 2
"""Long reads of a file at the same time: one slow page keeps no other waiting, two do.

More would be no faster, for reading rows holds the interpreter's lock; they would take it from the loop, and its
connections from the pool.
"""

T = TypeVar("T")
Work = Callable[[Connection], T]


@contextmanager
def transaction(
    engine: Engine,
    attempt: Attempt,
    *,
    writes: bool,
    patience: timedelta,
    file: StoreFile | None,
    any_schema: bool = False,
) -> Iterator[Connection]:
    """Open a transaction and wait here for what it needs; another thread may abort the `attempt`.

    One that `writes` needs our schema, unless `any_schema` will do.

    After a commit it is checked that the `file` (None on a server) is still the one at its path.
    """
    with connected(engine, attempt, patience=patience) as connection:
        connection.execution_options(**{sqlite.WRITES: writes, ANY_SCHEMA: any_schema})
        deadline = time.monotonic() + patience.total_seconds()
        while (begun := begun_at_once(connection, deadline)) is None:
            time.sleep(LOOK_AGAIN)
            attempt.assure_wanted()
        with begun:
            attempt.assure_wanted()
            yield connection
            attempt.assure_wanted()
    if writes and file is not None:
        file.assure_in_place()


@contextmanager
def connected(engine: Engine, attempt: Attempt, *, patience: timedelta) -> Iterator[Connection]:
    """Take a connection. When the server gives us no more, wait until one of ours becomes free."""
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        try:
            with attempt.connecting():
                attempt.assure_wanted()
                connection = engine.connect()
            break
        except exc.OperationalError as error:
            if time.monotonic() > deadline or not may_come_free(error, engine):
                raise
        time.sleep(LOOK_AGAIN)
    with connection, attempt.on(connection):
        yield connection


def begun_at_once(connection: Connection, deadline: float) -> RootTransaction | None:
    """Begin; return None while another process writes, and raise that error after the deadline.

    The caller asks again after a pause: SQLite's own wait can be neither aborted nor interrupted by Ctrl-C.
    """
    try:
        return connection.begin()
    except exc.OperationalError as error:
        if not sqlite.is_locked(error) or time.monotonic() > deadline:
            raise
        return None


def may_come_free(error: exc.OperationalError, engine: Engine) -> bool:
    """Tell whether the server has no more connections for us, but one of ours may become free."""
    pool = engine.pool
    ours = pool.checkedout() + pool.checkedin() if isinstance(pool, QueuePool) else 0
    return bool(ours) and postgres.is_full(error)


class OnFile:
    """Transactions on a SQLite file. In one process all writes go one after the other; no read waits for them."""

    def __init__(self, engine: Engine, file: StoreFile, *, patience: timedelta) -> None:
        self._engine = engine
        self._file = file
        self._patience = patience
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    async def write(self, work: Work[T], *, long: bool) -> T:
        """Carry out a work that writes."""
        async with self._as_writer() as until:
            if long:
                attempt = Attempt(sqlite.interrupt)
                try:
                    done: T = await until(self._thread.submit(self._carry_out, attempt, work, writes=True))
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

    async def read(self, work: Work[T], *, long: bool) -> T:
        """Carry out a work that only reads."""
        if long:
            return await self._read_beside(work)
        with self._engine.connect() as connection, connection.begin():
            return work(connection)

    async def _read_beside(self, work: Work[T]) -> T:
        attempt = Attempt(sqlite.interrupt)
        try:
            return await asyncio.wrap_future(self._readers.submit(self._carry_out, attempt, work, writes=False))
        except asyncio.CancelledError:
            attempt.abort()
            raise

    async def close(self) -> None:
        """Wait until running work is done."""
        for threads in (self._thread, self._readers):
            await asyncio.to_thread(threads.shutdown)

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
            connection.execution_options(**{sqlite.WRITES: True})
            while begun_at_once(connection, deadline) is None:  # noqa: ASYNC110  # another process tells nobody
                await asyncio.sleep(LOOK_AGAIN)
            stack.pop_all()
            return connection

    def _commit(self, connection: Connection) -> None:
        with connection:
            connection.commit()
        self._file.assure_in_place()

    def _carry_out(self, attempt: Attempt, work: Work[T], *, writes: bool) -> T:
        with transaction(self._engine, attempt, writes=writes, patience=self._patience, file=self._file) as connection:
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

    async def read(self, work: Work[T], *, long: bool) -> T:  # noqa: ARG002  # see `write`
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
