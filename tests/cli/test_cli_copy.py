"""`db copy`: the whole store from SQLite into an empty PostgreSQL, on which a daemon then goes on."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prompt import World, ask, daemon, until, world
from stores import dump, opened

from kuma_sync.core.errors import StoreError
from kuma_sync.sim.comparison import compare
from kuma_sync.store import schema


async def tables(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, as the program reads it."""
    async with opened(url) as store:
        with store.connected() as connection:
            return {
                table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
                for table in schema.metadata.sorted_tables
            }


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


async def filled(w: World) -> None:
    """Fill the store: delivered, parked, closed and held alerts, a hand-made closing, a history."""
    w.kuma.knobs.strays = [{"name": "no id"}]
    raised = [w.kuma.raise_alert(name=f"R00{number} «Вход»") for number in range(6)]
    assert (await ask("run", "--once", *w.c)).code == 1, "the stray is parked"
    w.kuma.close(raised[0])
    w.kuma.grow(raised[1])
    w.irp.faults.add("status", code=422, match="/api/v1/incidents", times=1)
    w.kuma.raise_alert()
    assert (await ask("run", "--once", *w.c)).code == 1


async def test_every_row_arrives_and_the_file_stays_as_it_was(new_postgres_url: str, tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await filled(w)
        before, file = await tables(f"sqlite:///{tmp_path}/store.db"), digest(tmp_path / "store.db")

        copied = await ask("db", "copy", new_postgres_url, *w.c)

    rows = sum(map(len, before.values()))
    assert (copied.code, copied.err) == (0, "")
    assert copied.out.startswith(f"{rows} rows of ")
    assert "7 alerts among them" in copied.out
    assert await tables(new_postgres_url) == before
    assert digest(tmp_path / "store.db") == file


async def test_a_daemon_goes_on_with_the_copy_and_its_new_rows_get_new_numbers(
    new_postgres_url: str, tmp_path: Path
) -> None:
    async with world(tmp_path, privacy={"mask_fields": ["SourceUserName"]}) as w:
        await filled(w)
        assert (await ask("db", "copy", new_postgres_url, *w.c)).code == 0
        before = await tables(new_postgres_url)
        queued = await _highest(f"sqlite:///{tmp_path}/store.db")
        w.tables["store"]["url"] = new_postgres_url
        moved = World(kuma=w.kuma, irp=w.irp, folder=w.folder, tables=w.tables)
        w.config.write_text(Path(moved.configured()[1]).read_text())
        w.kuma.knobs.strays = []
        made = len(w.irp.incidents)
        async with daemon(w):
            w.kuma.raise_alert()
            await until(lambda: len(w.irp.incidents) == made + 1)
            assert (await ask("retry", "--all", *w.c)).code == 1, "the stray is still no alert"
            await until(lambda: compare(w.kuma, w.irp).agrees)
        after = await tables(new_postgres_url)

    ids = {name: [row[0] for row in after[name]] for name in ("audit", "passes")}
    assert all(len(set(numbers)) == len(numbers) for numbers in ids.values())
    assert max(ids["audit"]) > max(row[0] for row in before["audit"])
    assert set(before["audit"]) <= set(after["audit"])
    assert [row for row in after["console_keys"] if row[0] == "masking"] == [
        row for row in before["console_keys"] if row[0] == "masking"
    ]
    assert await _next_job(new_postgres_url) > queued
    assert w.irp.doubled() == []


async def _highest(url: str) -> int:
    """Return the highest number that a job of the delivery queue ever had."""
    async with opened(url) as store:
        with store.connected() as connection:
            found = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'delivery_queue'")
            return int(found.scalar_one())


async def _next_job(url: str) -> int:
    async with opened(url) as store:
        with store.connected() as connection:
            found = connection.exec_driver_sql("SELECT nextval(pg_get_serial_sequence('delivery_queue', 'id'))")
            return int(found.scalar_one())


async def test_a_store_that_a_daemon_works_on_is_not_copied(new_postgres_url: str, tmp_path: Path) -> None:
    async with world(tmp_path) as w, daemon(w):
        await until((tmp_path / "store.db").exists)
        w.kuma.raise_alert()
        await until(lambda: w.irp.incidents)
        held = await ask("db", "copy", new_postgres_url, *w.c)

    assert held.code == 1
    assert "another kuma-sync daemon holds" in held.sentence


async def test_a_database_that_holds_anything_is_refused_and_stays_as_it_is(postgres_url: str, tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert()
        assert (await ask("run", "--once", *w.c)).code == 0
        async with opened(postgres_url) as store:
            await store.write(lambda tx: tx.cursor.bind("another"))
        before = await tables(postgres_url)
        refused = await ask("db", "copy", postgres_url, *w.c)

    assert refused.code == 1
    assert refused.sentence == ("kuma-sync: the store to copy into is not empty: cursor (1); give an empty database")
    assert await tables(postgres_url) == before


async def test_a_copy_that_broke_off_leaves_nothing_and_can_be_made_again(
    new_postgres_url: str, tmp_path: Path
) -> None:
    async with world(tmp_path) as w:
        await filled(w)
        async with opened(new_postgres_url) as target:
            with target.connected() as connection:
                connection.exec_driver_sql("ALTER TABLE audit ADD CONSTRAINT odd CHECK (action <> 'created')")
                connection.commit()
        broken = await ask("db", "copy", new_postgres_url, *w.c)
        left = await tables(new_postgres_url)
        async with opened(new_postgres_url) as target:
            with target.connected() as connection:
                connection.exec_driver_sql("ALTER TABLE audit DROP CONSTRAINT odd")
                connection.commit()
        again = await ask("db", "copy", new_postgres_url, *w.c)

    assert broken.code == 1
    assert broken.err.splitlines()[-1] == "kuma-sync: the database takes no such value: CheckViolation (23514)"
    assert not any(left.values())
    assert again.code == 0, again.err
    assert await tables(new_postgres_url) == await tables(f"sqlite:///{tmp_path}/store.db")


async def test_nobody_writes_to_either_store_while_it_is_copied(sqlite_url: str, postgres_url: str) -> None:
    tried = list[str]()

    async with opened(sqlite_url) as source, opened(postgres_url) as target:
        await source.write(lambda tx: tx.audit.note("me", "before"))
        with target.connected() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN PERFORM pg_sleep(1); RETURN NEW; END'"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER slow BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION slow()"
            )
            connection.commit()
        try:
            copying = asyncio.create_task(asyncio.to_thread(source.move_to, target))
            await until(lambda: _is_locked(postgres_url))
            for store in (source, target):
                await store.write(lambda tx: tx.audit.note("me", "after"))
                tried.append("copied" if copying.done() else "beside")
            counts = await copying
        finally:
            with target.connected() as connection:
                connection.exec_driver_sql("DROP TRIGGER slow ON audit")
                connection.exec_driver_sql("DROP FUNCTION slow()")
                connection.commit()

    assert counts["audit"] == 1
    assert tried == ["copied", "copied"]


def _is_locked(url: str) -> bool:
    found = "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'audit'::regclass"
    with psycopg.connect(url) as connection:
        return connection.execute(found).fetchone() == (1,)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///x.db", "db backup FILE"),
        ("mysql://u@h/d", 'expected "sqlite:///path/of/file.db" or "postgresql://user@host/database"'),
        ("postgresql://u:canary-pass@127.0.0.1:1/db", "connection refused"),
    ],
)
async def test_an_address_that_will_not_do_is_refused_without_its_password(
    sqlite_url: str, tmp_path: Path, url: str, said: str
) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        refused = await ask("db", "copy", url, *w.c)

    assert refused.code == (1 if "canary" in url else 2)
    assert said in refused.err.replace("\n", " ")
    assert "canary-pass" not in refused.err + refused.out


async def test_a_store_in_postgresql_is_copied_by_its_own_tools(postgres_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": postgres_url}) as w:
        refused = await ask("db", "copy", "postgresql://u@h/d", *w.c)

    assert refused.code == 2
    assert "pg_dump" in refused.err


async def test_rows_that_did_not_arrive_are_noticed_and_nothing_is_kept(sqlite_url: str, postgres_url: str) -> None:
    async with opened(sqlite_url) as source, opened(postgres_url) as target:
        await source.write(lambda tx: tx.audit.note("me", "before"))
        with target.connected() as connection:
            connection.exec_driver_sql("CREATE RULE lost AS ON INSERT TO audit DO INSTEAD NOTHING")
            connection.commit()
        try:
            with pytest.raises(StoreError, match="not every row arrived, nothing was kept: audit"):
                await asyncio.to_thread(source.move_to, target)
        finally:
            with target.connected() as connection:
                connection.exec_driver_sql("DROP RULE lost ON audit")
                connection.commit()
        assert dump(target) == ""
