"""Disturbs the store's database: locks it, fills its disk, kills its server.

Each fault is one coroutine that ends with all well again, and tells whether it took hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path
from random import Random

from environment import Environment
from supervised import until

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
FULL = ("disk is full", "DiskFull")
"""What the daemon says of a full disk: SQLite's words, PostgreSQL's error."""


class Databases:
    """Locks, fills and kills the store's database."""

    def __init__(self, environment: Environment, *, random: Random, long: bool) -> None:
        self._environment = environment
        self._random = random
        self.faults = {"database locked": lambda: self.lock(self._random.choice((0.5, 2.0, 5.0)))}
        if long:
            self.faults["database locked for a minute"] = lambda: self.lock(60.0)
        if environment.database.server is not None:
            self.faults["PostgreSQL killed"] = self.kill
        if environment.database.disk is not None:
            self.faults["full disk"] = self.fill

    async def lock(self, seconds: float) -> bool:
        """Let another process hold the store's write lock; a writer gives up after half a minute."""
        database = self._environment.database
        script, where = (LOCK_SQLITE, str(database.sqlite)) if database.sqlite else (LOCK_POSTGRES, database.url)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script, where),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        locked = bool(await process.stdout.readline())
        if locked:
            await asyncio.sleep(seconds)
        process.stdin.close()
        await process.wait()
        return locked

    async def fill(self) -> bool:
        """Fill the disk until a daemon has met it, then make room."""
        disk, sizes = self._environment.database.disk, [daemon.size() for daemon in self._environment.daemons]
        assert disk is not None
        ballast = disk / "ballast"
        await asyncio.to_thread(_fill, ballast)
        for _ in range(20):  # what is new needs room: PostgreSQL's tables have gaps for what only changes
            self._environment.kuma.raise_alert(events=8)
        met = await until(lambda: self._full(sizes), within=8.0)
        await asyncio.sleep(self._random.uniform(0, 2))
        ballast.unlink()
        return met

    async def kill(self) -> bool:
        """Kill PostgreSQL as a power cut would, and start it again after a moment."""
        server = self._environment.database.server
        assert server is not None
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(self._random.uniform(0, 2))
        await asyncio.to_thread(server.start)
        return True

    def _full(self, sizes: list[int]) -> bool:
        told = [daemon.told(size) for daemon, size in zip(self._environment.daemons, sizes, strict=True)]
        return any(words in text for text in told for words in FULL)


def _fill(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 65536):
            continue
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while file.write(b"\0" * 4096):
            continue
