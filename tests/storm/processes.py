"""Disturbs the daemon's processes: kills, freezes and stops them, reloads them, sets their clock wrong.

Each fault is one coroutine that ends with all well again, and tells whether it took hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

import httpx
from environment import Environment
from supervised import FAKETIME, Daemon, replace, until

STEPS = (7200, -7200, 15, -15, 86400)
"""Seconds by which the clock is set; a back-off written under a clock less than an hour ahead is waited out."""
LEASE = 60.0
GRACE = 5.0
START = 90.0


class Processes:
    """Kills and freezes one copy or all of them, stops them kindly, sets their clock."""

    def __init__(self, environment: Environment, *, random: Random, long: bool) -> None:
        self._environment = environment
        self._random = random
        self._long = long
        several = len(environment.daemons) > 1
        self.faults = {"kill -9": self.kill, "SIGSTOP, SIGCONT": self.freeze, "SIGTERM": self.terminate}
        if several:
            self.faults["leader's lease taken away"] = self.take_lease
        if long:
            self.faults["SIGHUP"] = self.reload
        if several and long:
            self.faults["kill -9 of all copies"] = self.kill_all
            self.faults["frozen for longer than its leases"] = self.freeze_long
        if FAKETIME is not None and long:
            self.faults["clock step"] = self.clock

    async def kill(self) -> bool:
        """Kill a copy; sometimes its leases run out at once, else they are waited for."""
        return await self._kill(await self._one(), forget=not self._long or self._random.random() < 0.5)

    async def kill_all(self) -> bool:
        """Kill all copies at the same time, as a power cut would."""
        killed = await asyncio.gather(*(self._kill(daemon, forget=True) for daemon in self._environment.daemons))
        return any(killed)

    async def freeze(self) -> bool:
        return await self._freeze(self._random.choice((0.5, 3.0, 8.0 if self._long else 2.0)))

    async def freeze_long(self) -> bool:
        """Let a copy sleep until all that it holds went to the others; then it goes on where it stopped."""
        return await self._freeze(LEASE + 8.0)

    async def terminate(self) -> bool:
        """Stop a copy as systemd does: it must end by itself, well, within its grace."""
        daemon = await self._one()
        if not daemon.up or not daemon.signal(signal.SIGTERM):
            return False
        process, before = daemon.process, len(daemon.strange)
        assert process is not None
        daemon.expected.add(0)
        starts = daemon.starts
        if not await until(lambda: process.returncode is not None, within=GRACE + 25.0):
            daemon.strange.append(f"{daemon.name} did not end within {GRACE + 25.0:g} s of SIGTERM")
            daemon.kill()
        await until(lambda: daemon.starts > starts and daemon.up, within=START)
        return len(daemon.strange) == before

    async def reload(self) -> bool:
        return await self._reload(await self._one())

    async def reload_all(self) -> bool:
        """Let every copy read its configuration again; tell whether all took it."""
        taken = await asyncio.gather(*(self._reload(daemon) for daemon in self._environment.daemons))
        return all(taken)

    async def restart_all(self) -> None:
        """Kill all copies, and wait until all are there again."""
        await self.kill_all()
        for daemon in self._environment.daemons:
            await until(lambda daemon=daemon: daemon.up, within=START)  # type: ignore[misc]

    async def _reload(self, daemon: Daemon) -> bool:
        if not await until(lambda: daemon.up, within=START):
            return False
        since = daemon.size()
        daemon.signal(signal.SIGHUP)
        return await until(lambda: "configuration_reloaded" in daemon.told(since), within=15.0)

    async def take_lease(self) -> bool:
        """Freeze the reader until its turn ran out and another copy has it; it wakes up believing that it reads."""
        reader = await self._environment.reader()
        if reader is None or not reader.signal(signal.SIGSTOP):
            return False
        try:
            await self._environment.take_lease()
            deadline = time.monotonic() + START / 3
            while time.monotonic() < deadline:
                if await self._environment.reader() not in (None, reader):
                    return True
                await asyncio.sleep(0.1)
        finally:
            reader.signal(signal.SIGCONT)
        return False

    async def clock(self) -> bool:
        """Start a copy under a clock that can be set, set it, see that it took hold, and set it right again."""
        daemon, step = await self._one(), self._random.choice(STEPS)
        daemon.faked = True
        await self._kill(daemon, forget=True)
        took = False
        if await self._skewed(daemon, 0):
            replace(daemon.clock, f"{step:+d}\n")
            took = await self._skewed(daemon, step)
            await asyncio.sleep(self._random.uniform(0, 2))
            replace(daemon.clock, "+0\n")
            await self._skewed(daemon, 0)
        daemon.faked = False
        await self._kill(daemon, forget=True)
        return took

    async def _one(self) -> Daemon:
        """Pick a copy, half of the time the one that reads."""
        other, reader = self._random.choice(self._environment.daemons), self._random.random() < 0.5
        return (await self._environment.reader() if reader else None) or other

    async def _kill(self, daemon: Daemon, *, forget: bool) -> bool:
        starts, pid = daemon.starts, daemon.kill()
        if pid is None:
            return False
        await until(lambda: daemon.starts > starts, within=5.0)
        if forget:
            await self._environment.forget(pid)
        # On a busy machine a start takes many seconds; one that is always killed in it would meet no other fault.
        if self._random.random() < 0.8:
            await until(lambda: daemon.up, within=START)
        return True

    async def _freeze(self, seconds: float) -> bool:
        daemon = await self._one()
        frozen = daemon.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        daemon.signal(signal.SIGCONT)
        return frozen

    async def _skewed(self, daemon: Daemon, step: int) -> bool:
        """Wait until the daemon's own clock shows the step, in the Date of what its doors answer."""
        deadline = time.monotonic() + START
        async with self._environment.client(daemon) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    told = parsedate_to_datetime((await client.get("/livez")).headers["date"])
                    if abs((told - datetime.now(UTC)).total_seconds() - step) < 5:
                        return True
                await asyncio.sleep(0.2)
        return False
