"""Which file a store has open: it is not promised anything that the file at the path does not hold."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from builders import NOW
from queue_steps import jobs, put
from stores import opened

from kuma_sync.core.errors import StoreReplaced, StoreUnavailable
from kuma_sync.store import Lane, Put, Store, store_url

AWAY = "its file was moved or deleted"


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def subjects(file: Path) -> list[str]:
    """Return what is queued in a file that nobody has open."""
    with closing(sqlite3.connect(file)) as connection:
        return [subject for (subject,) in connection.execute("SELECT subject FROM delivery_queue ORDER BY id")]


@asynccontextmanager
async def a_store(url: str) -> AsyncIterator[Store]:
    store = Store(store_url(url), clock=lambda: NOW)
    try:
        yield store
    finally:
        await store.close()


async def test_what_is_committed_into_a_file_that_went_away_meanwhile_is_not_promised(sqlite_url: str) -> None:
    file = path_of(sqlite_url)

    async def write(store: Store) -> None:
        async with store.begin() as tx:
            await tx.delivery.put([Put(subject="a", lane=Lane.UPDATE)])
            file.rename(file.with_name("moved.db"))

    async with a_store(sqlite_url) as store:
        with pytest.raises(StoreUnavailable, match=AWAY):
            await write(store)


async def test_nobody_makes_another_file_in_the_place_of_one_that_went_away(sqlite_url: str) -> None:
    file = path_of(sqlite_url)
    async with a_store(sqlite_url) as store:
        await put(store, "before")
        file.rename(file.with_name("moved.db"))
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match=AWAY):
                async with store.begin():
                    pass
        with pytest.raises(StoreUnavailable, match=AWAY):
            await asyncio.gather(*(jobs(store) for _ in range(8)))
        made = file.exists()
        file.with_name("moved.db").rename(file)
        await put(store, "after")

        assert not made
        assert [job.subject for job in await jobs(store)] == ["before", "after"]


async def test_what_is_in_the_log_of_a_moved_file_goes_with_it_when_the_store_is_closed(sqlite_url: str) -> None:
    file, moved = path_of(sqlite_url), path_of(sqlite_url).with_name("moved.db")
    async with a_store(sqlite_url) as store:
        await put(store, "before")
        file.rename(moved)

    log = Path(f"{file}-wal")
    assert not log.exists() or log.stat().st_size == 0, "it would be played into whatever comes to be there"
    assert subjects(moved) == ["before"]


async def test_another_file_in_its_place_is_not_written_to(sqlite_url: str) -> None:
    file = path_of(sqlite_url)
    other = file.with_name("other.db")
    async with opened(f"sqlite:///{other}") as store:
        await put(store, "theirs")
    async with a_store(sqlite_url) as store:
        await put(store, "ours")
        other.rename(file)
        for use in (put, jobs):
            with pytest.raises(StoreReplaced, match="another file is at"):
                await use(store)

    assert subjects(file) == ["theirs"]


@pytest.mark.parametrize("logs", [("-wal",), ("-shm",), ("-wal", "-shm")])
async def test_a_log_that_was_removed_is_noticed_and_nothing_in_it_is_lost(
    sqlite_url: str, logs: tuple[str, ...]
) -> None:
    async with a_store(sqlite_url) as store:
        await put(store, "before")
        for log in logs:
            Path(f"{path_of(sqlite_url)}{log}").unlink()
        with pytest.raises(StoreReplaced, match="removed or replaced while it was in use"):
            await put(store, "after")

    assert subjects(path_of(sqlite_url)) == ["before"]


async def test_a_log_that_sqlite_removes_itself_is_no_damage(sqlite_url: str) -> None:
    """It does so with the last connection: here each is given up by whoever is cancelled in a transaction."""

    async def cancelled(store: Store) -> None:
        async with store.begin() as tx:
            await tx.delivery.put([Put(subject="a", lane=Lane.UPDATE)])
            await asyncio.Event().wait()

    async with a_store(sqlite_url) as store:
        for number in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(cancelled(store), 0.01)
            await asyncio.gather(put(store, f"a{number}"), jobs(store), jobs(store))
        await store.engine.dispose()
        await put(store, "after")

        assert len(await jobs(store)) == 21


async def test_a_link_that_comes_to_lead_elsewhere_is_a_file_that_was_replaced(tmp_path: Path, sqlite_url: str) -> None:
    link, other = tmp_path / "link.db", tmp_path / "other.db"
    link.symlink_to(path_of(sqlite_url))
    async with opened(f"sqlite:///{other}"):
        pass
    async with a_store(f"sqlite:///{link}") as store:
        await put(store, "ours")
        link.unlink()
        link.symlink_to(other)
        with pytest.raises(StoreReplaced):
            await put(store, "theirs")

    assert (subjects(path_of(sqlite_url)), subjects(other)) == (["ours"], [])


LEFT = """
import asyncio, sqlite3, sys, threading
from datetime import UTC, datetime
from kuma_sync.store import Store, store_url

async def left_behind():
    store = Store(store_url("sqlite:///" + sys.argv[1]), clock=lambda: datetime.now(UTC))
    async with store.read():
        pass
    other = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(1.0, other.rollback).start()
    writing = asyncio.create_task(store.begin().__aenter__())
    await asyncio.sleep(0.2)
    for _ in range(2):
        writing.cancel()
        await asyncio.sleep(0.05)

asyncio.run(left_behind())
print("ended")
"""


def test_a_thread_that_outlives_the_loop_has_nobody_to_tell_and_complains_to_nobody(sqlite_url: str) -> None:
    command = [sys.executable, "-c", LEFT, str(path_of(sqlite_url))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended\n", "")
