"""Which file a store has open: it is not promised anything that the file at the path does not hold."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from builders import NOW
from queue_steps import jobs, put
from stores import opened

from kuma_sync.core.errors import StoreReplaced, StoreUnavailable
from kuma_sync.store import Lane, Put, Store, Tx, store_url

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
        await store.aclose()


async def test_what_is_committed_into_a_file_that_went_away_meanwhile_is_not_promised(sqlite_url: str) -> None:
    file = path_of(sqlite_url)

    async def write(store: Store) -> None:
        with store.writing() as tx:
            tx.delivery.put([Put(subject="a", lane=Lane.UPDATE)])
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
            with pytest.raises(StoreUnavailable, match=AWAY), store.writing():
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
    """It does so with the last connection, and makes another with the next one."""
    log = Path(f"{path_of(sqlite_url)}-wal")
    async with a_store(sqlite_url) as store:
        for number in range(20):
            await cancelled(store)
            await asyncio.gather(put(store, f"a{number}"), jobs(store), jobs(store))
            store.engine.dispose()
            assert not log.exists()
        await put(store, "after")

        assert len(await jobs(store)) == 21


async def cancelled(store: Store) -> None:
    """Give up a transaction that has written, and wait for its end: nobody else may write before."""
    wrote, go_on = threading.Event(), threading.Event()

    def write(tx: Tx) -> None:
        tx.delivery.put([Put(subject="given up", lane=Lane.UPDATE)])
        wrote.set()
        assert go_on.wait(10)

    writing = asyncio.create_task(store.write(write, long=True))
    assert await asyncio.to_thread(wrote.wait, 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    go_on.set()


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
import asyncio, sys, threading
from datetime import UTC, datetime
from kuma_sync.store import Lane, Put, Store, store_url

wrote, go_on = threading.Event(), threading.Event()

def write(tx):
    tx.delivery.put([Put(subject="left behind", lane=Lane.UPDATE)])
    wrote.set()
    go_on.wait(30)

async def leave():
    store = Store(store_url("sqlite:///" + sys.argv[1]), clock=lambda: datetime.now(UTC))
    writing = [asyncio.create_task(store.write(write, long=True)) for _ in range(3)]
    await asyncio.to_thread(wrote.wait, 30)
    if sys.argv[2] == "cancelled":
        for task in writing:
            task.cancel()
        await asyncio.sleep(0)

asyncio.run(leave())
print("ended", wrote.is_set())
go_on.set()
"""


@pytest.mark.parametrize("how", ["cancelled", "left alone"])
def test_a_thread_that_outlives_the_loop_has_nobody_to_tell_and_complains_to_nobody(sqlite_url: str, how: str) -> None:
    command = [sys.executable, "-c", LEFT, str(path_of(sqlite_url)), how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended True\n", "")
    assert subjects(path_of(sqlite_url)) == []
