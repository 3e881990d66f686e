"""A PostgreSQL set up by others: what is relied on is set, and what cannot be used is refused in a sentence."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import postgres as servers
import psycopg
import pytest
from builders import NOW
from odd_role import ODD, odd_role
from pooler import pooled
from queue_steps import jobs, put
from sqlalchemy import make_url
from stores import opened

from kuma_sync.core.errors import ConfigError, StoreError, StoreUnavailable
from kuma_sync.store import Lane, Put, Store, Tx, postgres, store_url
from kuma_sync.store.migrate import assure_writable, upgrade

RELIED_ON = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, DMY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "idle_session_timeout": "0",
    "synchronous_commit": "on",
    "jit": "off",
    "random_page_cost": "1.1",
}


@contextmanager
def reached(url: str, way: str) -> Iterator[str]:
    """Give a database's URL, straight or by way of a pooler."""
    if way == "straight":
        yield url
        return
    with pooled(url, users=["odd"]) as through:
        yield through


@asynccontextmanager
async def a_store(url: str) -> AsyncIterator[Store]:
    store = Store(store_url(url), clock=lambda: NOW)
    try:
        yield store
    finally:
        await store.aclose()


def in_force(tx: Tx) -> dict[str, str]:
    connection = tx.lease._connection
    return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in RELIED_ON}


# What is relied on


@pytest.mark.parametrize("way", ["straight", "pooled"])
async def test_a_transaction_has_what_it_relies_on_whatever_a_role_was_given(postgres_url: str, way: str) -> None:
    with odd_role(postgres_url, **ODD) as odd, reached(odd, way) as url:
        async with a_store(url) as store:
            for _ in range(3):
                with store.writing() as tx:
                    found = in_force(tx)

    assert found == RELIED_ON


@pytest.mark.parametrize("way", ["straight", "pooled"])
async def test_a_transaction_stands_still_and_works_longer_than_a_role_may(postgres_url: str, way: str) -> None:
    with odd_role(postgres_url, **ODD) as odd, reached(odd, way) as url:
        async with a_store(url) as store:
            with store.writing() as tx:
                await asyncio.sleep(1.3)
                tx.lease._connection.exec_driver_sql("SELECT pg_sleep(1.3)")
                tx.links.open_count()


async def test_how_many_copies_are_waited_for_stays_the_servers_matter(postgres_url: str) -> None:
    with odd_role(postgres_url, synchronous_commit="remote_apply") as url:
        async with a_store(url) as store:
            with store.writing() as tx:
                found = in_force(tx)["synchronous_commit"]

    assert found == "remote_apply"


async def test_what_an_environment_says_to_the_driver_changes_nothing(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGDATESTYLE", "German")
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=5 -c default_transaction_isolation=serializable")
    async with a_store(postgres_url) as store:
        with store.writing() as tx:
            found = in_force(tx)

    assert found == {**RELIED_ON, "DateStyle": found["DateStyle"]}
    assert found["DateStyle"].startswith("ISO")


async def test_what_is_set_behind_a_pooler_is_not_left_to_others(postgres_url: str) -> None:
    with pooled(postgres_url, size=1) as url:
        async with a_store(url) as store:
            await put(store)
        with psycopg.connect(url) as other:
            found = [other.execute(f"SHOW {name}").fetchone() for name in ("lock_timeout", "statement_timeout")]

    assert found == [("0",), ("0",)]


@pytest.mark.parametrize(("way", "prepared"), [("straight", True), ("pooled", False)])
async def test_statements_are_prepared_where_they_are_still_there_the_next_time(
    postgres_url: str, way: str, prepared: bool
) -> None:
    with reached(postgres_url, way) as url:
        async with a_store(url) as store:
            for _ in range(12):
                await put(store)
            count = await store.read(
                lambda tx: tx.lease._connection.exec_driver_sql(
                    "SELECT count(*) FROM pg_prepared_statements"
                ).scalar_one()
            )

    assert (count > 0) is prepared


async def test_a_pooler_that_passes_for_the_server_is_found_out_and_harms_nothing(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may name the very process that answers first, and then take another one."""
    monkeypatch.setattr(postgres, "is_shared", lambda _connection, _process: False)

    async def busy(store: Store, number: int) -> list[str]:
        said = []
        for count in range(12):
            try:
                await put(store, f"a{number}.{count}")
            except StoreUnavailable as error:
                said.append(str(error))
        return said

    with pooled(postgres_url, size=2) as url:
        async with a_store(url) as store:
            said = list(chain(*await asyncio.gather(*(busy(store, number) for number in range(4)))))
            again = list(chain(*await asyncio.gather(*(busy(store, number) for number in range(4, 8)))))

    assert said, "the test wants it to fail before it is found out"
    assert all("a pooler in between forgets prepared statements" in reason for reason in said), said
    assert again == []


async def test_a_pooler_that_goes_away_is_waited_for(postgres_url: str) -> None:
    with pooled(postgres_url) as url:
        async with a_store(url) as store:
            await put(store, "before")
    async with a_store(url) as store:
        with pytest.raises(StoreUnavailable, match="connection refused"):
            await put(store)


@pytest.mark.parametrize(
    ("mode", "changed", "said"),
    [
        ("statement", {}, "a pooler in between lends no connection for a whole transaction"),
        ("transaction", {"username": "ghost"}, "a pooler in between does not know the role"),
        ("transaction", {"database": "nowhere"}, "the database does not exist"),
        (
            "transaction",
            {"query": {"options": "-c search_path=public"}},
            "a pooler in between takes no options for a connection",
        ),
    ],
)
async def test_what_is_wrong_with_a_pooler_is_told(
    postgres_url: str, mode: str, changed: dict[str, Any], said: str
) -> None:
    with pooled(postgres_url, mode=mode) as url:
        found = await refused(make_url(url).set(**changed).render_as_string(hide_password=False))

    assert found == said


async def test_a_pooler_that_lends_for_a_session_works_as_well(postgres_url: str) -> None:
    with pooled(postgres_url, mode="session") as url:
        async with a_store(url) as store:
            for _ in range(12):
                await put(store)


async def test_who_gets_no_more_connections_waits_for_one_of_its_own(postgres_url: str) -> None:
    def write(number: int, tx: Tx) -> None:
        tx.links.open_count()
        time.sleep(0.01)
        tx.delivery.put([Put(subject=f"a{number}", lane=Lane.UPDATE)])

    with odd_role(postgres_url, limit=2) as url:
        async with a_store(url) as store:
            await asyncio.gather(*(store.write(partial(write, number)) for number in range(40)))

            assert len(await jobs(store)) == 40


async def test_who_gets_no_connection_at_all_does_not_wait(postgres_url: str) -> None:
    with odd_role(postgres_url, limit=1) as url, psycopg.connect(url):
        said = await refused(url)

    assert said == "too many connections"


# What cannot be used


@pytest.mark.parametrize("encoding", ["WIN1251", "LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("way", ["straight", "pooled"])
async def test_a_database_of_another_encoding_is_refused_in_a_sentence(
    postgres_server: str, encoding: str, way: str
) -> None:
    with servers.encoded(postgres_server, encoding) as behind, reached(behind, way) as url:
        async with a_store(url) as store:
            for use in (upgrade, assure_writable):
                with pytest.raises(ConfigError) as refusal:
                    await use(store)

    assert refusal.value.key == "store.url"
    assert f"encoded in {encoding}, expected UTF8" in refusal.value.problem
    assert "createdb --encoding=UTF8" in refusal.value.problem


async def test_the_command_that_makes_a_database_is_one_that_works(postgres_server: str) -> None:
    program = servers.debian_binaries()
    if program is None:
        pytest.skip("needs Debian's PostgreSQL")
    with servers.encoded(postgres_server, "LATIN1") as latin, servers.database(postgres_server, "unused"):
        async with a_store(latin) as store:
            with pytest.raises(ConfigError) as refusal:
                upgrade(store)
        words = refusal.value.problem.partition("`createdb ")[2].partition(" NAME`")[0].split()
        url = make_url(postgres_server)
        where = ["-h", str(url.host), "-p", str(url.port), "-U", str(url.username)]
        command = [str(program / "createdb"), *words, *where, "made"]
        await asyncio.to_thread(subprocess.run, command, check=True, cwd="/")
        try:
            async with opened(url.set(database="made").render_as_string(hide_password=False)):
                pass
        finally:
            with psycopg.connect(postgres_server, autocommit=True) as operator:
                operator.execute("DROP DATABASE made WITH (FORCE)")


@pytest.mark.parametrize("way", ["straight", "pooled"])
async def test_a_search_path_that_names_no_schema_is_refused_in_a_sentence(new_postgres_url: str, way: str) -> None:
    with odd_role(new_postgres_url, search_path="nowhere") as odd, reached(odd, way) as url:
        async with a_store(url) as store:
            for use in (upgrade, assure_writable):
                with pytest.raises(StoreError, match="search_path names no schema") as refusal:
                    await use(store)

    assert not isinstance(refusal.value, StoreUnavailable), "it must not be waited for"


async def test_a_schema_of_our_own_is_used(new_postgres_url: str) -> None:
    with psycopg.connect(new_postgres_url, autocommit=True) as operator:
        operator.execute("CREATE SCHEMA ours")
        with odd_role(new_postgres_url, search_path="ours") as url:
            operator.execute("GRANT ALL ON SCHEMA ours TO odd")
            async with opened(url) as store:
                await put(store)
            found = operator.execute("SELECT count(*) FROM ours.delivery_queue").fetchone()

    assert found == (1,)


@pytest.mark.parametrize("right", ["CREATE", "UPDATE"])
async def test_a_right_that_is_missing_is_told_before_it_is_needed(new_postgres_url: str, right: str) -> None:
    with psycopg.connect(new_postgres_url, autocommit=True) as operator:
        if right == "UPDATE":
            async with opened(new_postgres_url):
                pass
        with odd_role(new_postgres_url) as url:
            if right == "CREATE":
                operator.execute("REVOKE CREATE ON SCHEMA public FROM odd, PUBLIC")
            else:
                operator.execute("REVOKE UPDATE ON links FROM odd")
            async with a_store(url) as store:
                with pytest.raises(StoreError, match="its role may not do that"):
                    assure_writable(store)


def test_a_server_that_is_too_old_is_refused_in_a_sentence() -> None:
    told = {"server_encoding": "UTF8"}
    old = SimpleNamespace(info=SimpleNamespace(server_version=90624, parameter_status=told.get))

    with pytest.raises(ConfigError, match=r"store\.url: this server is PostgreSQL 9, expected 10 or newer"):
        postgres.assure_suitable(old)


# A standby


@contextmanager
def standby() -> Iterator[tuple[str, str, servers.Server]]:
    """A server with a migrated database that becomes a standby: the URLs of both its databases, and itself."""
    with servers.restartable() as server:
        if server is None:
            pytest.skip("needs Debian's PostgreSQL")
        with servers.database(server.url, "ours") as url:
            yield url, server.url, server


@pytest.mark.parametrize("way", ["straight", "pooled"])
async def test_a_standby_is_waited_for_until_it_takes_writes(way: str) -> None:
    with standby() as (behind, maintenance, server), reached(behind, way) as url:
        async with opened(url) as store:
            await put(store, "before")
            server.demote()
            said = []
            for use in (put, upgrade_and_put, assured):
                with pytest.raises(StoreUnavailable) as refusal:
                    await use(store)
                said.append(str(refusal.value))
            readable = await jobs(store)
            with psycopg.connect(maintenance, autocommit=True) as operator:
                operator.execute("SELECT pg_promote()")
            await eventually_put(store, "after")

            assert {text.removeprefix("the store is out of reach: ") for text in said} == {postgres.READ_ONLY}
            assert [job.subject for job in readable] == ["before"]
            assert [job.subject for job in await jobs(store)] == ["before", "after"]


async def upgrade_and_put(store: Store) -> None:
    """Do what a daemon does at its start."""
    upgrade(store)
    await put(store)


async def assured(store: Store) -> None:
    assure_writable(store)


async def eventually_put(store: Store, subject: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            await put(store, subject)
        except StoreUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        else:
            return


# Languages


@contextmanager
def speaking(language: str, folder: Path) -> Iterator[servers.Server]:
    """Start a server that says in a language what it refuses."""
    binaries = servers.debian_binaries()
    if binaries is None:
        pytest.skip("needs Debian's PostgreSQL")
    folder.chmod(0o755)
    made = subprocess.run(
        ["localedef", "-i", language, "-f", "UTF-8", folder / f"{language}.UTF-8"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"this machine has no locale {language}: {made.stderr.strip()}")
    before = os.environ.get("LOCPATH")
    os.environ["LOCPATH"] = str(folder)
    server = servers.Server(binaries)
    try:
        server.start("-c", f"lc_messages={language}.UTF-8")
        yield server
    finally:
        server.stop()
        if before is None:
            del os.environ["LOCPATH"]
        else:
            os.environ["LOCPATH"] = before


@pytest.mark.parametrize("language", ["ru_RU", "de_DE"])
async def test_a_server_that_speaks_another_language_is_understood(language: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, speaking(language, Path(folder)) as server:
        with psycopg.connect(server.url, autocommit=True) as operator:
            with pytest.raises(psycopg.Error, match=r"[^\x00-\x7f]"):
                operator.execute("SELECT * FROM none")
            operator.execute("CREATE ROLE one LOGIN CONNECTION LIMIT 0")
            operator.execute("CREATE ROLE asked LOGIN PASSWORD 'right'")
            found = operator.execute("SHOW hba_file").fetchone()
            assert found
            rules = ["host all asked all scram-sha-256", "host all one,postgres,ghost all trust"]
            Path(found[0]).write_text("\n".join(rules) + "\n")
            operator.execute("SELECT pg_reload_conf()")
        url = make_url(server.url)
        said = [
            await refused(url.set(**changed).render_as_string(hide_password=False))
            for changed in (
                {"database": "nowhere"},
                {"username": "ghost"},
                {"username": "one"},
                {"username": "nobody"},
                {"username": "asked", "password": "wrong"},
            )
        ]

    assert said == [
        "the database does not exist",
        "the role does not exist",
        "too many connections",
        "the server's pg_hba.conf does not let us in",
        "the password is refused",
    ]


async def refused(url: str) -> str:
    async with a_store(url) as store:
        with pytest.raises(StoreUnavailable) as refusal:
            await jobs(store)
    return str(refusal.value).removeprefix("the store is out of reach: ")


# A prepared statement whose table changed


async def test_a_table_that_another_copy_changes_parks_nothing(new_postgres_url: str) -> None:
    async with opened(new_postgres_url) as store:
        for number in range(12):
            await put(store, f"a{number}")
            await claimed(store)
        with psycopg.connect(new_postgres_url, autocommit=True) as operator:
            operator.execute("ALTER TABLE delivery_queue ALTER COLUMN lane TYPE bigint")
        with pytest.raises(StoreUnavailable):
            await claimed(store)
        await put(store, "after")

        assert await claimed(store) == 1


async def claimed(store: Store) -> int:
    with store.writing() as tx:
        return len(tx.delivery.claim(100, owner="me", lease=timedelta(minutes=1)))
