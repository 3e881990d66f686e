"""Store and Tx: open a store, run transactions, and use the tables through them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine

from kuma_sync.core.errors import StoreError, StoreUnavailable
from kuma_sync.settings import Secret
from kuma_sync.store import postgres, schema, sqlite
from kuma_sync.store.activity import Activity
from kuma_sync.store.alerts import Alerts
from kuma_sync.store.attempt import TOO_LATE, Attempt, StoreLimits
from kuma_sync.store.audit import Audit
from kuma_sync.store.console import ConsoleRows
from kuma_sync.store.copies import Heartbeats, Lease
from kuma_sync.store.copying import copy_rows, move_rows
from kuma_sync.store.cursor import CursorRow
from kuma_sync.store.dialect import LeaseClock
from kuma_sync.store.engine import open_engine, store_file, translated
from kuma_sync.store.file import StoreFile, held, looked_at
from kuma_sync.store.handout_pages import HandoutPages
from kuma_sync.store.handouts import Handouts
from kuma_sync.store.hiding import Hiding
from kuma_sync.store.jobs import Depth
from kuma_sync.store.keys import Keys
from kuma_sync.store.links import Links
from kuma_sync.store.notified import Notified
from kuma_sync.store.pauses import Pauses
from kuma_sync.store.pruning import Pruning
from kuma_sync.store.queue import DurableQueue, QueueCounts
from kuma_sync.store.read_models.activity import History
from kuma_sync.store.read_models.closings import ClosingRows
from kuma_sync.store.read_models.groups import Groups
from kuma_sync.store.read_models.overview import Overview
from kuma_sync.store.read_models.search import Search
from kuma_sync.store.read_models.waiting import QueueName, Waiting
from kuma_sync.store.rejects import Rejects
from kuma_sync.store.targets import Targets
from kuma_sync.store.transactions import OnFile, OnServer, connected, transaction
from kuma_sync.store.write_backs import WriteBacks

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tx:
    """One transaction over all tables; `now` is our time when it began."""

    now: datetime
    alerts: Alerts
    links: Links
    delivery: DurableQueue
    closes: DurableQueue
    cursor: CursorRow
    targets: Targets
    audit: Audit
    rejects: Rejects
    lease: Lease
    heartbeats: Heartbeats
    notified: Notified
    handouts: Handouts
    handout_pages: HandoutPages
    pauses: Pauses
    write_backs: WriteBacks
    keys: Keys
    hiding: Hiding
    console: ConsoleRows
    overview: Overview
    waiting: Waiting
    groups: Groups
    closings: ClosingRows
    search: Search
    activity: Activity
    happened: History
    pruning: Pruning

    def queues(self) -> dict[QueueName, QueueCounts]:
        """Count the jobs of both queues; what the brake keeps from the IRP is no job yet, but counts as held."""
        held = QueueCounts(jobs={Depth.HELD: len(self.links.held())})
        return {"delivery": self.delivery.total().plus(held), "close": self.closes.total().plus(QueueCounts())}

    def deliveries(self, counted: Mapping[str, QueueCounts] | None = None) -> dict[str, QueueCounts]:
        """Count the jobs towards each target; what the brake keeps from it, or no route takes, counts as held.

        `counted` are the jobs, where somebody has just counted them.
        """
        found = dict(self.delivery.counts() if counted is None else counted)
        for target, count in self.links.held_by_target().items():
            held = QueueCounts(jobs={Depth.HELD: count})
            found[target] = found.get(target, QueueCounts()).plus(held)
        return found


class Store:
    """The state of everything, in SQLite or PostgreSQL.

    `write` and `read` run a function of a transaction for the event loop; `writing` and `reading` open a transaction
    without a loop and block the calling thread. Every failure of the database raises StoreUnavailable. A file
    that must stay `untouched` can only be read.

    SQLite has one writer (BEGIN IMMEDIATE), so the writes of one process run one after the other there; no read
    waits for them. `store/transactions` says in which thread they run.
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
        self._interrupt: Callable[[Any], None]
        self._on_loop: OnFile | OnServer
        if self._file is not None:
            self._interrupt = sqlite.interrupt
            self._on_loop = OnFile(self._engine, self._file, patience=self._limits.lock)
        else:
            open_engine_for_loop = partial(postgres.open_for_loop, url, limits=self._limits, password=password)
            self._interrupt = postgres.interrupt
            self._on_loop = OnServer(open_engine_for_loop, patience=self._limits.lock)
        self._at_end = ExitStack()

    @property
    def engine(self) -> Engine:
        """Return the engine, with its pool of connections."""
        return self._engine

    @property
    def local(self) -> bool:
        """Tell whether it is a file that only one daemon may hold."""
        return self._file is not None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only daemon on this file while the block runs, or raise StoreHeld.

        Close the store before the block ends: releasing the file drops SQLite's own locks on it.
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
        """Allow a job to be put off by `within`. One due later than that counts as due: the clock was set back.

        The largest value ever given holds: a job may have been put off under an earlier configuration.
        """
        self._horizon = max(self._horizon, within)

    async def write(self, work: Callable[[Tx], T], *, long: bool = False) -> T:
        """Carry out `work` in a transaction that writes; it commits at the end, and rolls back on any exception.

        `long` means work on many rows. A cancelled call is rolled back unless its commit has begun. If the file was
        moved away meanwhile, the commit is in that file, and StoreUnavailable is raised.
        """
        async with self._in_time():
            return await self._on_loop.write(lambda connection: work(self._tx(connection)), long=long)

    async def read(self, work: Callable[[Tx], T], *, long: bool = False) -> T:
        """Carry out `work` in a transaction that only reads; `long` means work on many rows."""
        async with self._in_time():
            return await self._on_loop.read(lambda connection: work(self._tx(connection)), long=long)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        with translated():
            try:
                async with asyncio.timeout(self._limits.transaction.total_seconds()):
                    yield
            except TimeoutError:
                raise StoreUnavailable(TOO_LATE) from None

    @contextmanager
    def writing(self) -> Iterator[Tx]:
        """Open a transaction that writes, here and now; see `write`."""
        with self._watched() as attempt, self._begun(attempt, writes=True) as connection:
            yield self._tx(connection)

    @contextmanager
    def reading(self) -> Iterator[Tx]:
        """Open a transaction that only reads, here and now."""
        with self._watched() as attempt, self._begun(attempt, writes=False) as connection:
            yield self._tx(connection)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Take a connection for something other than a transaction on our tables, such as a look at the schema."""
        patience = self._limits.lock
        with (
            translated(),
            self._watched() as attempt,
            connected(self._engine, attempt, patience=patience) as connection,
        ):
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Open a transaction that may change the schema; nothing limits its time."""
        with self._begun(Attempt(self._interrupt), writes=True, any_schema=True) as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a transaction that only reads, and sees one moment; nothing limits its time."""
        with self._begun(Attempt(self._interrupt), writes=False) as connection:
            yield connection

    def copy_to(self, other: Store) -> None:
        """Copy the rows that a pass goes by, as one transaction sees them, into an empty store of the same schema."""
        with (
            self._begun(Attempt(self._interrupt), writes=False) as source,
            other._begun(Attempt(other._interrupt), writes=True) as copy,
        ):
            copy_rows(source, copy)

    def move_to(self, other: Store) -> dict[str, int]:
        """Copy every row into an empty store of the same schema on PostgreSQL; return how many, by table.

        Nobody writes to either meanwhile, and the source stays as it is.
        """
        with (
            self._begun(Attempt(self._interrupt), writes=True) as source,
            other._begun(Attempt(other._interrupt), writes=True) as copy,
        ):
            return move_rows(source, copy)

    @contextmanager
    def _watched(self) -> Iterator[Attempt]:
        attempt = Attempt(self._interrupt)
        timer = threading.Timer(self._limits.transaction.total_seconds(), attempt.abort)
        timer.daemon = True
        timer.start()
        try:
            yield attempt
        finally:
            timer.cancel()

    @contextmanager
    def _begun(self, attempt: Attempt, *, writes: bool, any_schema: bool = False) -> Iterator[Connection]:
        with (
            translated(),
            transaction(
                self._engine,
                attempt,
                writes=writes,
                patience=self._limits.lock,
                file=self._file,
                any_schema=any_schema,
            ) as connection,
        ):
            yield connection

    async def aclose(self) -> None:
        """Wait until running work is done, and close all connections."""
        await self._on_loop.close()
        self.close()

    def close(self) -> None:
        """Close a store that was used without an event loop."""
        if self._file is not None:
            self._write_log_back(self._file)
        self._engine.dispose()
        if self._file is not None:
            self._at_end.close()
            self._file.release()

    def _write_log_back(self, file: StoreFile) -> None:
        """Write the log into its database file if either was moved: SQLite itself would leave the log at the old path.

        There it would later be played into another file of that name.
        """
        with suppress(StoreError):
            try:
                file.assure_in_place()
            except StoreUnavailable:
                with translated():
                    sqlite.save_log(self._engine)

    def _tx(self, connection: Connection) -> Tx:
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
            targets=Targets(connection),
            audit=Audit(connection, now),
            rejects=Rejects(connection, now),
            lease=Lease(connection, lease_clock),
            heartbeats=Heartbeats(connection, lease_clock),
            notified=Notified(connection),
            handouts=Handouts(connection, now),
            handout_pages=HandoutPages(connection, now),
            pauses=Pauses(connection, now),
            write_backs=WriteBacks(connection, now),
            keys=Keys(connection, now),
            hiding=Hiding(connection),
            console=ConsoleRows(connection, now, lease_clock),
            overview=Overview(connection),
            waiting=Waiting(connection),
            groups=Groups(connection),
            closings=ClosingRows(connection, now),
            search=Search(connection),
            activity=Activity(connection),
            happened=History(connection, now),
            pruning=Pruning(connection),
        )
