"""Plays callers that connect to a daemon's door and say nothing; the door and the daemon must go on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from random import Random

import httpx
from environment import Environment
from ledger import Ledger
from supervised import Daemon

CROWD = 1064
"""Silent connections: more than a process may have files open (supervised.FILES)."""
FEW = 300
"""As many in the minute's storm: within what the door bears."""
ANSWER = 30.0
"""Seconds within which the door answers again, however many say nothing."""
WORK = 150.0
"""Seconds within which a fresh alert has its incident meanwhile: another fault may lock the database for a minute."""
LOGGED = 10_000_000
"""Bytes of log that are too many for one such crowd."""
BAD_REQUEST = 400


class Callers:
    """Lets a crowd connect to one door and stay silent. `troubles` say what did not hold."""

    def __init__(self, environment: Environment, ledger: Ledger, *, random: Random, full: bool) -> None:
        self._environment = environment
        self._ledger = ledger
        self._random = random
        self._size = CROWD if full else FEW
        self.troubles: list[str] = []

    async def silent(self) -> bool:
        """Connect many times to one copy, and see that it goes on."""
        daemon = self._random.choice(self._environment.daemons)
        if not daemon.up or not await self._answers(daemon):
            return False
        logged = daemon.size()
        crowd = await _crowd(daemon.listen, self._size)
        try:
            answered, worked = await asyncio.gather(self._answers_again(daemon), self._works())
        finally:
            for connection in crowd:
                connection.close()
        told = f"{daemon.name} under {len(crowd)} silent connections"
        self.troubles += [] if answered else [f"{told}: its door did not answer within {ANSWER:g} s"]
        self.troubles += [] if worked else [f"{told}: after {WORK:g} s a fresh alert had no incident, nor was parked"]
        grown = daemon.size() - logged
        self.troubles += [] if grown < LOGGED else [f"{told}: {grown / 1e6:.0f} MB of log"]
        return len(crowd) == self._size

    async def _answers_again(self, daemon: Daemon) -> bool:
        """Wait until the door has answered three times in a row."""
        deadline, times = time.monotonic() + ANSWER, 0
        while times < 3:
            times = times + 1 if await self._answers(daemon) else 0
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.3)
        return True

    async def _answers(self, daemon: Daemon) -> bool:
        """Ask health and door, by a connection of its own."""
        with contextlib.suppress(httpx.TransportError):
            async with self._environment.client(daemon) as client:
                lives = await client.get("/livez")
                refused = await client.post("/api/v3/alerts/close", json={"id": "", "reason": "responded"})
                return lives.is_success and refused.status_code == BAD_REQUEST
        return False

    async def _works(self) -> bool:
        alert_id = self._environment.kuma.raise_alert(events=1)
        self._ledger.spared.add(alert_id)
        return await self._environment.arrived([alert_id], within=WORK, or_parked=True)


async def _crowd(listen: str, size: int) -> list[socket.socket]:
    """Open so many connections; fewer where they are refused."""
    host, _, port = listen.rpartition(":")
    loop, crowd = asyncio.get_running_loop(), list[socket.socket]()
    for _ in range(size):
        connection = socket.socket()
        connection.setblocking(False)
        try:
            async with asyncio.timeout(5):
                await loop.sock_connect(connection, (host, int(port)))
        except (OSError, TimeoutError):
            connection.close()
            break
        crowd.append(connection)
    return crowd
