"""Waiting has an end: for a lock, for a transaction that stands still, for a database that does not answer."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg
import pytest
from builders import a_link
from sqlalchemy import event
from stores import opened

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.store import Store, postgres, session

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


def half_a_second(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA busy_timeout = 500").close()


async def write(store: Store) -> None:
    async with store.begin() as tx:
        await tx.links.add([a_link()], now=tx.now)


@asynccontextmanager
async def impatient(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """Open a store whose new connections wait for locks, and stand still, for a moment only."""
    async with opened(url) as store:
        # Its migrations may take longer on a loaded machine: they are done, over connections that had their time.
        await store.close()
        monkeypatch.setattr(postgres, "PATIENCE", 1.0)
        yield store


async def stands_still_until_ended(url: str) -> None:
    """Do nothing, as a frozen process would, until the server has ended the one session that is in a transaction."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        async with asyncio.timeout(30):
            while await (await other.execute(STANDING)).fetchall():
                await asyncio.sleep(0.05)


async def test_a_transaction_that_gets_nowhere_finds_the_store_away_and_the_next_one_works(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(postgres_url) as store:
        monkeypatch.setattr(session, "LONGEST", 0.3)
        async with locked(postgres_url), asyncio.timeout(10):
            ends = await asyncio.gather(*(write(store) for _ in range(4)), return_exceptions=True)
        monkeypatch.undo()

        await write(store)

    assert [type(end) for end in ends] == [StoreUnavailable] * 4


async def test_who_waits_in_the_line_of_sqlites_writers_does_not_wait_for_all_the_others_time(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(sqlite_url) as store:
        await store.close()
        event.listen(store.engine.sync_engine, "connect", half_a_second)
        monkeypatch.setattr(session, "LONGEST", 0.7)
        began = time.monotonic()
        async with locked(sqlite_url):
            ends = await asyncio.gather(*(write(store) for _ in range(12)), return_exceptions=True)
        took = time.monotonic() - began
        monkeypatch.undo()

        await write(store)

    assert [type(end) for end in ends] == [StoreUnavailable] * 12
    assert took < 4, "one after the other they would need six seconds"


async def test_a_lock_is_not_waited_for_without_end(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with impatient(postgres_url, monkeypatch) as store:
        async with locked(postgres_url), asyncio.timeout(20):
            with pytest.raises(StoreUnavailable):
                await write(store)

        await write(store)


async def test_a_transaction_that_stands_still_is_ended_and_its_locks_with_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with impatient(postgres_url, monkeypatch) as store, AsyncExitStack() as stack:
        tx = await stack.enter_async_context(store.begin())
        await tx.links.add([a_link()], now=tx.now)
        await stands_still_until_ended(postgres_url)
        async with asyncio.timeout(20):
            await write(store)

        with pytest.raises(StoreUnavailable):
            await stack.aclose()
