"""Revisions are read off the file names, so that a start need not load Alembic; every write looks at the store's."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from alembic.script import ScriptDirectory
from queue_steps import jobs, put
from stores import Clock, opened

from kuma_sync.core.errors import StoreReplaced
from kuma_sync.store import Store, store_url
from kuma_sync.store.revisions import UPGRADES, head, known, migrations_path


def test_the_files_are_named_after_their_revisions() -> None:
    scripts = ScriptDirectory(str(migrations_path()))

    revisions = [script.revision for script in scripts.walk_revisions()]

    assert known() == revisions[::-1]
    assert head() == scripts.get_current_head()


def test_a_start_loads_no_alembic() -> None:
    code = "import sys, kuma_sync.app.lifecycle; sys.exit('alembic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def changes_the_schema(url: str, revision: str) -> None:
    """Do what another version of the program does when it upgrades the store."""
    other = Store(store_url(url), clock=Clock())
    try:
        with other.migrating() as connection:
            if not other.local:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPGRADES})")
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    finally:
        other.close()


async def test_nothing_is_written_once_another_version_changed_the_schema(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "before")
        changes_the_schema(database_url, "9999")
        try:
            for _ in range(2):
                with pytest.raises(StoreReplaced, match=rf"its schema became 9999, this kuma-sync works with {head()}"):
                    await put(store, "after")
                with pytest.raises(StoreReplaced), store.writing():
                    raise AssertionError("nobody gets so far")
        finally:
            changes_the_schema(database_url, head())
        await put(store, "again")

        assert {job.subject for job in await jobs(store)} == {"before", "again"}


async def test_who_writes_while_the_schema_changes_waits_and_writes_nothing(postgres_url: str) -> None:
    newer = Store(store_url(postgres_url), clock=Clock())
    async with opened(postgres_url) as store:
        await put(store, "before")
        with newer.migrating() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPGRADES})")
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
            writing = asyncio.ensure_future(put(store, "meanwhile"))
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not connection.exec_driver_sql(waiting).scalar_one():
                await asyncio.sleep(0.01)
        newer.close()
        with pytest.raises(StoreReplaced):
            await writing
        changes_the_schema(postgres_url, head())

        assert {job.subject for job in await jobs(store)} == {"before"}
