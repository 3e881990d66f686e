"""A newer copy of the daemon starts beside an older one on PostgreSQL: the older one ends, nothing is lost or doubled.

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


@asynccontextmanager
async def newer_daemon(program: Path, stage: Stage) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kuma_sync", "run", "-c", str(stage.config)),
        cwd=program,  # where `-m` looks first
        env={**os.environ, "PYTHONPATH": str(program)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
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
