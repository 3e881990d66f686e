"""Transactions: all or nothing, one writer at a time, and a store out of reach is told without its secrets."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import subprocess
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import postgres
import psycopg
import pytest
from builders import ALERT_ID, NOW, a_link, an_alert, changed
from mounts import small_disk
from queue_steps import jobs, put
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from stores import opened
from test_store_queue_races import somebody_waits

from kuma_sync.core.alert import AlertSnapshot
from kuma_sync.core.errors import StoreUnavailable, ValueRefused
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Link
from kuma_sync.settings import Secret
from kuma_sync.store import Lane, Put, Shape, Shown, Store, StoreLimits, Tx, engine, store_url
from kuma_sync.store.locks import lock
from kuma_sync.telemetry.redact import masked

SECRET = "swordfish"
SLEEP = "SELECT pg_sleep(1)"


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def a_store(url: str, password: Secret | None = None, limits: StoreLimits | None = None) -> Store:
    return Store(store_url(url), password=password, clock=lambda: NOW, limits=limits)


def refused(store: Store) -> list[StoreUnavailable]:
    """Try to write and to read; return what is said each time."""
    said = []
    for transaction in (store.writing, store.reading):
        with pytest.raises(StoreUnavailable) as refusal, transaction():
            pass
        said.append(refusal.value)
    return said


def driver(tx: Tx) -> Any:
    """Return the driver's own connection that a transaction runs on."""
    return tx.lease._connection.connection.driver_connection


async def counted(store: Store) -> int:
    link = await store.read(lambda tx: tx.links.get(ALERT_ID))
    return int(link.close_comment or "0") if link else 0


def one_more(link: Link) -> Link:
    return changed(link, close_origin=Origin.IRP, close_comment=str(int(link.close_comment or "0") + 1))


# All or nothing


async def test_a_block_that_fails_leaves_nothing_behind(database_url: str) -> None:
    async with opened(database_url) as store:

        def fail_at_the_end(tx: Tx) -> None:
            tx.links.add([a_link()], now=tx.now)
            tx.alerts.save(
                [Shown(snapshot=AlertSnapshot(alert=an_alert()), shape=Shape.LISTING, digest=None)],
                now=tx.now,
                sweep=0,
            )
            tx.delivery.put([Put(subject=ALERT_ID, lane=Lane.CREATE)])
            tx.closes.put([Put(subject=ALERT_ID, lane=Lane.CLOSE)])
            tx.cursor.move(watermark=NOW)
            raise LookupError

        def fail_here_and_now() -> None:
            with store.writing() as tx:
                fail_at_the_end(tx)

        with pytest.raises(LookupError):
            await store.write(fail_at_the_end)
        with pytest.raises(LookupError):
            fail_here_and_now()

        with store.reading() as tx:
            assert tx.links.get(ALERT_ID) is None
            assert tx.alerts.snapshots([ALERT_ID]) == {}
            assert (tx.delivery.jobs(), tx.closes.jobs()) == ([], [])
            assert tx.cursor.read().watermark is None


async def test_who_stops_waiting_leaves_nothing_behind_and_the_next_writer_goes_on(sqlite_url: str) -> None:
    """It is cancelled between two statements, and what it does comes to its end: even then nothing is committed."""
    async with opened(sqlite_url) as store:
        wrote, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def write(tx: Tx) -> None:
            tx.links.add([a_link()], now=tx.now)
            wrote.set()
            assert go_on.wait(10)
            ended.set()

        await cancelled(store.write(write, long=True), once=wrote)
        go_on.set()
        async with asyncio.timeout(5):
            await put(store)

        with store.reading() as tx:
            assert tx.links.get(ALERT_ID) is None
        assert ended.is_set()
        assert len(await jobs(store)) == 1


async def test_who_stops_waiting_in_a_statement_on_a_file_leaves_no_lock_behind(sqlite_url: str) -> None:
    """The statement itself would never end."""
    async with opened(sqlite_url) as store:
        works = threading.Event()

        def write(tx: Tx) -> None:
            tx.links.add([a_link()], now=tx.now)
            connection = tx.lease._connection
            driver(tx).set_progress_handler(works.set, 100)
            connection.exec_driver_sql(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
            )

        await cancelled(store.write(write, long=True), once=works)
        async with asyncio.timeout(8):
            await put(store)

        with store.reading() as tx:
            assert tx.links.get(ALERT_ID) is None
        assert len(await jobs(store)) == 1


async def test_who_stops_waiting_in_a_statement_on_a_server_leaves_no_lock_behind(postgres_url: str) -> None:
    """The statement itself would last longer than anybody waits."""
    async with opened(postgres_url) as store:

        def write(tx: Tx) -> None:
            tx.links.add([a_link()], now=tx.now)
            tx.lease._connection.exec_driver_sql("SELECT pg_sleep(60)")

        writing = asyncio.create_task(store.write(write))
        await asyncio.to_thread(somebody_sleeps, postgres_url)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        async with asyncio.timeout(8):
            await store.write(lambda tx: tx.links.add([a_link(gone=True)], now=tx.now))

        with store.reading() as tx:
            assert tx.links.get(ALERT_ID) == a_link(gone=True)


def somebody_sleeps(url: str) -> None:
    """Return as soon as a session of this database is in pg_sleep."""
    query = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    deadline = time.monotonic() + 10
    with psycopg.connect(url, autocommit=True) as connection:
        while not connection.execute(query).fetchall():
            assert time.monotonic() < deadline, "nobody came to sleep"
            time.sleep(0.01)


async def test_who_stops_waiting_for_a_lock_lets_go_of_its_own(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        await store.write(lambda tx: tx.links.add([a_link()], now=tx.now))

        def write(tx: Tx) -> None:
            lock(tx, links=[ALERT_ID])
            tx.delivery.put([Put(subject="a", lane=Lane.UPDATE)])

        with psycopg.connect(postgres_url) as other:
            other.execute("LOCK TABLE delivery_queue")
            writing = asyncio.create_task(store.write(write))
            await somebody_waits(postgres_url)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            async with asyncio.timeout(8):
                await store.write(lambda tx: lock(tx, links=[ALERT_ID]))


async def test_who_stops_waiting_in_the_line_of_writers_is_not_served(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        begun, go_on = threading.Event(), threading.Event()

        def hold_up(_tx: Tx) -> None:
            begun.set()
            assert go_on.wait(10)

        first = asyncio.create_task(store.write(hold_up, long=True))
        assert await asyncio.to_thread(begun.wait, 10)
        waiting = [asyncio.create_task(put(store, f"a{number}")) for number in range(3)]
        await asyncio.sleep(0)  # so that all stand in line
        waiting[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[1]
        go_on.set()
        await asyncio.gather(first, waiting[0], waiting[2])

        assert [row.subject for row in await jobs(store)] == ["a0", "a2"]


async def cancelled(writing: Coroutine[Any, Any, None], *, once: threading.Event) -> None:
    """Stop waiting for a transaction once it has come so far; that alone takes no time."""
    task = asyncio.create_task(writing)
    assert await asyncio.to_thread(once.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task


async def test_what_many_tasks_write_at_once_is_all_kept(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.links.add([a_link()], now=tx.now)

        async with asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(store.write(lambda tx: tx.links.change(ALERT_ID, one_more, now=tx.now)))

        assert await counted(store) == 12


async def test_the_loop_goes_on_while_a_long_work_is_done_on_a_file(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        for transaction in (store.write, store.read):
            seen = threading.Event()
            working = asyncio.create_task(transaction(lambda _tx, seen=seen: seen.wait(10), long=True))
            await asyncio.sleep(0)
            seen.set()

            assert await working, "what the loop does meanwhile is seen by it"


async def test_long_reads_leave_the_loop_a_connection(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        seen = threading.Event()
        reading = [asyncio.create_task(store.read(lambda _tx: seen.wait(10), long=True)) for _ in range(40)]
        await asyncio.sleep(0)

        await put(store)
        assert len(await jobs(store)) == 1
        seen.set()
        assert all(await asyncio.gather(*reading))


async def test_who_stops_waiting_for_a_long_read_of_a_file_ends_it(sqlite_url: str) -> None:
    """The statement itself would never end; closing the store waits for its thread."""
    async with asyncio.timeout(8), opened(sqlite_url) as store:
        works = threading.Event()

        def read(tx: Tx) -> None:
            driver(tx).set_progress_handler(works.set, 100)
            tx.lease._connection.exec_driver_sql(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
            )

        await cancelled(store.read(read, long=True), once=works)


async def test_the_loop_goes_on_while_a_server_takes_its_time(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        for transaction in (store.write, store.read):
            working = asyncio.create_task(transaction(lambda tx: tx.lease._connection.exec_driver_sql(SLEEP)))
            await asyncio.to_thread(somebody_sleeps, postgres_url)
            await jobs(store)
            assert not working.done()
            await working


async def test_a_reader_does_not_keep_the_writer_waiting(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.reading() as reading:
            before = reading.delivery.jobs()
            async with asyncio.timeout(5):
                await put(store)

        assert (before, len(await jobs(store))) == ([], 1)


async def test_a_writer_does_not_keep_readers_waiting(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.delivery.put([Put(subject="a", lane=Lane.UPDATE)])
            async with asyncio.timeout(5):
                before = await jobs(store)

        assert (before, len(await jobs(store))) == ([], 1)


async def test_a_transaction_on_a_file_reads_one_moment(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        with store.reading() as reading:
            reading.delivery.jobs()
            await put(store)

            assert reading.delivery.jobs() == []


# SQLite made durable


async def test_every_connection_to_a_file_writes_ahead_and_syncs_fully(sqlite_url: str) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    async with opened(sqlite_url) as store:
        with store.engine.connect() as one, store.engine.connect() as other:
            for connection in (one, other):
                found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted}
                assert found == wanted


async def test_a_second_writer_waits_for_the_first(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as command:
            command.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(put(store))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(writing), 0.2)
            command.execute("COMMIT")
            await writing

        assert len(await jobs(store)) == 1


async def test_a_file_that_another_writer_keeps_is_out_of_reach_until_it_lets_go(sqlite_url: str) -> None:
    store = a_store(sqlite_url, limits=StoreLimits(lock=timedelta(milliseconds=50)))
    with closing(sqlite3.connect(file_of(sqlite_url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable) as refusal:
            await put(store, payload={"comment": SECRET})
        readable = await jobs(store)
        other.execute("ROLLBACK")
    await put(store)

    assert str(refusal.value) == "the store is out of reach: database is locked"
    assert (readable, len(await jobs(store))) == ([], 1)
    await store.aclose()


# Out of reach


@pytest.mark.parametrize("place", ["absent/store.db", "."])
async def test_a_file_that_cannot_be_opened_is_out_of_reach(tmp_path: Path, place: str) -> None:
    store = a_store(f"sqlite:///{tmp_path / place}")

    said = [str(each) for each in refused(store)]

    assert said == ["the store is out of reach: unable to open database file"] * 2
    await store.aclose()


async def test_a_file_that_is_no_database_is_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("[kuma]\nurl = 'https://kuma'\n" * 100, encoding="utf-8")
    store = a_store(f"sqlite:///{tmp_path}/store.db")

    with pytest.raises(StoreUnavailable, match="file is not a database"), store.writing():
        pass

    await store.aclose()


def remount(path: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", path], check=True)


async def test_a_full_disk_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk"):
        url = f"sqlite:///{tmp_path}/disk/store.db"
        async with opened(url) as store:
            await put(store, "before")
            ballast = tmp_path / "disk" / "ballast"
            with pytest.raises(OSError, match="No space left"):
                ballast.write_bytes(bytes(2**21))

            async def fill_up() -> None:
                for number in range(100):
                    await put(store, f"a{number}", payload={"comment": SECRET * 5000})

            with pytest.raises(StoreUnavailable) as refusal:
                await fill_up()
            kept = [row.subject for row in await jobs(store)]
            ballast.unlink()
            await put(store, "after")

            assert "disk is full" in str(refusal.value)
            assert kept == ["before", *(f"a{number}" for number in range(len(kept) - 1))]
            assert [row.subject for row in await jobs(store)] == [*kept, "after"]
        with closing(sqlite3.connect(file_of(url))) as file:
            assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_disk_mounted_read_only_is_out_of_reach_for_writers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk"):
        url = f"sqlite:///{tmp_path}/disk/store.db"
        async with opened(url) as store:
            await put(store, "before")
        remount(tmp_path / "disk", "ro")

        store = a_store(url)
        with pytest.raises(StoreUnavailable) as refusal:
            await put(store)
        remount(tmp_path / "disk", "rw")
        await put(store, "after")

        assert str(refusal.value).startswith("the store is out of reach: ")
        assert [row.subject for row in await jobs(store)] == ["before", "after"]
        await store.aclose()


async def test_a_stopped_server_is_out_of_reach() -> None:
    with postgres.server() as url:
        store = a_store(url, Secret(SECRET))
        with store.reading():
            pass

    for refusal in refused(store):
        assert SECRET not in str(refusal)
        assert "127.0.0.1" not in str(refusal)
        if url.startswith("postgresql://postgres@127.0.0.1:"):
            assert str(refusal) == "the store is out of reach: connection refused"

    await store.aclose()


@pytest.mark.parametrize(
    ("text", "said", "key"),
    [
        ('FATAL:  password authentication failed for user "u"', "the password is refused", "store.password"),
        ("fe_sendauth: no password supplied", "the server asks for a password, and none is given", "store.password"),
        ('FATAL:  database "d" does not exist', "the database does not exist", "store.url"),
        ('FATAL:  role "readonly" does not exist', "the role does not exist", "store.url"),
        ("Connection refused\n\tIs the server running on that host?", "connection refused", "store.url"),
        ("Name 'd'\nMultiple attempts failed:\n- Connection refused", "connection refused", "store.url"),
        ("failed to resolve host 'h': [Errno -2]", "the host is unknown", "store.url"),
        ("connection timeout expired", "timed out", "store.url"),
        ("FATAL:  sorry, too many clients already", "too many connections", ""),
        ('FATAL:  too many connections for role "u"', "too many connections", ""),
        ("FATAL:  the database system is shutting down", "the server is starting or stopping", ""),
        ("consuming input failed: server closed the connection", "the server closed the connection", ""),
        ('FATAL:  role "readonly" is not permitted to log in', "OperationalError", ""),
    ],
)
def test_why_postgresql_cannot_be_reached_is_said_in_our_words(text: str, said: str, key: str) -> None:
    failure = psycopg.OperationalError(f'connection to server at "db.internal", port 5432 failed: {text} {SECRET}')

    with pytest.raises(StoreUnavailable) as refusal, engine.translated():
        raise OperationalError(None, None, failure)

    assert (str(refusal.value), refusal.value.key) == (f"the store is out of reach: {said}", key)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"username": "ghost"}, "the role does not exist"),
        ({"database": "nowhere"}, "the database does not exist"),
        ({"host": "no.such.invalid"}, "the host is unknown"),
        ({"host": "/nowhere"}, "there is no such socket"),
    ],
)
async def test_what_is_wrong_in_the_address_of_postgresql_is_told(
    postgres_url: str, changed: dict[str, str], said: str
) -> None:
    url = make_url(postgres_url)
    url = url.set(query={}) if "host" in changed else url
    store = a_store(url.set(**changed).render_as_string(hide_password=False))

    with pytest.raises(StoreUnavailable) as refusal, store.reading():
        pass

    assert str(refusal.value) == f"the store is out of reach: {said}"
    await store.aclose()


def cut_off(operator: psycopg.Connection, which: str) -> int:
    """End these connections, other than the operator's own; return how many, once they are gone."""
    ended = operator.execute(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {which} AND pid <> pg_backend_pid()"
    ).fetchall()
    return len(ended)


@contextmanager
def guarded() -> Iterator[tuple[str, psycopg.Connection]]:
    """A server that asks the role `sync` for its password, `right`: its URL, and a connection that may change that."""
    with postgres.restartable() as server:
        if server is None:
            pytest.skip("needs Debian's PostgreSQL")
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE sync LOGIN PASSWORD 'right'")
            found = connection.execute("SHOW hba_file").fetchone()
            assert found
            Path(found[0]).write_text("host all sync 127.0.0.1/32 scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
            yield make_url(server.url).set(username="sync").render_as_string(), connection


async def test_a_password_that_changes_in_its_file_is_used_by_the_next_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("right\n")
    with guarded() as (url, server):
        store = a_store(url, Secret(path=file))
        with store.reading():
            pass
        server.execute("ALTER ROLE sync PASSWORD 'changed'")
        assert cut_off(server, "usename = 'sync'") == 1
        with pytest.raises(StoreUnavailable, match="the password is refused"), store.reading():
            pass
        file.write_text("changed\n")
        with store.reading():
            pass
        await store.aclose()

    assert masked("it is changed") != "it is changed", "the new one, too, is kept out of logs"


async def test_a_password_that_is_wrong_or_missing_is_told_without_it() -> None:
    with guarded() as (url, _server):
        said = set[str]()
        for password in (Secret(SECRET), Secret()):
            store = a_store(url, password)
            with pytest.raises(StoreUnavailable) as refusal, store.reading():
                pass
            said.add(str(refusal.value).removeprefix("the store is out of reach: "))
            await store.aclose()

    assert said == {"the password is refused", "the server asks for a password, and none is given"}


async def test_a_database_that_was_shut_works_again_without_a_restart_of_ours(new_postgres_url: str) -> None:
    maintenance = new_postgres_url.replace("/brand_new", "/postgres")
    async with opened(new_postgres_url) as store:
        await put(store, "before")
        with psycopg.connect(maintenance, autocommit=True) as operator:
            operator.execute("ALTER DATABASE brand_new ALLOW_CONNECTIONS false")
            cut_off(operator, "datname = 'brand_new'")
            with pytest.raises(StoreUnavailable):
                await put(store)
            operator.execute("ALTER DATABASE brand_new ALLOW_CONNECTIONS true")

        await put(store, "after")

        assert [row.subject for row in await jobs(store)] == ["before", "after"]


@pytest.mark.parametrize("asleep", [5.0, 0.0])
async def test_a_connection_cut_while_nobody_used_it_is_replaced_without_a_word(
    postgres_url: str, asleep: float
) -> None:
    limits = StoreLimits(asleep=timedelta(seconds=asleep))
    async with opened(postgres_url, limits=limits) as store:
        await asyncio.gather(*(store.read(lambda tx: tx.lease._connection.exec_driver_sql(SLEEP)) for _ in range(2)))
        await put(store, "before")
        with psycopg.connect(postgres_url, autocommit=True) as operator:
            cut = cut_off(operator, "datname = current_database()")

        await put(store, "after")

        assert cut == 2
        assert [row.subject for row in await jobs(store)] == ["before", "after"]


async def test_a_connection_that_the_driver_gave_up_is_replaced_without_a_word(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        await put(store, "before")
        (await store.read(driver)).pgconn.finish()

        await put(store, "after")

        assert [row.subject for row in await jobs(store)] == ["before", "after"]


async def test_a_server_that_acknowledges_nothing_is_given_up_after_ten_seconds(postgres_url: str) -> None:
    """So the kernel was told; to lose packets takes a network of one's own."""
    async with opened(postgres_url) as store:
        with store.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            with socket.socket(fileno=os.dup(raw.fileno())) as its_socket:
                if its_socket.family == socket.AF_UNIX:
                    pytest.skip("this server is reached without TCP; Debian's is reached with it")
                told = its_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert told == 10_000


async def test_a_connection_that_slept_is_asked_before_it_is_used(postgres_url: str) -> None:
    """Nothing can be read from it until something is sent: so it is where a firewall forgot it."""

    def reset(far_end: socket.socket) -> None:
        far_end.recv(1)
        far_end.close()

    async with opened(postgres_url, limits=StoreLimits(asleep=timedelta())) as store:
        await put(store, "before")
        descriptor = (await store.read(driver)).fileno()
        ours, far_end = socket.socketpair()
        firewall = threading.Thread(target=reset, args=[far_end])
        firewall.start()
        os.dup2(ours.fileno(), descriptor)
        ours.close()

        await put(store, "after")

        firewall.join()
        assert [row.subject for row in await jobs(store)] == ["before", "after"]


async def test_a_connection_cut_in_the_middle_of_a_transaction_leaves_nothing_behind(postgres_url: str) -> None:
    async with opened(postgres_url) as store:

        def write_while_being_cut_off(tx: Tx) -> None:
            tx.delivery.put([Put(subject="a", lane=Lane.UPDATE, payload={"comment": SECRET})])
            with psycopg.connect(postgres_url, autocommit=True) as operator:
                cut_off(operator, "datname = current_database()")
            tx.delivery.jobs()

        with pytest.raises(StoreUnavailable) as refusal:
            await store.write(write_while_being_cut_off)

        assert SECRET not in str(refusal.value)
        assert "SELECT" not in str(refusal.value)
        assert await jobs(store) == []


async def test_a_server_east_of_greenwich_gives_back_the_last_hour_there_is(new_postgres_url: str) -> None:
    with psycopg.connect(new_postgres_url, autocommit=True) as operator:
        operator.execute("ALTER DATABASE brand_new SET timezone = 'Europe/Moscow'")
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    alert = an_alert(last_seen=last)
    async with opened(new_postgres_url) as store:
        with store.writing() as tx:
            shown = Shown(snapshot=AlertSnapshot(alert=alert), shape=Shape.LISTING, digest=None)
            tx.alerts.save([shown], now=NOW, sweep=0)
        with store.reading() as tx:
            newest = tx.alerts.newest([alert.id])

    assert newest == last


async def test_what_is_too_long_for_postgresql_is_not_taken_for_a_store_out_of_reach(postgres_url: str) -> None:
    """Its neighbours would wait for it as for a server that is away."""
    endless = "".join(str(uuid.uuid4()) for _ in range(2000))  # so that it cannot be compressed
    async with opened(postgres_url) as store:
        with pytest.raises(ValueRefused, match=r"ProgramLimitExceeded \(54000\)"):
            await put(store, endless)
        await put(store, "neighbour")

        assert [row.subject for row in await jobs(store)] == ["neighbour"]


async def test_a_refused_row_is_no_store_out_of_reach_and_shows_no_values(
    database_url: str,
) -> None:
    nameless = AlertSnapshot(alert=an_alert(rule_id=None, assignee=SECRET))
    async with opened(database_url) as store:
        shown = Shown(snapshot=nameless, shape=Shape.LISTING, digest=None)
        with pytest.raises(ValueRefused, match="the database takes no such value: ") as refusal:
            await store.write(lambda tx: tx.alerts.save([shown], now=tx.now, sweep=0))

    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("words", ["a NUL \x00", "half a pair \ud83d"])
async def test_texts_for_people_are_kept_without_what_no_database_holds(database_url: str, words: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.audit.note(words, "action", "a", words)
            tx.links.add([a_link(close_origin=Origin.IRP, close_comment=words)], now=tx.now)
        with store.reading() as tx:
            (entry,) = tx.audit.history("a")
            link = tx.links.get(ALERT_ID)

    kept = f"{words[:-1]}\ufffd"
    assert link is not None
    assert (entry.actor, entry.detail, link.close_comment) == (kept, kept, kept)


async def test_a_name_that_no_database_holds_is_refused_alone(database_url: str) -> None:
    async with opened(database_url) as store:
        with pytest.raises(ValueRefused):
            await put(store, "half a pair \ud83d")
        await put(store, "neighbour")

        assert [row.subject for row in await jobs(store)] == ["neighbour"]


async def test_a_mistake_of_ours_is_not_taken_for_a_store_out_of_reach(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        with store.engine.connect() as connection, pytest.raises(DBAPIError) as mistake, engine.translated():
            connection.exec_driver_sql("SELECT FROM WHERE")

    assert not isinstance(mistake.value, StoreUnavailable)


# Addresses


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sqlite:///kuma-sync.db", "sqlite+pysqlite:///kuma-sync.db"),
        ("sqlite:////var/lib/kuma-sync/store.db", "sqlite+pysqlite:////var/lib/kuma-sync/store.db"),
        ("postgresql://kuma:own@db/sync", "postgresql+psycopg://kuma:own@db/sync"),
    ],
)
def test_an_address_names_the_driver(text: str, shown: str) -> None:
    assert store_url(text).render_as_string(hide_password=False) == shown
