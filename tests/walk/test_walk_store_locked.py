"""A SQLite file that many use at once, and that somebody keeps locked for long: no write is lost, and it shows."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from stage import Stage, ask, eventually, parked, staged

from kuma_sync.store import StoreLimits
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.telemetry.health import State
from kuma_sync.telemetry.metrics import Metrics

IMPATIENT = Limits(store=StoreLimits(lock=timedelta(milliseconds=100)))
"""How long a writer waits for another one here, and those behind it after that; 30 s where nobody made it shorter."""


def back_up(source: Path, target: Path) -> int:
    """Copy the live file as `sqlite3 … .backup` does; return how many alerts the copy knows, if it is whole."""
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy, pages=20)
        ((verdict,),) = copy.execute("PRAGMA integrity_check")
        assert verdict == "ok"
        ((known,),) = copy.execute("SELECT count(*) FROM alerts")
    return int(known)


async def looks(runtime: Runtime, copies: list[int], stage: Stage) -> None:
    """Look at the status and take backups, again and again."""
    for number in range(1_000_000):
        await ask(runtime, lambda tx: tx.overview.counts())
        await ask(runtime, lambda tx: tx.delivery.jobs())
        copies.append(await asyncio.to_thread(back_up, stage.folder / "store.db", stage.folder / f"b{number % 2}.db"))
        await asyncio.sleep(0.05)


async def test_a_file_many_use_and_one_locks_loses_no_write_and_shows_the_lock(tmp_path: Path, sqlite_url: str) -> None:
    copies = list[int]()
    async with staged(tmp_path, sqlite_url) as stage, stage.working(Metrics(), limits=IMPATIENT) as runtime:
        onlooker = asyncio.create_task(looks(runtime, copies, stage))
        stage.irp.knobs.latency = 0.02
        first = [stage.kuma.raise_alert(events=1) for _ in range(40)]
        await eventually(lambda: len(stage.irp.incidents) > 10)

        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None, check_same_thread=False)) as other:
            await asyncio.to_thread(_lock, other)
            made = len(stage.irp.incidents)
            for _ in range(10):
                stage.kuma.raise_alert(events=1)
            stage.irp.analyst_close(_one_that_is_made(stage, first), "False positive")
            await eventually(lambda: "database is locked" in runtime.health.ready().parts["poll"].reason)
            await eventually(lambda: runtime.health.ready().parts["delivery"].state is State.FAILING)
            alive = runtime.health.live()
            meanwhile = len(stage.irp.incidents) - made
            copies_before = len(copies)
            await eventually(lambda: len(copies) > copies_before)
            other.execute("ROLLBACK")

        await eventually(lambda: bool(stage.kuma.closes) and stage.agrees(), within=40)
        await eventually(lambda: runtime.health.ready().ready)
        onlooker.cancel()
        await asyncio.wait([onlooker])
        jobs, known = await parked(runtime), (await ask(runtime, lambda tx: tx.overview.counts())).values()

    assert alive, "a store that is away is no reason to restart"
    assert meanwhile <= 8, "what cannot be written down is not begun"
    assert jobs == []
    assert sum(known) == len(stage.irp.incidents) == len(stage.wrote("create")) == 50
    assert len(stage.kuma.close_calls) == 1
    assert onlooker.cancelled()
    assert max(copies) > 0


def _lock(other: sqlite3.Connection) -> None:
    other.execute("PRAGMA busy_timeout=20000")
    other.execute("BEGIN IMMEDIATE")


def _one_that_is_made(stage: Stage, ids: list[str]) -> str:
    return next(stage.incident(alert_id).id for alert_id in ids if stage.incidents(alert_id))
