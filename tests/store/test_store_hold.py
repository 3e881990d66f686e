"""One daemon a file: the second is refused, and the lock never outlives its process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from queue_steps import put
from stores import Clock, opened

from kuma_sync.core.errors import StoreHeld, StoreUnavailable
from kuma_sync.store import Store, held, store_url
from kuma_sync.store.migrate import check, head

HOLDER = """
import sys
from kuma_sync.store import held, store_url
with held(store_url(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_daemon(url: str) -> Iterator[subprocess.Popen[str]]:
    """Hold a store from another process."""
    command = [sys.executable, "-c", HOLDER, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_daemon_is_refused_until_the_first_is_gone_even_by_kill(sqlite_url: str) -> None:
    with another_daemon(sqlite_url) as process:
        with (
            pytest.raises(StoreHeld, match=r"another kuma-sync daemon holds .*/store\.db"),
            held(store_url(sqlite_url)),
        ):
            pass

        process.kill()
        process.wait()

    with held(store_url(sqlite_url)):
        pass


def test_a_daemon_that_ends_lets_go(sqlite_url: str) -> None:
    for _ in range(2):
        with held(store_url(sqlite_url)), pytest.raises(StoreHeld), held(store_url(sqlite_url)):
            pass


def test_two_files_are_two_stores(tmp_path: Path) -> None:
    with held(store_url(f"sqlite:///{tmp_path}/a.db")), held(store_url(f"sqlite:///{tmp_path}/b.db")):
        assert not (tmp_path / "a.db").exists()


async def test_commands_find_what_is_there_and_write_beside_the_daemon(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        await put(store, "before")

    # Of another process: within one, neither SQLite's own locks nor any like them keep anybody out.
    with another_daemon(sqlite_url):
        async with opened(sqlite_url) as store:
            await put(store, "beside")
            async with store.read() as tx:
                jobs = await tx.delivery.jobs()

    assert {job.subject for job in jobs} == {"before", "beside"}


def test_a_server_is_shared_and_a_store_in_memory_is_its_own(postgres_url: str) -> None:
    for url in (postgres_url, "sqlite://"):
        with held(store_url(url)), held(store_url(url)):
            pass


def test_a_folder_that_is_not_there_is_told_as_a_store_out_of_reach(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreUnavailable, match="No such file or directory"),
        held(store_url(f"sqlite:///{tmp_path}/absent/store.db")),
    ):
        pass


def test_a_file_is_held_under_whatever_name(tmp_path: Path, sqlite_url: str) -> None:
    link = tmp_path / "link.db"
    link.symlink_to("store.db")

    with held(store_url(f"sqlite:///{link}")), pytest.raises(StoreHeld), held(store_url(sqlite_url)):
        pass


async def test_a_file_that_is_only_looked_at_shows_under_a_links_name_what_is_in_its_log(
    tmp_path: Path, new_file_url: str
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to("new.db")
    async with opened(new_file_url):
        looking = Store(store_url(f"sqlite:///{link}"), clock=Clock(), untouched=True)
        try:
            assert await check(looking) == head()
        finally:
            await looking.close()


async def test_every_file_of_a_new_store_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        url = store_url(f"sqlite:///{tmp_path}/store.db")
        with held(url):
            async with opened(f"sqlite:///{tmp_path}/store.db") as store, store.begin():
                modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    finally:
        os.umask(before)

    assert modes == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm", "store.db.lock"), 0o600)


async def test_a_link_to_a_new_store_makes_it_its_owners_alone_too(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "store.db")

    async with opened(f"sqlite:///{tmp_path}/link.db"):
        pass

    assert (tmp_path / "store.db").stat().st_mode & 0o777 == 0o600


async def test_the_mode_of_a_store_that_is_there_is_its_owners_choice(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch(mode=0o640)

    async with opened(f"sqlite:///{tmp_path}/store.db"):
        pass

    assert (tmp_path / "store.db").stat().st_mode & 0o777 == 0o640
