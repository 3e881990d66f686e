"""Fifty thousand settled alerts in the store: a quiet pass of the whole crew does not look at them."""

from __future__ import annotations

from pathlib import Path

from plans import analyze, fill, plans
from sqlalchemy import event
from stage import staged
from stores import engines_of, opened

from kuma_sync.sync.runtime.monitor import look
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

QUIET = {"poll": {"sweep_interval": "1h"}, "store": {"retention": "36500d"}}
"""No read by the clock, and nothing old enough to go."""


async def everything(runtime: Runtime) -> None:
    """Do what the loops do when nothing happens: polls, a sweep, a watch round, both queues, gauges, the pruning."""
    await runtime.poller.poll_once()
    await runtime.poller.poll_once(sweep=True)
    await runtime.targets["irp"].watch.watch_once()
    await runtime.targets["irp"].deliveries.drain()
    await runtime.closes.drain()
    await look(runtime.store, health=runtime.health, metrics=runtime.metrics)
    await runtime.housekeeping()
    runtime.health.ready()


async def statements(runtime: Runtime) -> list[str]:
    """Return a quiet pass in statements; the leader's lease is renewed by the clock."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if "lease " not in statement:
            found.append(statement)

    for engine in engines_of(runtime.store):
        event.listen(engine, "before_cursor_execute", note)
    await everything(runtime)
    for engine in engines_of(runtime.store):
        event.remove(engine, "before_cursor_execute", note)
    return found


async def test_a_quiet_pass_reads_no_table_from_end_to_end(tmp_path: Path, database_url: str) -> None:
    async with opened(database_url):
        pass
    fill(database_url, parked=False)
    async with staged(tmp_path, database_url, **QUIET) as stage, stage.runtime() as runtime:
        for _ in range(3):
            stage.kuma.raise_alert()
        await once(runtime)
        await analyze(runtime.store)
        with plans(runtime.store) as plan:
            await everything(runtime)
            stage.kuma.grow(next(iter(stage.kuma.alerts)))
            await everything(runtime)

    assert len(plan.looked_at) > 40
    assert plan.whole("links", "alerts") == []
    assert stage.agrees(), stage.verdict()


async def test_a_quiet_pass_takes_no_more_statements_over_a_full_store(tmp_path: Path, database_url: str) -> None:
    taken = []
    async with staged(tmp_path, database_url, **QUIET) as stage, stage.runtime() as runtime:
        for _ in range(3):
            stage.kuma.raise_alert()
        await once(runtime)
        for _ in range(2):
            await everything(runtime)
            taken.append(sorted(await statements(runtime)))
            if len(taken) == 1:
                fill(database_url, parked=False)

    assert taken[0]
    assert taken[0] == taken[1]
