"""`run --once` as a process: it ends in order when it is told to, and says what it is doing."""

from __future__ import annotations

import itertools
import re
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest
from stage import Child, Stage, eventually, staged
from stores import opened

from kuma_sync.store import Tx
from kuma_sync.sync.runtime.single_pass import STOPPED

SUMMARY = r"(?m)^(no alerts|\d+ \w+).*; jobs: \d+ waiting, \d+ held, \d+ parked$"


def creates(stage: Stage) -> int:
    return sum(request.method == "POST" for request in stage.irp.requests)


async def stopped(child: Child, number: int) -> tuple[int, float]:
    """Send a signal; return the exit code, and after how many seconds it ended."""
    child.process.send_signal(number)
    asked = time.monotonic()
    return await child.ended(), time.monotonic() - asked


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_pass_told_to_stop_ends_what_is_in_flight_and_says_what_is_left(
    tmp_path: Path, sqlite_url: str, number: signal.Signals
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        for _ in range(60):
            stage.kuma.raise_alert(events=1)
        stage.irp.knobs.latency = 0.2
        child = stage.start("--once")
        await eventually(lambda: len(stage.irp.incidents) >= 10, within=60)

        code, took = await stopped(child, number)
        made, log = len(stage.irp.incidents), child.log.read_text()
        stage.irp.knobs.latency = 0
        again = await stage.run_once()

        assert made < 60, "the test wants to stop it in the middle"
        assert (code, took < 8) == (1, True)
        assert all(request.complete for request in stage.irp.requests), "nothing in flight was cut off"
        assert child.says("stopping")
        assert re.search(SUMMARY, log)
        assert f"kuma-sync: {STOPPED}" in log
        assert again == 0
        assert len(stage.irp.incidents) == len(stage.wrote("create")) == 60


async def test_a_pass_told_to_stop_while_kuma_hangs_ends_after_a_moment(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, kuma={"read_timeout": "2m"}) as stage:
        hang = stage.kuma.faults.add("hang")
        child = stage.start("--once")
        await eventually(lambda: hang.waiting)

        code, took = await stopped(child, signal.SIGTERM)

    assert (code, took < 8) == (1, True)
    assert re.search(SUMMARY, child.log.read_text())


async def test_the_grace_ends_a_pass_whose_irp_hangs(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, run={"grace": "500ms"}, irp={"read_timeout": "2m"}) as stage:
        stage.kuma.raise_alert()
        stage.irp.faults.add("hang", method="POST")
        child = stage.start("--once")
        await eventually(lambda: creates(stage))

        code, took = await stopped(child, signal.SIGTERM)
        stage.irp.faults.clear()
        async with stage.working():
            await eventually(stage.agrees, within=40)

    assert (code, took < 10) == (1, True)
    assert child.says("grace_ran_out")
    assert re.search(SUMMARY, child.log.read_text())
    assert len(stage.irp.incidents) == 1


async def test_a_second_signal_ends_a_pass_at_once(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, run={"grace": "2m"}, irp={"read_timeout": "2m"}) as stage:
        stage.kuma.raise_alert()
        stage.irp.faults.add("hang", method="POST")
        child = stage.start("--once")
        await eventually(lambda: creates(stage))

        child.process.terminate()
        await eventually(lambda: child.says("stopping"))
        code, took = await stopped(child, signal.SIGINT)

    assert (code, took < 8) == (1, True)
    assert child.says("stopped_at_once")


async def test_a_pass_says_all_the_time_what_it_is_doing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert()
        assert await stage.run_once() == 0
        for alert_id in list(stage.kuma.alerts):
            stage.kuma.grow(alert_id)
        stage.irp.faults.add("delay", method="PATCH", seconds=7)
        began = time.time()
        child = stage.start("--once")
        assert await child.ended() == 0
        ended = time.time()

    lines = child.says("pass_goes_on")
    moments = [began, *(datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines), ended]
    silences = [later - earlier for earlier, later in itertools.pairwise(moments)]
    doings = list(dict.fromkeys(line["doing"] for line in lines))
    assert doings == ["reading KUMA", "asking the IRP what was closed", "delivering and closing"]
    assert ended - began > 7, "the test wants it to take long"
    assert max(silences[1:]) < 4


async def test_a_pass_under_way_is_told_as_one_and_not_as_a_daemon(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert()
        hang = stage.irp.faults.add("hang", method="POST")
        child = stage.start("--once")
        await eventually(lambda: hang.waiting)
        async with opened(stage.database) as store:

            def heard(tx: Tx) -> list[tuple[int, bool]]:
                return [(one.process.pid, one.process.single_pass) for one in tx.heartbeats.heard()]

            during = await eventually(lambda: store.read(heard))
            stage.irp.faults.clear()
            await child.ended()
            after = await store.read(heard)

    assert (during, after) == ([(child.process.pid, True)], [])
