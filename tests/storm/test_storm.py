"""A minute's storm on both databases, with a seed that stays; `make storm MINUTES=20` is the long one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from environment import Environment, opened_environment
from kinds import MINUTE
from processes import START
from report import table
from run import Course, both
from supervised import FAKETIME, until

SECONDS = 60.0
SEED = 20261124
STEP = 7200
"""Seconds that the clock is ahead before it is set right."""


@pytest.mark.timeout(600)
async def test_a_storm_loses_doubles_and_changes_nothing_on_either_database(tmp_path: Path) -> None:
    reports = await both(tmp_path, Course(seed=SEED, seconds=SECONDS, kinds=MINUTE, full=False))

    assert all(report.good for report in reports), "\n".join(table(reports))
    assert {report.database for report in reports} == {"sqlite", "postgres"}
    for report in reports:
        assert report.figures["kills"]
        assert report.figures["alerts shown"] > 250
        assert report.figures["closings carried to KUMA"], "nothing was closed from the IRP's side"
        assert report.figures["closings carried to the IRP"], "nothing was closed from KUMA's side"


def ahead(environment: Environment) -> float:
    """Tell how far ahead of ours the clock of the daemon's last log line is, in seconds."""
    last = datetime.fromisoformat(environment.daemons[0].lines()[-1]["timestamp"])
    return (last - datetime.now(UTC)).total_seconds()


@pytest.mark.timeout(400)
@pytest.mark.skipif(FAKETIME is None, reason="faketime is not installed (apt-get install faketime)")
async def test_a_clock_that_is_set_back_stops_neither_polls_nor_deliveries(tmp_path: Path) -> None:
    async with opened_environment(tmp_path, seed=SEED, say=print) as environment:
        (daemon,) = environment.daemons
        daemon.faked = True
        daemon.clock.write_text(f"+{STEP}\n")
        early = environment.kuma.raise_alert()
        assert await until(lambda: bool(environment.irps.by_key(f"kuma:kuma:{early}")), within=START)
        assert ahead(environment) > STEP / 2

        daemon.clock.write_text("+0\n")
        assert await until(lambda: ahead(environment) < STEP / 2, within=START)
        sweeps = environment.witness.sweeps
        goes_on = await until(lambda: environment.witness.sweeps >= sweeps + 4, within=START)
        late = environment.kuma.raise_alert()
        came = await until(lambda: bool(environment.irps.by_key(f"kuma:kuma:{late}")), within=START)

    assert goes_on, "polling stopped when the clock was set back"
    assert came
