"""What happens to processes, machines and databases: each fault is one coroutine that ends with all well again.

A fault counts only where it was seen to take hold. Must not: touch the wire's faults (that is weather).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import httpx
from ground import Ground
from supervised import FAKETIME, until

from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer

LOCK_SQLITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""
LOCK_POSTGRES = """
import psycopg, sys
with psycopg.connect(sys.argv[1]) as connection:
    connection.execute("LOCK TABLE links, delivery_queue, close_queue IN ACCESS EXCLUSIVE MODE")
    print("locked", flush=True)
    sys.stdin.read()
"""
STEPS = (7200, -7200, 15, -15, 86400)
"""Seconds by which the clock is set; a back-off written under a clock less than an hour ahead is waited out."""


class Machines:
    """Kills, freezes, locks, fills, restarts and resets, one after the other."""

    def __init__(self, ground: Ground, *, seed: int, between_pages: Callable[[int], None], long: bool) -> None:
        self._ground = ground
        self._random = Random(f"machines {seed}")
        self._between_pages = between_pages
        self._long = long
        self._tokens = 0
        self.fired: Counter[str] = Counter()
        self.spells: list[tuple[float, float]] = []
        """When the daemon or its store was in trouble: what it was told then may have died with it."""
        self._faults: dict[str, Callable[[], Awaitable[bool]]] = {
            "kill -9": self.kill,
            "freeze": self.freeze,
            "locked database": self.lock,
            "KUMA down": lambda: self.down(ground.kuma_server),
            "IRP down": lambda: self.down(ground.irp_server),
            "new KUMA token": lambda: self.rotate(ground.kuma, "kuma"),
            "new IRP token": lambda: self.rotate(ground.irp, "irp"),
            "rows move between pages": self.moving,
        }
        if ground.postgres is not None:
            self._faults["PostgreSQL killed"] = self.postgres
        if ground.disk is not None:
            self._faults["full disk"] = self.disk
        if FAKETIME is not None:
            self._faults["clock step"] = self.clock

    @property
    def kinds(self) -> list[str]:
        """Name the faults that are possible here."""
        return list(self._faults)

    async def work_until(self, end: float) -> None:
        """Let one fault follow another."""
        deck: list[str] = []
        while time.monotonic() < end:
            if not deck:
                deck = self._random.sample([*self._faults, "kill -9", "kill -9"], len(self._faults) + 2)
            await self._strike(deck.pop())
            await asyncio.sleep(self._random.uniform(0.2, 6.0 if self._long else 1.0))

    async def last_chance(self, kind: str) -> None:
        """Let a fault that did not take hold try again."""
        for _ in range(5):
            if self.fired[kind]:
                return
            await self._strike(kind)

    async def _strike(self, kind: str) -> None:
        started = time.monotonic()
        self.fired[kind] += await self._faults[kind]()
        self.spells.append((started, time.monotonic()))

    async def kill(self) -> bool:
        """Kill the daemon; sometimes its leases run out at once, else they are waited for."""
        if not self._ground.daemon.kill():
            return False
        if not self._long or self._random.random() < 0.5:
            await self._ground.forget_the_dead()
        return await self._back()

    async def freeze(self) -> bool:
        frozen = self._ground.daemon.signal(signal.SIGSTOP)
        await asyncio.sleep(self._random.choice((0.5, 3.0, 8.0 if self._long else 2.0)))
        self._ground.daemon.signal(signal.SIGCONT)
        return frozen

    async def lock(self) -> bool:
        """Let another process hold the store's write lock; in a long storm longer than a writer waits for it."""
        sqlite = self._ground.sqlite
        script, where = (LOCK_SQLITE, str(sqlite)) if sqlite else (LOCK_POSTGRES, self._ground.url)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, where, **pipes)
        assert process.stdout is not None
        locked = bool(await process.stdout.readline())
        if locked:
            await asyncio.sleep(self._random.choice((0.5, 2.0, 60.0 if self._long else 3.0)))
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        return locked

    async def disk(self) -> bool:
        """Fill the disk until the daemon has met it, then make room."""
        assert self._ground.disk is not None
        ballast, before = self._ground.disk / "ballast", self._full()
        await asyncio.to_thread(_fill, ballast)
        met = await until(lambda: self._full() > before, within=6.0)
        await asyncio.sleep(self._random.uniform(0, 2))
        ballast.unlink()
        return met

    async def postgres(self) -> bool:
        server = self._ground.postgres
        assert server is not None
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(self._random.uniform(0, 2))
        await asyncio.to_thread(server.start)
        return True

    async def down(self, server: SimServer) -> bool:
        """Refuse connections for a while."""
        await server.stop()
        await asyncio.sleep(self._random.uniform(0.3, 2))
        await server.start()
        return True

    async def rotate(self, side: KumaSim | IrpSim, name: str) -> bool:
        """Give a side a new token: sometimes its server knows it first, sometimes the file."""
        self._tokens += 1
        token, file = f"{name}-token-{self._tokens}", self._ground.folder / f"{name}.token"
        server_first, wait = self._random.random() < 0.5, self._random.uniform(0, 1)
        if server_first:
            side.token = token
            await asyncio.sleep(wait)
            _replace(file, token)
        else:
            _replace(file, token)
            await asyncio.sleep(wait)
            side.token = token
        return True

    async def clock(self) -> bool:
        """Start the daemon under a clock that can be set, set it, see that it took hold, and set it right again."""
        daemon, step = self._ground.daemon, self._random.choice(STEPS)
        daemon.faked = True
        await self.kill()
        took = False
        if await self._skewed(0):
            _replace(daemon.clock, f"{step:+d}\n")
            took = await self._skewed(step)
            await asyncio.sleep(self._random.uniform(0, 2))
            _replace(daemon.clock, "+0\n")
            await self._skewed(0)
        daemon.faked = False
        await self.kill()
        return took

    async def moving(self) -> bool:
        pages: list[int] = []

        def after(page: int) -> None:
            pages.append(page)
            if page == 1:
                self._between_pages(page)

        self._ground.kuma.knobs.after_page = after
        met = await until(lambda: max(pages, default=0) > 1, within=4.0)
        self._ground.kuma.knobs.after_page = None
        return met

    async def _back(self) -> bool:
        """Wait until the daemon that follows answers, at most a moment."""
        starts = self._ground.daemon.starts
        return await until(lambda: self._ground.daemon.starts > starts, within=5.0)

    async def _skewed(self, step: int) -> bool:
        """Wait until the daemon's own metric shows the step, as every page of KUMA makes it do."""
        deadline = time.monotonic() + 8
        async with self._ground.client() as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    text = (await client.get("/metrics")).text
                    found = [one for one in text.splitlines() if one.startswith("kuma_sync_clock_skew_seconds ")]
                    if found and abs(float(found[0].split()[1]) + step) < 5:
                        return True
                await asyncio.sleep(0.2)
        return False

    def _full(self) -> int:
        return self._ground.daemon.log.read_text(errors="replace").count("disk is full")


def _fill(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            continue


def _replace(file: Path, text: str) -> None:
    """Write a file as a whole: nobody reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(file)
