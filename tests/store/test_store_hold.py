"""One daemon a file: the second is refused, and the lock never outlives its process."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from mounts import bound
from queue_steps import put
from stores import Clock, opened

from kuma_sync.core.errors import StoreError, StoreHeld, StoreUnavailable
from kuma_sync.store import Store, store_url
from kuma_sync.store.file import StoreFile, held
from kuma_sync.store.migrate import check
from kuma_sync.store.revisions import head

HOLDER = """
import sys
from kuma_sync.store import store_file, store_url
from kuma_sync.store.file import held
with held(store_file(store_url(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def the_hold(url: str) -> AbstractContextManager[None]:
    """Hold a store in this process."""
    return Store(store_url(url), clock=Clock()).hold()


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def refused_elsewhere(url: str) -> bool:
    """Tell whether a second daemon, another process, is refused."""
    command = [sys.executable, "-c", HOLDER, url]
    tried = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return "StoreHeld" in tried.stderr


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
            the_hold(sqlite_url),
        ):
            pass

        process.kill()
        process.wait()

    with the_hold(sqlite_url):
        pass


def test_a_daemon_that_ends_lets_go(sqlite_url: str) -> None:
    for _ in range(2):
        with the_hold(sqlite_url), pytest.raises(StoreHeld), the_hold(sqlite_url):
            pass


def test_two_files_are_two_stores(tmp_path: Path) -> None:
    with the_hold(f"sqlite:///{tmp_path}/a.db"), the_hold(f"sqlite:///{tmp_path}/b.db"):
        pass


async def test_commands_find_what_is_there_and_write_beside_the_daemon(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        await put(store, "before")

    # Of another process: within one, neither SQLite's own locks nor any like them keep anybody out.
    with another_daemon(sqlite_url):
        async with opened(sqlite_url) as store:
            await put(store, "beside")
            with store.reading() as tx:
                jobs = tx.delivery.jobs()

    assert {job.subject for job in jobs} == {"before", "beside"}


def test_a_server_is_shared(postgres_url: str) -> None:
    with the_hold(postgres_url), the_hold(postgres_url):
        pass


def test_a_folder_that_is_not_there_is_told_as_a_store_out_of_reach(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreUnavailable, match="No such file or directory"),
        the_hold(f"sqlite:///{tmp_path}/absent/store.db"),
    ):
        pass


def test_a_file_is_held_under_whatever_name(tmp_path: Path, sqlite_url: str) -> None:
    link = tmp_path / "link.db"
    link.symlink_to("store.db")

    with the_hold(f"sqlite:///{link}"), pytest.raises(StoreHeld), the_hold(sqlite_url):
        pass


def test_a_file_stays_held_when_the_lock_beside_it_is_removed(sqlite_url: str) -> None:
    with another_daemon(sqlite_url):
        Path(f"{path_of(sqlite_url)}.lock").unlink()

        with pytest.raises(StoreHeld), the_hold(sqlite_url):
            pass


def test_a_daemon_of_an_older_version_finds_the_lock_beside_the_file(sqlite_url: str) -> None:
    with the_hold(sqlite_url), Path(f"{path_of(sqlite_url)}.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_file_is_held_through_a_second_mount_of_its_folder(tmp_path: Path, sqlite_url: str) -> None:
    with bound(path_of(sqlite_url).parent, tmp_path.parent / f"{tmp_path.name}-again"), another_daemon(sqlite_url):
        again = f"sqlite:///{tmp_path.parent}/{tmp_path.name}-again/store.db"

        with pytest.raises(StoreHeld), the_hold(again):
            pass


@pytest.mark.parametrize("kind", ["mount", "link"])
async def test_a_file_with_a_second_name_is_refused_by_everybody_and_left_as_it_is(
    tmp_path: Path, sqlite_url: str, kind: str
) -> None:
    """Its log would lie beside one of the names, and who came by another would not see what is in it."""
    said = {"mount": "is a mount point", "link": "has 2 hard links"}[kind]
    with ExitStack() as stack:
        name = second_name(stack, path_of(sqlite_url), tmp_path / "elsewhere", kind)
        before = sorted(name.parent.iterdir())
        for refused in (held_at(name), used_at(name), used_at(name, untouched=True)):
            with pytest.raises(StoreError, match=said) as refusal:
                await refused
            assert not isinstance(refusal.value, StoreUnavailable), "it must not be waited for"

        assert sorted(name.parent.iterdir()) == before


def second_name(stack: ExitStack, file: Path, folder: Path, kind: str) -> Path:
    folder.mkdir()
    name = folder / "other.db"
    if kind == "mount":
        stack.enter_context(bound(file, name))
    else:
        name.hardlink_to(file)
    return name


async def held_at(file: Path) -> None:
    with the_hold(f"sqlite:///{file}"):
        pass


async def used_at(file: Path, *, untouched: bool = False) -> None:
    store = Store(store_url(f"sqlite:///{file}"), clock=Clock(), untouched=untouched)
    try:
        with store.reading():
            pass
    finally:
        await store.aclose()


async def test_a_file_that_is_held_keeps_sqlites_own_locks(sqlite_url: str) -> None:
    """Without them another process that closes the file takes its log away."""
    log = Path(f"{path_of(sqlite_url)}-wal")
    store = Store(store_url(sqlite_url), clock=Clock())
    with store.hold():
        await put(store, "kept")
        refused = refused_elsewhere(sqlite_url)
        look = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM links').fetchall()"
        command = [sys.executable, "-c", look, str(path_of(sqlite_url))]
        await asyncio.to_thread(subprocess.run, command, check=True)
        beside = log.exists()
        await store.aclose()

    assert (refused, beside) == (True, True)
    with closing(sqlite3.connect(path_of(sqlite_url))) as file:
        assert file.execute("SELECT subject FROM delivery_queue").fetchall() == [("kept",)]


async def test_a_file_that_is_only_looked_at_shows_under_a_links_name_what_is_in_its_log(
    tmp_path: Path, new_file_url: str
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to("new.db")
    async with opened(new_file_url):
        looking = Store(store_url(f"sqlite:///{link}"), clock=Clock(), untouched=True)
        try:
            assert check(looking) == head()
        finally:
            looking.close()


async def test_every_file_of_a_new_store_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with held(StoreFile(tmp_path / "store.db")):
            async with opened(f"sqlite:///{tmp_path}/store.db") as store:
                with store.writing():
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
