"""A process that gets nowhere ends itself, and the next one goes on; one that was only frozen lives on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from child_program import LIVE, QUICK, Does, Oddity
from copies import start_copy, started
from stage import eventually, staged

SLACK = 30.0
"""Seconds for the start of a process on a busy machine."""


DEAD: list[tuple[Oddity, list[str]]] = [
    (Oddity(loop="poll", does=Does.HANG, after=3), ["poll"]),
    (Oddity(loop="delivery", does=Does.HANG, after=3), ["delivery"]),
    (Oddity(loop="poll", does=Does.BLOCK, after=3), ["event loop"]),
]


async def test_a_process_whose_loop_is_dead_ends_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        for number, (oddity, loops) in enumerate(DEAD):
            folder = tmp_path / str(number)
            folder.mkdir()
            group.create_task(dies_and_goes_on(folder, oddity, loops))


async def dies_and_goes_on(folder: Path, oddity: Oddity, loops: list[str]) -> None:
    """See one process die of its oddity, and a healthy one do what is left."""
    async with staged(folder, f"sqlite:///{folder}/store.db") as stage:
        stage.irp.knobs.latency = 0.05
        first = [stage.kuma.raise_alert(events=1) for _ in range(5)]
        dying = start_copy(stage, limits=QUICK, oddity=oddity)
        await started(dying)
        code = await dying.ended(within=SLACK + 3 * LIVE)
        second = [stage.kuma.raise_alert(events=1) for _ in range(5)]
        stage.kuma.grow(first[0])
        successor = start_copy(stage)
        await started(successor)
        await eventually(lambda: len(stage.irp.incidents) == 10 and stage.agrees(), within=SLACK)
        successor.process.terminate()
        ended = await successor.ended()

    (last,) = dying.says("stuck_for_good")
    assert (code, ended) == (1, 0)
    assert (last["level"], last["loops"]) == ("critical", loops)
    assert ("child_program.py" in last["where"]) == (loops == ["event loop"]), "it names the line that blocks"
    assert all(stage.incidents(alert_id) for alert_id in first + second)
    assert len(stage.wrote("create")) == 10


@pytest.mark.parametrize("loop", ["poll", "delivery"])
async def test_a_process_whose_loop_keeps_failing_ends_and_says_which(
    tmp_path: Path, sqlite_url: str, loop: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        failing = start_copy(stage, limits=QUICK, oddity=Oddity(loop=loop, does=Does.RAISE))
        await started(failing)
        code = await failing.ended(within=SLACK)

    assert code == 1
    assert len(failing.says("loop_failed")) == 5
    assert failing.log.read_text().splitlines()[-1] == f"kuma-sync: the {loop} loop keeps failing"


async def test_a_process_that_was_frozen_for_longer_than_any_limit_lives_on(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        frozen = start_copy(stage, limits=QUICK)
        await started(frozen)
        first = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(first), within=SLACK)

        await frozen.freeze()
        await asyncio.sleep(LIVE * 2.5)  # nothing can be waited for: it must be longer than it may stand still
        second = stage.kuma.raise_alert()
        frozen.wake()
        await eventually(lambda: stage.incidents(second), within=SLACK)
        live = await frozen.status("/livez")
        frozen.process.terminate()
        code = await frozen.ended()

    assert (live, code) == (200, 0)
    assert frozen.says("stuck_for_good") == []
    assert frozen.says("loops_stuck") == []


def test_a_log_that_takes_no_more_lines_does_not_keep_a_dead_process_alive() -> None:
    full = """
import os
from datetime import timedelta
from kuma_sync.telemetry import logs
from kuma_sync.telemetry.watchdog import Pulse
logs.configure(format="json")
pulse = Pulse(limit=timedelta(minutes=5), last_line=timedelta(milliseconds=500))
os.set_blocking(2, False)
try:
    while True:
        os.write(2, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(2, True)
pulse.end_process(["poll"])
"""
    with subprocess.Popen([sys.executable, "-c", full], stderr=subprocess.PIPE) as process:
        try:
            code = process.wait(timeout=SLACK)
        finally:
            process.kill()

    assert code == 1
