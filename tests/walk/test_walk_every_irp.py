"""One day, the same over every IRP: created, grown, closed both ways, with the process killed in between.

Request Tracker, which is real, goes the same way in `tests/rt`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from every_irp import Irp, polling, pushed, two_at_once, walk
from stage import Stage, staged

IRPS = {
    "security-vision": partial(pushed, profile="security-vision", dialect="security-vision"),
    "security-vision-pull": polling,
    "rvision-v2": partial(pushed, profile="rvision-v2", dialect="rvision", options={"organization": "Main"}),
    "thehive-v1": partial(pushed, profile="thehive-v1", dialect="thehive"),
    "two targets at once": two_at_once,
}


@pytest.mark.parametrize("opened", IRPS.values(), ids=IRPS)
async def test_incidents_follow_their_alerts_and_back_though_the_process_is_killed(
    tmp_path: Path, either_url: str, opened: Callable[[Stage], AbstractAsyncContextManager[Irp]]
) -> None:
    async with staged(tmp_path, either_url) as stage, opened(stage) as irp:
        await walk(stage, irp)
