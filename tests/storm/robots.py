"""Lets the IRP that polls ask on its schedule, now this copy of the daemon, now that one, and send its closings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from ledger import RESOLUTIONS, reason_of
from sides import StampedRobot
from supervised import Daemon

from kuma_sync.sim.robot import RECEIVE, RobotOptions

EVERY = 0.5
QUERIES = (RECEIVE, "withEvents", "withEvents&withAffected")
"""The stock connector's command, and two that show alerts of every status: only these tell of closings."""

OPTIONS = RobotOptions(
    timeout=5.0,
    tries=1_000_000,
    wait=0.3,
    tells_card=True,
    reasons={resolution: reason_of(resolution) for resolution in RESOLUTIONS},
)
"""A closing is sent until somebody answers: what was lost with a daemon would be owed by nobody."""


class Schedule:
    """Plays the schedule. Whoever holds `asks` keeps the robot from asking; its closings go on."""

    def __init__(self, robot: StampedRobot, daemons: Callable[[], Sequence[Daemon]], *, random: Random) -> None:
        self.robot = robot
        self.asks = asyncio.Lock()
        self._daemons = daemons
        self._random = random

    async def run(self) -> None:
        """Ask and close until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask())
            group.create_task(self._close())

    async def _ask(self) -> None:
        while True:
            # A closing that is tried again goes to the new address, too.
            self.robot.url = f"http://{self._random.choice(self._daemons()).listen}"
            query = self._random.choice(QUERIES)
            async with self.asks:
                self.robot.options = replace(self.robot.options, query=query, pages=query != RECEIVE)
                await self.robot.ask()
            await asyncio.sleep(EVERY)

    async def _close(self) -> None:
        while True:
            await self.robot.send_closings()
            await asyncio.sleep(EVERY)
