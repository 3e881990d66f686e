"""Whatever the program is doing, it may be killed at any point: the next one brings it to the same end."""

from __future__ import annotations

import sys
from asyncio import create_subprocess_exec
from pathlib import Path

import build
import pytest
from lives import BATCH, lives, passing
from scenarios import SCENARIOS, judge, repeated

from kuma_sync.sync.failpoint import POINTS


@pytest.mark.parametrize("name", SCENARIOS)
async def test_killed_at_any_point_and_started_again_nothing_is_lost_or_doubled(
    tmp_path: Path, database_url: str, name: str
) -> None:
    scenario = SCENARIOS[name]
    async with lives(tmp_path, database_url, concurrency=1, profile=scenario.profile) as life:
        for point, visit in scenario.deaths() if life.store.local else scenario.first_deaths():
            died_at = f"died at {point}, visit {visit}"
            expected = scenario.change(life.stage, await life.delivered(scenario.delivered))

            assert await life.process(point, visit) == build.DIED, f"{point} was not reached a {visit}. time"
            await life.recover()

            judge(life.stage, expected, died_at)
            twice = repeated(life.stage, expected.alerts)
            assert bool(twice) == (point in scenario.repeats), died_at
            assert set(twice.values()) <= {2}, died_at
            assert len(twice) <= BATCH, "one request, no more, was in doubt"


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_table_names_every_point_that_a_scenario_passes(tmp_path: Path, sqlite_url: str, name: str) -> None:
    seen: set[str] = set()
    scenario = SCENARIOS[name]
    async with lives(tmp_path, sqlite_url, concurrency=1, profile=scenario.profile) as life:
        expected = scenario.change(life.stage, await life.delivered(scenario.delivered))

        with passing(seen.add):
            assert await life.once()

        judge(life.stage, expected, "nobody died")
    assert seen == set(scenario.reaches)


def test_there_is_no_point_at_which_nobody_dies() -> None:
    assert {point for scenario in SCENARIOS.values() for point in scenario.reaches} == set(POINTS)


@pytest.mark.parametrize(("point", "code"), [("cursor_moved", build.DIED), ("update_answered", 0)])
async def test_the_test_build_is_the_command_that_dies_where_it_is_told_to(
    tmp_path: Path, sqlite_url: str, point: str, code: int
) -> None:
    async with lives(tmp_path, sqlite_url, concurrency=1) as life:
        alert_id = life.stage.kuma.raise_alert()
        words = [point, "1", "--", "run", "--once", "-c", str(life.stage.config)]

        with (tmp_path / "said").open("w") as said:
            process = await create_subprocess_exec(sys.executable, build.__file__, *words, stdout=said, stderr=said)
            ended = await process.wait()

    assert ended == code, (tmp_path / "said").read_text()
    assert bool(life.stage.incidents(alert_id)) == (code == 0)
