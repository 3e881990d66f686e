"""Faults on the wire, gust by gust, and the whole storm's course.

The HTTP faults are those of the simulators themselves (kuma_sync.sim.faults): they sit on real sockets between the
daemon and the simulator's application, know methods and paths, strike "every 5th POST", and count what really struck.
A proxy of our own in between would do the same a second time, and could not tell an effect that happened from one
that did not. Faults of processes, machines and databases are in machines.

A seed fixes the order and the kinds of everything; the moment is the machine's, so a replay meets the same faults in
the same order, not at the same instruction.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from cuts import Pages
from environment import Environment
from kinds import Kinds
from machines import Machines
from routes import PUSHED
from supervised import until

from kuma_sync.sim.faults import Rule

Kind = tuple[str, dict[str, object]]

PAST = 4.5
"""Seconds longer than the daemon waits for either side; the end of a gust ends what it holds back."""

WIRE: dict[str, Kind] = {
    "delay": ("delay", {"seconds": 0.3}),
    "delay past the time-out": ("delay", {"seconds": PAST}),
    "500": ("status", {"code": 500}),
    "502": ("status", {"code": 502}),
    "503": ("status", {"code": 503}),
    "429 with Retry-After": ("status", {"code": 429, "headers": {"Retry-After": "1"}}),
    "html instead of JSON": ("html", {}),
    "a page that is called nothing": ("html", {"encoding": "utf-16", "content_type": ""}),
    "redirected": ("redirect", {}),
    "redirected after the effect": ("redirect", {"code": 303, "effect": True}),
    "reset before the effect": ("reset_before", {}),
    "reset after the effect": ("reset_after", {}),
    "cut body": ("cut", {"after": 64}),
    "slow drip": ("drip", {"seconds": 0.02, "piece": 16384}),
    "hang": ("hang", {}),
    "token refused": ("unauthorized", {"code": 403}),
}
LASTING = ("delay past the time-out", "hang")
METHODS = {"kuma": ("", "GET", "POST"), **dict.fromkeys(PUSHED, ("", "GET", "POST", "PATCH"))}
EVERY = (1, 2, 3, 5)
LAST_CHANCE = 90.0


class Weather:
    """Blows for a while, then until every kind of fault has struck."""

    def __init__(
        self, environment: Environment, machines: Machines, pages: Pages, *, seed: int, long: bool, kinds: Kinds
    ) -> None:
        self._long = long
        self._environment = environment
        self._machines = machines
        self._pages = pages
        self._random = Random(f"weather {seed}")
        self._wire = {side: [name for name in WIRE if f"{side}: {name}" in kinds] for side in METHODS}
        self.fired: Counter[str] = Counter()

    @property
    def missed(self) -> list[str]:
        """Name the kinds that this run must have and that have not struck yet."""
        wire = [f"{side}: {name}" for side, names in self._wire.items() for name in names if not self._had(side, name)]
        return [*wire, *self._machines.missed, *self._pages.missed]

    def _had(self, side: str, name: str) -> bool:
        """Tell whether a kind struck this side; in a short storm, whether it struck either."""
        return any(self.fired[f"{each}: {name}"] for each in ((side,) if self._long else METHODS))

    async def blow(self, seconds: float) -> None:
        """Blow so many seconds."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as lanes:
            for side in METHODS:
                lanes.create_task(self._lane(side, end))
            lanes.create_task(self._machines.work_until(end))
            lanes.create_task(self._pages.change_until(end))
            lanes.create_task(asyncio.sleep(seconds))

    async def make_up(self) -> None:
        """Let each kind that has not struck yet strike at least once."""
        async with asyncio.TaskGroup() as lanes:
            for side in METHODS:
                lanes.create_task(self._make_up(side))
            lanes.create_task(self._machines.make_up())

    async def _make_up(self, side: str) -> None:
        for name in self._wire[side]:
            if not self._had(side, name):
                await self._gust(side, name, method="", every=1, until_struck=True)

    async def _lane(self, side: str, end: float) -> None:
        deck: list[str] = []
        while self._wire[side] and time.monotonic() < end:
            if not deck:
                deck = self._random.sample(self._wire[side], len(self._wire[side]))
            method, every = self._random.choice(METHODS[side]), self._random.choice(EVERY)
            await self._gust(side, deck.pop(), method=method, every=every)
            await asyncio.sleep(self._random.uniform(0, 0.3))

    async def _gust(self, side: str, name: str, *, method: str, every: int, until_struck: bool = False) -> None:
        kind, arguments = WIRE[name]
        faults = self._environment.side(side).faults
        async with self._environment.gust():
            rule = faults.add(kind, method=method, every=every, **arguments)
            try:
                if until_struck:
                    await until(_struck(rule), within=LAST_CHANCE)
                lasts = PAST if name in LASTING else self._random.uniform(0.3, 0.5 if until_struck else 1.3)
                await asyncio.sleep(lasts)
            finally:
                faults.remove(rule)
                self.fired[f"{side}: {name}"] += rule.fired


def _struck(rule: Rule) -> Callable[[], bool]:
    return lambda: rule.fired > 0
