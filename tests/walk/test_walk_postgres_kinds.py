"""PostgreSQL as others set it up, by role or behind a pooler: what is relied on is set, the rest is refused."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from odd_role import ODD, odd_role
from pooler import pooled
from stage import Stage, eventually, parked, staged
from structlog.testing import capture_logs


async def works_a_day(stage: Stage) -> None:
    """Deliver, grow, close both ways, with texts that no encoding but UTF-8 holds; nothing is parked, nothing fails."""
    names = ["взлом 🔥", "naïve", "plain"] * 4
    with capture_logs() as logs:
        await _day(stage, names)
    told = {line["event"] for line in logs if line["log_level"] in ("warning", "error", "critical")}

    assert told <= {"configuration"}
    assert len(stage.wrote("create")) == len(names)


async def _day(stage: Stage, names: list[str]) -> None:
    async with stage.working() as runtime:
        ids = [stage.kuma.raise_alert(name=name, events=3) for name in names]
        await eventually(lambda: all(stage.incidents(alert_id) for alert_id in ids), within=40)
        for alert_id in ids[:6]:
            stage.kuma.grow(alert_id)
        stage.irp.analyst_close(stage.incident(ids[0]).id, "False positive")
        stage.kuma.close(ids[1], "responded")
        await eventually(lambda: (ids[0], "incorrect data") in stage.kuma.closes and stage.agrees(), within=40)
        assert await parked(runtime) == []


async def test_a_role_that_is_set_up_for_another_program_works(tmp_path: Path, postgres_url: str) -> None:
    with odd_role(postgres_url, **ODD) as url:
        async with staged(tmp_path, url) as stage:
            await works_a_day(stage)


@pytest.mark.parametrize("kind", ["plain", "odd"])
async def test_behind_a_pooler_that_shares_connections_everything_works(
    tmp_path: Path, postgres_url: str, kind: str
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(odd_role(postgres_url, **ODD)) if kind == "odd" else postgres_url
        through = await asyncio.to_thread(stack.enter_context, pooled(url, users=["odd"]))
        async with staged(tmp_path, through) as stage:
            await works_a_day(stage)


async def test_a_role_that_may_have_two_connections_alone_loses_and_parks_nothing(
    tmp_path: Path, postgres_url: str
) -> None:
    with odd_role(postgres_url, limit=2) as url:
        async with staged(tmp_path, url) as stage:
            await works_a_day(stage)


@pytest.mark.parametrize("right", ["UPDATE", "SELECT"])
async def test_a_right_that_is_taken_away_under_the_daemon_ends_it_with_a_sentence(
    tmp_path: Path, postgres_url: str, right: str
) -> None:
    with odd_role(postgres_url) as url:
        async with staged(tmp_path, url) as stage, stage.daemon() as daemon:
            first = stage.kuma.raise_alert()
            await eventually(lambda: stage.incidents(first))
            with psycopg.connect(postgres_url, autocommit=True) as operator:
                operator.execute(f"REVOKE {right} ON ALL TABLES IN SCHEMA public FROM odd")
            code = await daemon.ended(within=90)

    said = daemon.log.read_text()
    assert code == 1
    assert said.splitlines()[-1].startswith("kuma-sync: the store refuses: its role may not do that (42501)")
    assert daemon.says("loop_failed") == daemon.says("job_failed") == [], "it is no bug"
