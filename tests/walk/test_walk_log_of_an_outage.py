"""The log of an outage: one line when it begins, one when it ends with the count between, however much fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from child_program import SHORT_LEASES
from copies import start_copy, started
from stage import eventually as soon
from stage import staged

pytestmark = pytest.mark.timeout(300)
eventually = partial(soon, within=60.0)
LIMITS = replace(SHORT_LEASES, quiet=timedelta(milliseconds=200), outage_wait=timedelta(milliseconds=500))


async def test_an_irp_that_is_away_is_told_once_and_its_return_with_a_count(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, close={"to_kuma": False, "watch": False}) as stage:
        copy = start_copy(stage, limits=LIMITS)
        await started(copy)
        stage.kuma.raise_alert()
        await eventually(lambda: stage.irp.incidents)
        stage.irp.faults.add("status", code=503)
        for _ in range(30):
            stage.kuma.raise_alert()
        await eventually(lambda: copy.says("side_paused"))
        asked = len(stage.irp.requests)
        await eventually(lambda: len(stage.irp.requests) > asked + 2)
        stage.irp.faults.clear()
        await eventually(lambda: len(stage.irp.incidents) == 31)
        await eventually(stage.agrees)

        async def over() -> bool:
            stage.kuma.raise_alert()
            return bool(copy.says("deliveries_recovered"))

        await eventually(over)
        copy.process.terminate()
        assert await copy.ended() == 0

    (began,), (ended,) = copy.says("delivery_failed"), copy.says("deliveries_recovered")
    (paused,), (resumed,) = copy.says("side_paused"), copy.says("side_resumed")
    assert "503" in began["reason"]
    assert paused["reason"].startswith("out of service")
    assert ended["failures"] >= 1
    assert resumed["failures"] > 5  # with the looks at whether it is back


async def test_a_refusal_is_told_for_each_alert_that_meets_it(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.irp.faults.add("status", method="POST", code=400)
        copy = start_copy(stage, limits=LIMITS)
        await started(copy)
        for _ in range(3):
            stage.kuma.raise_alert()

        await eventually(lambda: len(copy.says("job_parked")) == 3)
        copy.process.terminate()
        assert await copy.ended() == 0

    assert len({line["alert_id"] for line in copy.says("delivery_failed")}) == 3
