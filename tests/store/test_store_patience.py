"""Waiting has an end: for a lock, for a transaction that stands still, for a database that does not answer."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from random import Random

import psycopg
import pytest
from builders import ALERT_ID, NOW, a_link
from pooler import pooled
from queue_steps import jobs, put
from stores import opened

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.store import Lane, Put, Store, StoreLimits, store_url
from kuma_sync.store.migrate import check
from kuma_sync.store.revisions import head

STANDING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Let another program hold the whole store while the block runs."""
    if url.startswith("sqlite"):
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = psycopg.connect(url)
        other.execute("LOCK TABLE links")
    try:
        yield
    finally:
        other.close()


IMPATIENT = StoreLimits(lock=timedelta(seconds=1))
"""For a store that waits for locks, and whose transactions stand still, for a moment only."""


async def write(store: Store) -> None:
    await store.write(lambda tx: tx.links.add([a_link()], now=tx.now))


async def stands_still_until_ended(url: str) -> None:
    """Do nothing, as a frozen process would, until the server has ended the one session that is in a transaction."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        async with asyncio.timeout(30):
            while await (await other.execute(STANDING)).fetchall():
                await asyncio.sleep(0.05)


async def test_a_transaction_that_gets_nowhere_finds_the_store_away_and_the_next_one_works(
    postgres_url: str,
) -> None:
    limits = StoreLimits(transaction=timedelta(seconds=2))
    async with opened(postgres_url, limits=limits) as store:
        with locked(postgres_url):
            async with asyncio.timeout(10):
                ends = await asyncio.gather(*(write(store) for _ in range(4)), return_exceptions=True)

        await write(store)

    assert [type(end) for end in ends] == [StoreUnavailable] * 4


def test_a_transaction_in_ones_own_thread_gets_nowhere_as_little(postgres_url: str) -> None:
    store = Store(
        store_url(postgres_url), clock=lambda: NOW, limits=StoreLimits(transaction=timedelta(milliseconds=500))
    )
    with locked(postgres_url):
        began = time.monotonic()
        for transaction in (store.writing, store.reading):
            with pytest.raises(StoreUnavailable), transaction() as tx:
                tx.links.get(ALERT_ID)
        took = time.monotonic() - began

    for transaction in (store.writing, store.reading):
        with transaction() as tx:
            tx.links.get(ALERT_ID)
    assert took < 10, "the lock is waited for half a minute"
    store.close()


def test_who_has_no_loop_gives_up_a_frozen_server_that_is_asked_whether_it_lives(postgres_url: str) -> None:
    limits = StoreLimits(transaction=timedelta(seconds=1), asleep=timedelta())
    store = Store(store_url(postgres_url), clock=lambda: NOW, limits=limits)
    with store.reading():
        pass
    with frozen(postgres_url), pytest.raises(StoreUnavailable):
        check(store)

    assert check(store) == head()
    store.close()


def test_who_has_no_loop_gives_up_the_wait_for_another_writer_when_its_time_is_over(sqlite_url: str) -> None:
    """SQLite's own wait could be neither aborted nor interrupted."""
    store = Store(store_url(sqlite_url), clock=lambda: NOW, limits=StoreLimits(transaction=timedelta(seconds=1)))
    began = time.monotonic()
    with locked(sqlite_url), pytest.raises(StoreUnavailable), store.writing():
        pass

    assert time.monotonic() - began < 10, "the lock is waited for half a minute"
    store.close()


@pytest.mark.parametrize("found", ["in a statement", "as it is asked whether it lives", "as it is opened"])
async def test_a_server_that_froze_is_given_up_in_time_and_what_comes_next_works(postgres_url: str, found: str) -> None:
    """A session of its own freezes: it takes what is sent, and answers nothing, as long as it is waited for."""
    asleep = timedelta() if found == "as it is asked whether it lives" else timedelta(minutes=1)
    limits = StoreLimits(transaction=timedelta(seconds=2), asleep=asleep)
    with ExitStack() as stack:
        url = stack.enter_context(pooled(postgres_url, size=8)) if found == "as it is opened" else postgres_url
        async with opened(url, limits=limits) as store:
            await put(store, "before")
            if found == "as it is opened":
                # The pooler keeps the server's session, and lends it to the next of ours.
                await store._on_loop.close()
            with frozen(postgres_url) as sessions:
                for _ in range(sessions):
                    with pytest.raises(StoreUnavailable, match="did not answer in time"):
                        await put(store, "unanswered")
                await put(store, "after")
                closing = asyncio.create_task(store.aclose())
                closed, _ = await asyncio.wait([closing], timeout=10)
            await closing
        async with opened(postgres_url) as store:
            assert [job.subject for job in await jobs(store)] == ["before", "after"]
    assert closed, "who ends does not wait for it either"


@contextmanager
def frozen(url: str) -> Iterator[int]:
    """Freeze all sessions of a database for as long as the block runs; yield how many there are."""
    with psycopg.connect(url, autocommit=True) as operator:
        sessions = operator.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    assert sessions
    for (process,) in sessions:
        os.kill(process, signal.SIGSTOP)
    try:
        yield len(sessions)
    finally:
        for (process,) in sessions:
            os.kill(process, signal.SIGCONT)


async def test_a_waiting_sqlite_writer_does_not_wait_for_all_the_others_time(
    sqlite_url: str,
) -> None:
    limits = StoreLimits(lock=timedelta(milliseconds=500), transaction=timedelta(seconds=2))
    async with opened(sqlite_url, limits=limits) as store:
        began = time.monotonic()
        with locked(sqlite_url):
            ends = await asyncio.gather(*(write(store) for _ in range(12)), return_exceptions=True)
        took = time.monotonic() - began

        await write(store)

    assert [type(end) for end in ends] == [StoreUnavailable] * 12
    assert took < 4, "one after the other they would need six seconds"


async def test_a_lock_is_not_waited_for_without_end(postgres_url: str) -> None:
    async with opened(postgres_url, limits=IMPATIENT) as store:
        with locked(postgres_url), pytest.raises(StoreUnavailable):
            async with asyncio.timeout(20):
                await write(store)

        await write(store)


async def test_a_transaction_that_stands_still_is_ended_and_its_locks_with_it(postgres_url: str) -> None:
    async with opened(postgres_url, limits=IMPATIENT) as store:
        with ExitStack() as stack:
            tx = stack.enter_context(store.writing())
            tx.links.add([a_link()], now=tx.now)
            await stands_still_until_ended(postgres_url)
            async with asyncio.timeout(20):
                await write(store)

            with pytest.raises(StoreUnavailable):
                stack.close()


async def test_a_writer_that_is_cut_off_wherever_it_stands_does_not_keep_the_write_lock(database_url: str) -> None:
    async def write(store: Store, number: int) -> None:
        rows = [Put(subject=f"a{number}-{each}", lane=Lane.CREATE) for each in range(300)]
        await store.write(lambda tx: tx.delivery.put(rows))

    random, cut_off = Random(31), 0
    async with opened(database_url) as store:
        for number in range(25):
            writing = asyncio.create_task(write(store, number))
            await asyncio.sleep(random.uniform(0, 0.03))
            writing.cancel()
            await asyncio.wait([writing])
            cut_off += writing.cancelled()

            async with asyncio.timeout(10):
                await store.write(lambda tx: tx.delivery.put([Put(subject="next", lane=Lane.CREATE)]))

    assert cut_off > 5
