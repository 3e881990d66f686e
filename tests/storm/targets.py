"""Puts one target into trouble, and watches that no other feels it; sends alerts elsewhere by another configuration.

While a target is in trouble nothing else is: then the others' incidents come as fast as just before.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from random import Random

import httpx
from environment import REPEAT_FOR, ROBOT_TOKEN, Environment
from kinds import AWAY, BROKEN_PROFILE, CUT_OFF, DEAD, HUNG, NONSENSE, REFUSING, ROUTE
from plain_http import plain_client
from processes import START, Processes
from routes import NORTH, PLAIN, PUSHED, ROBOT, TENANTS, WANDERER
from supervised import replace
from world import World

from kuma_sync.sim.faults import Faults
from kuma_sync.sim.server import SimServer

USUAL = 60.0
"""Seconds within which the others are served before one target gets into trouble; else the trouble waits."""
SLOWER = 10.0
"""Seconds by which the others may be slower meanwhile, beside twice what is usual, on a busy machine."""
WAITING = 20
"""Alerts that wait for the target in trouble."""
FAULTS: dict[str, tuple[str, dict[str, object]]] = {
    HUNG: ("hang", {}),
    REFUSING: ("unauthorized", {"code": 401}),
    NONSENSE: ("html", {}),
}
COMMAND = "/api/v1/alerts/?withEvents"


class Targets:
    """Plays the troubles of targets. `troubles` say what did not hold."""

    def __init__(
        self, environment: Environment, world: World, processes: Processes, *, random: Random, long: bool
    ) -> None:
        self._environment = environment
        self._world = world
        self._processes = processes
        self._random = random
        self.troubles: list[str] = []
        self._rounds = 3 if long else 1
        self.faults: dict[str, Callable[[], Awaitable[bool]]] = {DEAD: self.dead, CUT_OFF: self.robot_cut_off}
        if long:
            self.faults[AWAY] = self.robot_away
            self.faults |= {kind: partial(self.struck, kind) for kind in FAULTS}
            self.faults |= {BROKEN_PROFILE: self.broken_profile, ROUTE: self.change_route}

    async def dead(self) -> bool:
        """Let a target refuse connections."""
        name = self._random.choice(PUSHED)
        return await self._in_trouble(name, DEAD, _down(self._environment.servers[name]))

    async def struck(self, kind: str) -> bool:
        """Let a target meet every request with a fault."""
        name = self._random.choice(PUSHED)
        return await self._in_trouble(name, kind, _struck(self._environment.irps.targets[name].faults, kind))

    async def broken_profile(self) -> bool:
        """Break a target's profile and start all copies anew: only that target stops. Then mend it, and reload."""
        file = self._environment.folder / f"{NORTH}.toml"
        whole, told = file.read_text(), f"the profile of {NORTH} was broken"
        others = [PLAIN, ROBOT]
        async with self._environment.calm():
            if await self._slowest(others, within=USUAL, rounds=1) is None:
                return False
            replace(file, "[profile]\nname = 1\n")
            try:
                await self._processes.restart_all()
                came = await self._slowest(others, within=START, rounds=1)
                stopped = [daemon.name for daemon in self._environment.daemons if not daemon.stopped(NORTH)]
                waiting = self._raise(NORTH, WAITING)
            finally:
                replace(file, whole)
            reloaded = await self._processes.reload_all()
            served = await self._environment.arrived(waiting, within=START)
        self.troubles += [] if came is not None else [f"{told}: another had no incident after {START:g} s"]
        self.troubles += [f"{told}, and {name} did not say that it is stopped" for name in stopped]
        self.troubles += [] if reloaded else [f"{told} and mended, and a reload was not taken"]
        self.troubles += [] if served or not reloaded else [f"{told} and mended, and its alerts had no incidents"]
        return True

    async def change_route(self) -> bool:
        """Send wanderers to another target, and see that the next one goes there."""
        routes = self._environment.routes
        target = self._random.choice([name for name in TENANTS if name != routes.spells[-1].target])
        routes.change(target)
        self._environment.configure()
        if not await self._processes.reload_all():
            self.troubles.append("a route was changed, and a reload was not taken")
            return False
        routes.settle()
        alert_id = self._environment.kuma.raise_alert(name=WANDERER, tenant=TENANTS[PLAIN], events=1)
        self._world.ledger.spared.add(alert_id)
        if not await self._environment.arrived([alert_id], within=START):
            self.troubles.append(f"a wanderer had no incident after {START:g} s")
        return True

    async def robot_away(self) -> bool:
        """Keep the robot from asking: nobody else waits, and it gets all when it returns."""
        return await self._in_trouble(ROBOT, AWAY, self._away())

    async def robot_cut_off(self) -> bool:
        """Break an answer off that holds alerts nobody was given before: they are given again."""
        daemon = self._random.choice(self._environment.daemons)
        async with self._away():
            alerts = [self._raise_one(ROBOT, events=8) for _ in range(WAITING)]
            offered = daemon.up and await self._offered(daemon.listen, alerts)
            broke = offered and await asyncio.to_thread(_break_off, daemon.listen)
            # What counts as handed out is repeated for so long.
            await asyncio.sleep(REPEAT_FOR + 0.5)
        if broke and not await self._environment.arrived(alerts, within=START):
            self.troubles.append(f"alerts of an answer that broke off were not given again within {START:g} s")
        return broke

    async def _in_trouble(self, name: str, kind: str, trouble: contextlib.AbstractAsyncContextManager[None]) -> bool:
        """Measure how long the others' alerts take, before and in the trouble, while many wait for the target."""
        others = [other for other in TENANTS if other != name]
        async with self._environment.calm():
            usual = await self._slowest(others, within=USUAL, rounds=1)
            if usual is None:
                return False
            async with trouble:
                self._raise(name, WAITING)
                slowest = await self._slowest(others, within=START, rounds=self._rounds)
        if slowest is None or slowest > 2 * usual + SLOWER:
            took = "had no incident" if slowest is None else f"took {slowest:.1f} s, {usual:.1f} s before"
            self.troubles.append(f"{kind} ({name}): another's alert {took}")
        return True  # what becomes of those that waited, the oracle judges at rest

    async def _slowest(self, names: Iterable[str], *, within: float, rounds: int) -> float | None:
        """Let an alert after the other go to each of these targets; return the longest wait, None where one stayed."""
        longest = 0.0
        for _ in range(rounds):
            alerts, raised = [self._raise_one(name) for name in names], time.monotonic()
            if not await self._environment.arrived(alerts, within=within):
                return None
            longest = max(longest, time.monotonic() - raised)
        return longest

    def _raise(self, name: str, number: int) -> list[str]:
        return [self._raise_one(name) for _ in range(number)]

    def _raise_one(self, name: str, *, events: int = 1) -> str:
        """Raise an alert for a target, that nobody touches."""
        alert_id = self._environment.kuma.raise_alert(tenant=TENANTS[name], events=events)
        self._world.ledger.spared.add(alert_id)
        return alert_id

    @asynccontextmanager
    async def _away(self) -> AsyncIterator[None]:
        async with self._environment.schedule.asks:
            yield

    async def _offered(self, listen: str, alerts: list[str]) -> bool:
        """Wait until a daemon would show these alerts to the robot; asking by id changes nothing."""
        query = "".join(f"&id={alert_id}" for alert_id in alerts)
        deadline = time.monotonic() + START / 3
        async with plain_client(headers=_headers(), timeout=5) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.get(f"http://{listen}{COMMAND}{query}")
                    if answer.is_success and len(answer.json()) == len(alerts):
                        return True
                await asyncio.sleep(0.2)
        return False


@asynccontextmanager
async def _down(server: SimServer) -> AsyncIterator[None]:
    await server.stop()
    try:
        yield
    finally:
        await server.start()


@asynccontextmanager
async def _struck(faults: Faults, kind: str) -> AsyncIterator[None]:
    fault, arguments = FAULTS[kind]
    rule = faults.add(fault, method="", every=1, **arguments)
    try:
        yield
    finally:
        faults.remove(rule)


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {ROBOT_TOKEN}"}


def _break_off(listen: str) -> bool:
    """Ask as the robot does, and leave when the answer has begun; tell whether it had, and was not all there yet."""
    host, _, port = listen.rpartition(":")
    lines = [f"GET {COMMAND} HTTP/1.1", f"Host: {listen}", *(f"{name}: {value}" for name, value in _headers().items())]
    with contextlib.suppress(OSError), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(10)
        connection.connect((host, int(port)))
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection.recv(512).startswith(b"HTTP/1.1 200")
    return False
