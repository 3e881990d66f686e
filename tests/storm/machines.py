"""Plays the faults of processes, databases, and the two sides as machines, one after the other.

A fault counts only where it was seen to take hold.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

from callers import Callers
from costly import Costly
from databases import Databases
from environment import Environment
from files import Files
from kinds import COSTLY, DATABASES, NEW, ONE_TARGET, PROCESSES, RESTORED, SIDES, SILENT, TARGETS, Kinds
from processes import Processes
from routes import PUSHED
from supervised import replace, until
from targets import Targets
from world import World

SLOW = ("database locked for a minute", "frozen for longer than its leases", RESTORED)
"""Faults that take long: once in the first round, seldom later."""

BREATH = 20.0


class Machines:
    """Lets one fault follow another, in an order that the seed fixes."""

    def __init__(
        self, environment: Environment, world: World, *, seed: int, long: bool, full: bool, kinds: Kinds
    ) -> None:
        self._environment = environment
        self._world = world
        self._random = Random(f"machines {seed}")
        self._long = long
        self._tokens = 0
        self.fired: Counter[str] = Counter()
        self.spells: list[tuple[float, float]] = []
        """When the daemon or its store was in trouble: what it was told then may have died with it."""
        files = Files(environment, world, random=self._random, full=full)
        callers = Callers(environment, world.ledger, random=self._random, full=full)
        costly = Costly(environment, world.ledger, random=self._random, full=full)
        processes = Processes(environment, random=self._random, long=long)
        targets = Targets(environment, world, processes, random=self._random, long=long)
        self._judged = (files, callers, costly, targets)
        faults: dict[str, Callable[[], Awaitable[bool]]] = {
            **processes.faults,
            **Databases(environment, random=self._random, long=long).faults,
            "KUMA down": lambda: self.down("kuma"),
            "IRP down": lambda: self.down(self._random.choice(PUSHED)),
            "new KUMA token": lambda: self.rotate("kuma"),
            "new IRP token": lambda: self.rotate(self._random.choice(PUSHED)),
            "rows move between pages": self.moving,
            **files.faults,
            **targets.faults,
        }
        if full or environment.database.sqlite is not None:  # in the minute's storm the other half has no time left
            faults |= {SILENT: callers.silent, COSTLY: costly.alert}
        assert set(faults) <= {*PROCESSES, *DATABASES, *SIDES, *TARGETS, *NEW}, "kinds does not know every fault"
        self._faults = {kind: fault for kind, fault in faults.items() if kind in kinds}

    @property
    def missed(self) -> list[str]:
        """Name the faults that are possible here and did not take hold yet."""
        return [kind for kind in self._faults if not self.fired[kind]]

    @property
    def troubles(self) -> list[str]:
        """Say what did not hold while a fault was there, each once."""
        return list(dict.fromkeys(line for fault in self._judged for line in fault.troubles))

    async def work_until(self, end: float) -> None:
        """Let one fault follow another."""
        deck, rounds = list[str](), 0
        while self._faults and time.monotonic() < end:
            if not deck:
                deck = self._shuffled(first=rounds == 0)
                rounds += 1
            await self._strike(deck.pop())
            await self._breathe()
            await asyncio.sleep(self._random.uniform(0.2, 5.0 if self._long else 0.6))

    async def _breathe(self) -> None:
        """Let something be done between two faults: on a busy machine a daemon would never come to it."""
        irps, witness = self._environment.irps, self._environment.witness
        before = (irps.written, witness.sweeps)
        await until(lambda: irps.written > before[0] and witness.sweeps > before[1], within=BREATH)

    async def make_up(self) -> None:
        """Let each fault that did not take hold try again, a few times."""
        for _ in range(5):
            for kind in self.missed:
                await self._strike(kind)

    def _shuffled(self, *, first: bool) -> list[str]:
        kinds = [kind for kind in self._faults if first or kind not in SLOW or self._random.random() < 0.25]
        kinds += ["kill -9", "kill -9"] if "kill -9" in self._faults else []
        return self._random.sample(kinds, len(kinds))

    async def _strike(self, kind: str) -> None:
        started = time.monotonic()
        self.fired[kind] += await self._faults[kind]()
        if kind not in ONE_TARGET:
            self.spells.append((started, time.monotonic()))

    async def down(self, side: str) -> bool:
        """Let a side refuse connections for a while."""
        server = self._environment.servers[side]
        await server.stop()
        await asyncio.sleep(self._random.uniform(0.3, 2))
        await server.start()
        return True

    async def rotate(self, name: str) -> bool:
        """Give a side a new token: sometimes its server knows it first, sometimes the file."""
        self._tokens += 1
        side = self._environment.side(name)
        token, file = f"{name}-token-{self._tokens}", self._environment.folder / f"{name}.token"
        server_first, wait = self._random.random() < 0.5, self._random.uniform(0, 1)
        if server_first:
            side.token = token
            await asyncio.sleep(wait)
            replace(file, token)
        else:
            replace(file, token)
            await asyncio.sleep(wait)
            side.token = token
        return True

    async def moving(self) -> bool:
        """Let rows come and go while the pages of a listing are read."""
        pages: list[int] = []

        def after(page: int) -> None:
            pages.append(page)
            if page == 1:
                self._world.between_pages()

        self._environment.kuma.knobs.after_page = after
        met = await until(lambda: max(pages, default=0) > 1, within=6.0)
        self._environment.kuma.knobs.after_page = None
        return met
