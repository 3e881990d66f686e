"""A short storm on each database, with a seed that stays; `make storm MINUTES=20` is the long one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from ground import Ground, grounded
from run import Report, storm
from supervised import FAKETIME, until

SECONDS = 25.0
SEED = 20261124
STEP = 7200
"""Seconds that the clock is ahead before it is set right."""


async def weathered(folder: Path, database: str) -> Report:
    return await storm(folder, seed=SEED, database=database, seconds=SECONDS, long=False, say=print)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_a_storm_loses_doubles_and_changes_nothing(tmp_path: Path, database: str) -> None:
    report = await weathered(tmp_path, database)

    assert report.good, "\n".join(report.lines())
    assert report.ground.daemon.kills >= 2
    assert len(report.ground.witness.first_shown) > 250
    assert report.ground.kuma.closes, "nothing was closed from the IRP's side"
    assert [operation for operation, _, _ in report.ground.irp.writes if operation == "close"]


def ahead(ground: Ground) -> float:
    """Tell how far ahead of ours the clock of the daemon's last log line is, in seconds."""
    last = datetime.fromisoformat(ground.daemon.lines()[-1]["timestamp"])
    return (last - datetime.now(UTC)).total_seconds()


@pytest.mark.skipif(FAKETIME is None, reason="faketime is not installed (apt-get install faketime)")
async def test_a_clock_that_is_set_back_stops_neither_polls_nor_deliveries(tmp_path: Path) -> None:
    async with grounded(tmp_path, "", seed=SEED, postgres=None, say=print) as ground:
        ground.daemon.faked = True
        ground.daemon.clock.write_text(f"+{STEP}\n")
        early = ground.kuma.raise_alert()
        assert await until(lambda: bool(ground.irp.by_key(f"kuma:kuma:{early}")), within=20.0)
        assert ahead(ground) > STEP / 2

        ground.daemon.clock.write_text("+0\n")
        assert await until(lambda: ahead(ground) < STEP / 2, within=20.0)
        sweeps = ground.witness.sweeps
        goes_on = await until(lambda: ground.witness.sweeps >= sweeps + 4, within=30.0)
        late = ground.kuma.raise_alert()
        came = await until(lambda: bool(ground.irp.by_key(f"kuma:kuma:{late}")), within=20.0)

    assert goes_on, "polling stopped when the clock was set back"
    assert came
