"""Waiting has an end: for a lock, for a transaction that stands still, for a database that does not answer."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import psycopg
import pytest
from builders import a_link
from stores import opened

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.store import Store, StoreLimits

STANDING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
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
    async with store.begin() as tx:
        await tx.links.add([a_link()], now=tx.now)


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
        async with locked(postgres_url), asyncio.timeout(10):
            ends = await asyncio.gather(*(write(store) for _ in range(4)), return_exceptions=True)

        await write(store)

    assert [type(end) for end in ends] == [StoreUnavailable] * 4


async def test_who_waits_in_the_line_of_sqlites_writers_does_not_wait_for_all_the_others_time(
    sqlite_url: str,
) -> None:
    limits = StoreLimits(lock=timedelta(milliseconds=500), transaction=timedelta(seconds=2))
    async with opened(sqlite_url, limits=limits) as store:
        began = time.monotonic()
        async with locked(sqlite_url):
            ends = await asyncio.gather(*(write(store) for _ in range(12)), return_exceptions=True)
        took = time.monotonic() - began

        await write(store)

    assert [type(end) for end in ends] == [StoreUnavailable] * 12
    assert took < 4, "one after the other they would need six seconds"


async def test_a_lock_is_not_waited_for_without_end(postgres_url: str) -> None:
    async with opened(postgres_url, limits=IMPATIENT) as store:
        async with locked(postgres_url), asyncio.timeout(20):
            with pytest.raises(StoreUnavailable):
                await write(store)

        await write(store)


async def test_a_transaction_that_stands_still_is_ended_and_its_locks_with_it(postgres_url: str) -> None:
    async with opened(postgres_url, limits=IMPATIENT) as store, AsyncExitStack() as stack:
        tx = await stack.enter_async_context(store.begin())
        await tx.links.add([a_link()], now=tx.now)
        await stands_still_until_ended(postgres_url)
        async with asyncio.timeout(20):
            await write(store)

        with pytest.raises(StoreUnavailable):
            await stack.aclose()
