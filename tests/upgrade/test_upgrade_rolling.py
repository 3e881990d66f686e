"""A newer program beside an older one, and the older one put back: nothing is lost or doubled.

The newer program is this one with one more migration.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from forked import ended
from stage import Child, Stage, eventually, staged

import kuma_sync
from kuma_sync.store.revisions import head, migrations_path

NEWER = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{head}"


def upgrade() -> None:
    op.add_column("links", sa.Column("of_the_future", sa.Text(), nullable=False, server_default="x"))
"""


@pytest.fixture
def newer_program(tmp_path: Path) -> Path:
    """A folder with a program that knows one schema more."""
    folder = tmp_path / "newer"
    shutil.copytree(Path(kuma_sync.__file__).parent, folder / "kuma_sync", ignore=shutil.ignore_patterns("migrations"))
    shutil.copytree(migrations_path(), folder / "migrations")
    (folder / "migrations" / "versions" / "9999_future.py").write_text(NEWER.format(head=head()))
    return folder


async def started(program: Path, stage: Stage, *words: str) -> asyncio.subprocess.Process:
    """Start a command of another program."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kuma_sync", *words, "-c", str(stage.config)),
        cwd=program,  # where `-m` looks first
        env={**os.environ, "PYTHONPATH": str(program)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


@asynccontextmanager
async def newer_daemon(program: Path, stage: Stage) -> AsyncIterator[None]:
    process = await started(program, stage, "run")
    try:
        yield
    finally:
        process.terminate()
        assert await process.wait() == 0


def on(url: str, statement: str) -> Callable[[], list[tuple[object, ...]]]:
    """Return what asks the database, or tells it something, whatever its schema is."""

    def asked() -> list[tuple[object, ...]]:
        with psycopg.connect(url, autocommit=True) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []

    return asked


def _ended_under_load(older: Child, stage: Stage) -> bool:
    if older.process.returncode is None and stage.agrees():
        stage.kuma.raise_alert()
    return older.process.returncode is not None


async def test_an_older_copy_ends_and_a_newer_one_goes_on(
    tmp_path: Path, newer_program: Path, new_postgres_url: str
) -> None:
    async with staged(tmp_path, new_postgres_url) as stage:
        raised = [stage.kuma.raise_alert() for _ in range(20)]
        async with stage.daemon() as older:
            await eventually(lambda: len(stage.irp.incidents) >= 5)
            async with newer_daemon(newer_program, stage):
                await eventually(lambda: _ended_under_load(older, stage), within=40)
                code, said = await older.ended(), older.log.read_text()
                # What the older one had in hand is leased for another minute, the reading for half a minute.
                on(new_postgres_url, "UPDATE delivery_queue SET lease_until = now() WHERE state = 'running'")()
                on(new_postgres_url, "UPDATE lease SET expires_at = now()")()
                stage.kuma.grow(raised[0])
                stage.kuma.close(raised[1])
                await eventually(stage.agrees, within=40)
                refused = stage.start()
                refused_code = await refused.ended()

    assert (code, refused_code) == (1, 1)
    assert said.splitlines()[-1] == (
        f"kuma-sync: the store was replaced: its schema became 9999, this kuma-sync works with {head()}"
    )
    assert "Traceback" not in said
    assert refused.log.read_text().splitlines()[-1] == (
        f"kuma-sync: the store was written by a newer kuma-sync (schema 9999, this one knows {head()})"
    )
    assert stage.irp.doubled() == []
    assert {column for (column,) in on(new_postgres_url, "SELECT DISTINCT of_the_future FROM links")()} == {"x"}


async def test_the_old_program_and_its_backup_put_back_lose_and_double_nothing(
    tmp_path: Path, newer_program: Path, sqlite_url: str
) -> None:
    backup, store = tmp_path / "backup.db", tmp_path / "store.db"
    async with staged(tmp_path, sqlite_url) as stage:
        config = ("-c", str(stage.config))
        raised = [stage.kuma.raise_alert() for _ in range(4)]
        assert await stage.run_once() == 0
        codes = [(await ended("db", "backup", str(backup), *config))[0]]
        raised += [stage.kuma.raise_alert() for _ in range(4)]
        stage.kuma.grow(raised[0])
        stage.kuma.close(raised[1])
        newer = await started(newer_program, stage, "run", "--once")
        codes.append(await newer.wait())
        refused = stage.start()
        refused_code = await refused.ended()
        for left in ("-wal", "-shm"):
            store.with_name(f"{store.name}{left}").unlink(missing_ok=True)
        shutil.copy(backup, store)
        stage.kuma.close(raised[5])
        codes.append((await ended("resync", "--all", "--yes", *config))[0])
        codes.append((await ended("run", "--once", *config, env={**os.environ, "KUMA_SYNC_POLL__UNSEEN": "all"}))[0])
        verdict = stage.verdict()

    assert (codes, refused_code) == ([0, 0, 0, 0], 1)
    assert "newer kuma-sync" in refused.log.read_text().splitlines()[-1]
    assert verdict.endswith("both sides agree"), verdict
    assert (len(stage.irp.incidents), stage.irp.doubled()) == (8, [])
