"""Disturbs the store's SQLite file under a running daemon: moves it away, replaces it, deletes and restores it.

While the file is away the daemon can keep nothing: its door must say so (503, never 204), and so must its health.
Afterwards all must be as if nothing had happened; the oracle judges that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import httpx
from environment import Environment
from kinds import MOVED, REPLACED, RESTORED
from processes import GRACE, START
from routes import PLAIN, TENANTS
from supervised import Daemon, until
from world import World

NOTICE = 15.0
"""Seconds within which door and health say that the store is away; they look far more often than that."""
LOOK = 1.5
"""Seconds for which they are asked at least."""
AGE = (2.0, 4.0)
"""Seconds by which a restored copy is too old, from and to."""
TAKEN, AWAY = 204, 503


class Files:
    """Takes the store's file away from its daemon. `troubles` say what did not hold."""

    def __init__(self, environment: Environment, world: World, *, random: Random, full: bool) -> None:
        self._environment = environment
        self._world = world
        self._random = random
        self._order: dict[str, str] = {}
        self.troubles: list[str] = []
        self.faults = {}
        if environment.database.sqlite is not None:
            self.faults[MOVED] = self.move
        if environment.database.sqlite is not None and full:
            self.faults |= {REPLACED: self.replace, RESTORED: self.restore}

    async def move(self) -> bool:
        """Move the file away, alone or with its logs or with its folder; later move it back."""
        store, daemon = self._store, self._environment.daemons[0]
        if not await self._well(daemon):
            return False
        what = self._random.choice(((store,), _files(store), (store.parent,)))
        moved = [(one, one.with_name(f"{one.name}.away")) for one in what if one.exists()]
        for one, away in moved:
            one.rename(away)
        try:
            await self._must_notice(daemon, "moved away")
        finally:
            for one, away in moved:
                os.replace(away, one)  # noqa: PTH105  # over whatever was made in its place
        await self._must_recover(daemon, "moved back")
        return True

    async def replace(self) -> bool:
        """Put an older copy in the file's place: the daemon must end, for it cannot know what that is."""
        store, daemon = self._store, self._environment.daemons[0]
        if not await self._well(daemon):
            return False
        aside, copy = store.with_name("aside"), await self._copy()
        async with self._held(daemon):
            aside.mkdir()
            for one in _files(store):
                one.rename(aside / one.name)
            shutil.copyfile(copy, store)
            await self._must_end(daemon)
            _remove(store)
            for one in aside.iterdir():
                one.rename(store.with_name(one.name))
            aside.rmdir()
        await self._must_recover(daemon, "put back in the place of another one")
        return True

    async def restore(self) -> bool:
        """Delete the file; then restore an older copy, as the runbook says.

        Meanwhile nothing happens that could only be known by what the copy is too old to hold.
        """
        store, daemon = self._store, self._environment.daemons[0]
        if not await self._well(daemon):
            return False
        async with self._world.nothing_final():
            copy = await self._copy()
            await asyncio.sleep(self._random.uniform(*AGE))
            _remove(store)
            await self._must_notice(daemon, "deleted")
            async with self._held(daemon):
                await self._stop(daemon)
                _remove(store)
                shutil.copyfile(copy, store)
                await self._environment.command("resync", "--all", "--yes")
            await self._must_recover(daemon, "restored from an older copy")
            sweeps = self._environment.witness.sweeps
            await until(lambda: self._environment.witness.sweeps >= sweeps + 2, within=START)
            self._world.ledger.restored += 1
        return True

    @property
    def _store(self) -> Path:
        store = self._environment.database.sqlite
        assert store is not None
        return store

    async def _copy(self) -> Path:
        copy = self._environment.folder / "copy.db"
        copy.unlink(missing_ok=True)
        await asyncio.to_thread(_back_up, self._store, copy)
        return copy

    @asynccontextmanager
    async def _held(self, daemon: Daemon) -> AsyncIterator[None]:
        """Let nobody start a daemon that ends meanwhile."""
        daemon.held = True
        try:
            yield
        finally:
            daemon.held = False

    async def _well(self, daemon: Daemon) -> bool:
        """Tell whether daemon and store are well, so that what follows is the file's fault; have a closing to order."""
        alert_id = self._environment.kuma.raise_alert(tenant=TENANTS[PLAIN], events=1)
        self._world.ledger.spared.add(alert_id)
        self._order = {"id": alert_id, "reason": "responded"}
        key, irps = f"kuma:kuma:{alert_id}", self._environment.irps
        if not await until(lambda: bool(irps.by_key(key)), within=START / 3):
            return False
        # While the answer to our create is in doubt, only whoever names the incident is known to have closed it.
        self._order["incident"] = irps.by_key(key)[0].id
        return daemon.up and await self._store_state(daemon) == "ok"

    async def _must_notice(self, daemon: Daemon, what: str) -> None:
        """Ask door and health until both say that the store is away; the door must never take an order."""
        begun, refused, told, taken = time.monotonic(), False, False, 0
        while time.monotonic() - begun < (LOOK if refused and told else NOTICE):
            status = await self._ask_door(daemon)
            refused, taken = refused or status == AWAY, taken + (status == TAKEN)
            told = told or await self._store_state(daemon) not in ("ok", "")
            await asyncio.sleep(0.2)
        self.troubles += [f"the store's file was {what}, and the door said 204 {taken} times"] if taken else []
        self.troubles += [] if refused else [f"the store's file was {what}, and the door never said 503"]
        self.troubles += [] if told else [f"the store's file was {what}, and /readyz did not say so in {NOTICE:g} s"]

    async def _must_end(self, daemon: Daemon) -> None:
        """Wait for the process to end by itself, with a sentence; the door must never take an order."""
        process, since, begun, taken = daemon.process, daemon.size(), time.monotonic(), 0
        assert process is not None
        daemon.expected.add(1)
        while process.returncode is None and time.monotonic() - begun < NOTICE:
            taken += await self._ask_door(daemon) == TAKEN
            await asyncio.sleep(0.2)
        self.troubles += [f"another file took the store's place, and the door said 204 {taken} times"] if taken else []
        if process.returncode is None:
            self.troubles.append(f"another file took the store's place, and the process lived on for {NOTICE:g} s")
            await self._stop(daemon)
        elif "Traceback" in daemon.told(since):
            self.troubles.append("another file took the store's place, and the process ended with a traceback")

    async def _stop(self, daemon: Daemon) -> None:
        """Stop the daemon, kindly if it lets us."""
        process = daemon.process
        assert process is not None
        daemon.expected |= {0, 1}
        daemon.signal(signal.SIGTERM)
        if not await until(lambda: process.returncode is not None, within=GRACE + 25.0):
            daemon.kill()
            await until(lambda: process.returncode is not None, within=GRACE)

    async def _must_recover(self, daemon: Daemon, what: str) -> None:
        """Order the closing again, as an IRP does, until the door takes it."""
        deadline = time.monotonic() + START
        ledger, alert_id = self._world.ledger, self._order["id"]
        ledger.allowed[alert_id].add(self._order["reason"])
        ledger.door_only.add(alert_id)
        while time.monotonic() < deadline:
            if await self._ask_door(daemon) == TAKEN and await self._store_state(daemon) == "ok":
                ledger.by_door.add(alert_id)
                return
            await asyncio.sleep(0.3)
        self.troubles.append(f"the store's file was {what}, and the door took no order for {START:g} s")

    async def _ask_door(self, daemon: Daemon) -> int:
        """Order the closing at the door; return the status, 0 without an answer."""
        with contextlib.suppress(httpx.TransportError):
            async with self._environment.client(daemon) as client:
                return (await client.post("/api/v3/alerts/close", json=self._order)).status_code
        return 0

    async def _store_state(self, daemon: Daemon) -> str:
        """Return what health says of the store; nothing without an answer, or where it contradicts itself."""
        with contextlib.suppress(httpx.TransportError):
            async with self._environment.client(daemon) as client:
                answer = await client.get("/readyz")
                state = str(answer.json()["parts"]["store"]["state"])
                return state if state == "ok" or answer.status_code == AWAY else ""
        return ""


def _files(store: Path) -> list[Path]:
    """Return the file and its logs, as far as they are there."""
    return [one for one in (store, *(Path(f"{store}{log}") for log in ("-wal", "-shm"))) if one.exists()]


def _remove(store: Path) -> None:
    for one in _files(store):
        one.unlink(missing_ok=True)


def _back_up(store: Path, copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(store)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
