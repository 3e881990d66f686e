"""Opens what the storm needs: KUMA and three IRPs on real sockets, a database, and the daemon between them.

On PostgreSQL the daemon runs in several copies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import psycopg
from addresses import somewhere
from forked import ended
from plain_http import plain_client
from postgres import Server
from robots import OPTIONS, Schedule
from routes import PUSHED, ROBOT, Routes
from sides import Irps, Records, StampedIrp, StampedRobot, Witness
from supervised import ENVIRONMENT, FAKETIME, Daemon, replace, until

from kuma_sync.irp.load import profile_text
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer

DOOR_TOKEN = "door-token"
ROBOT_TOKEN = "robot-token"
REPEAT_FOR = 2.0
"""Seconds for which an alert is handed out again to the robot."""
CALM = 120.0
"""Seconds within which every fault on the wire ends when no new one is let in."""

CONFIG = """
[kuma]
url = "{kuma}"
token_file = "{folder}/kuma.token"
connect_timeout = "1s"
read_timeout = "3s"
[poll]
interval = "300ms"
sweep_interval = "1s"
overlap = "5s"
[irp]
url = "{irp}"
token_file = "{folder}/irp.token"
profile = "{folder}/irp.toml"
connect_timeout = "1s"
read_timeout = "2s"
[targets.north]
url = "{north}"
token_file = "{folder}/north.token"
profile = "{folder}/north.toml"
connect_timeout = "1s"
read_timeout = "2s"
[targets.robot]
profile = "security-vision-pull"
token = "{robot}"
repeat_for = "{repeat_for:g}s"
{routes}
[close]
watch_interval = "300ms"
[close.reasons]
"False positive" = "incorrect data"
"Rule needs tuning" = "incorrect correlation rule"
[retry]
base = "200ms"
max = "2s"
[brake]
max_closed_percent = 100
[store]
url = "{store}"
[run]
grace = "5s"
[web]
listen = "{listen}"
[web.tokens]
desk = "{door}"
[log]
level = "debug"
format = "json"
"""


@dataclass(frozen=True, kw_only=True)
class Database:
    """The store's database: a SQLite file, or one of a PostgreSQL server that may be killed (`server`).

    `disk` is the small one that it lies on.
    """

    url: str
    server: Server | None = None
    disk: Path | None = None

    @property
    def sqlite(self) -> Path | None:
        """Return the SQLite file, or None on PostgreSQL."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite") else None


@dataclass(kw_only=True)
class Environment:
    """All that the storm is played on."""

    folder: Path
    kuma: KumaSim
    irps: Irps
    witness: Witness
    servers: Mapping[str, SimServer]
    """By name: KUMA's, and those of the targets that we push to."""
    schedule: Schedule
    database: Database
    daemons: list[Daemon] = field(default_factory=list)
    routes: Routes = field(default_factory=Routes)
    gusts: int = 0
    """Faults on the wire that are there now."""
    windy: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def robot(self) -> StampedRobot:
        """Return the IRP that polls us."""
        return self.schedule.robot

    def side(self, name: str) -> KumaSim | StampedIrp:
        """Return a simulator by its name: KUMA, or a target."""
        return self.kuma if name == "kuma" else self.irps.targets[name]

    @asynccontextmanager
    async def calm(self) -> AsyncIterator[None]:
        """Wait until no fault is on the wire, and let none come until the end of the block."""
        self.windy.clear()
        try:
            await until(lambda: not self.gusts, within=CALM)
            yield
        finally:
            self.windy.set()

    @asynccontextmanager
    async def gust(self) -> AsyncIterator[None]:
        """Wait for wind; what is in the block is a fault on the wire."""
        await self.windy.wait()
        self.gusts += 1
        try:
            yield
        finally:
            self.gusts -= 1

    def configure(self) -> None:
        """Write every copy's configuration with the routes as they are now."""
        urls = {name: server.url for name, server in self.servers.items()}
        own = {"store": self.database.url, "folder": self.folder, "repeat_for": REPEAT_FOR, "routes": self.routes.toml}
        for daemon in self.daemons:
            tokens = {"door": DOOR_TOKEN, "robot": ROBOT_TOKEN}
            replace(daemon.config, CONFIG.format(**urls, **own, **tokens, listen=daemon.listen))

    async def command(self, *arguments: str) -> str:
        """Run one of our commands beside the daemons; return what it printed."""
        code, out, err = await ended(*arguments, "-c", str(self.daemons[0].config), env=ENVIRONMENT)
        if code:
            raise RuntimeError(f"{arguments} ended with {code}: {err[-500:]}")
        return out

    def without_incident(self, alerts: Collection[str]) -> set[str]:
        """Return which of these alerts have no incident at any target."""
        return {one for one in alerts if f"kuma:kuma:{one}" not in self.irps.keys}

    async def parked(self) -> set[str]:
        """Return the alerts, and the pieces that are none, that are parked."""
        return {job["id"] for job in json.loads(await self.command("status", "--json"))["parked"]}

    async def arrived(self, alerts: Collection[str], *, within: float, or_parked: bool = False) -> bool:
        """Wait until each of these has an incident; where the IRP may fail, one that is parked by then will do, too."""
        if await until(lambda: not self.without_incident(alerts), within=within):
            return True
        with contextlib.suppress(RuntimeError):  # the store may be away at this moment
            return or_parked and self.without_incident(alerts) <= await self.parked()
        return False

    def client(self, daemon: Daemon) -> httpx.AsyncClient:
        """Return a client of a daemon's doors that may pass them."""
        headers = {"Authorization": f"Bearer {DOOR_TOKEN}"}
        return plain_client(f"http://{daemon.listen}", headers=headers, timeout=5)

    def events(self) -> Counter[str]:
        """Count the lines of all logs by event."""
        return sum((daemon.events() for daemon in self.daemons), Counter())

    async def forget(self, pid: int) -> None:
        """Let what a dead daemon holds on PostgreSQL run out now: that takes up to a minute."""
        if self.database.sqlite is None:
            await asyncio.to_thread(_ask, self.database.url, _FORGET, f"%:{pid}:%")

    async def take_lease(self) -> bool:
        """Take the leader's lease away from the copy that has it; tell whether anybody had it."""
        return bool(await asyncio.to_thread(_ask, self.database.url, [_TAKE]))

    async def reader(self) -> Daemon | None:
        """Return the daemon whose turn it is to read, if that is known."""
        if self.database.sqlite is not None:
            return self.daemons[0]
        owner = await asyncio.to_thread(_ask, self.database.url, [_READER])
        pids = {daemon.process.pid: daemon for daemon in self.daemons if daemon.process}
        return pids.get(int(str(owner).split(":")[1])) if owner else None

    async def leaderships(self) -> int:
        """Return how often the leader's lease went to another life of a daemon (0 on SQLite, where it is nobody's)."""
        fence = None if self.database.sqlite else await asyncio.to_thread(_ask, self.database.url, [_FENCE])
        return int(str(fence or 0))


_FORGET = [
    "UPDATE lease SET expires_at = now() - interval '1 second' WHERE owner LIKE %s",
    "UPDATE delivery_queue SET lease_until = now() - interval '1 second' WHERE state = 'running' AND owner LIKE %s",
    "UPDATE close_queue SET lease_until = now() - interval '1 second' WHERE state = 'running' AND owner LIKE %s",
]
_TAKE = "UPDATE lease SET expires_at = now() - interval '1 second' WHERE expires_at > now() RETURNING owner"
_READER = "SELECT owner FROM lease WHERE expires_at > now()"
_FENCE = "SELECT max(fence) FROM lease"


def _ask(url: str, statements: list[str], *values: str) -> object:
    """Run statements; return the first value of the last one, None where there is none or the database is away."""
    with (
        contextlib.suppress(psycopg.Error),
        psycopg.connect(url, connect_timeout=2, autocommit=True, options="-c statement_timeout=2000") as connection,
    ):
        for statement in statements:
            cursor = connection.execute(statement, values or None)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None
    return None


@asynccontextmanager
async def opened_environment(
    folder: Path, database: Database | None = None, *, seed: int, copies: int = 1, say: Callable[[str], None]
) -> AsyncIterator[Environment]:
    """Open the environment, by default on a SQLite file in the folder, and keep so many copies running."""
    folder.mkdir(parents=True, exist_ok=True)
    database = database or Database(url=f"sqlite:///{folder}/store.db")
    kuma = KumaSim(token="kuma-token-0", seed=seed)
    witness, records = Witness(kuma), Records()
    pushed = {
        name: StampedIrp(records=records, token=f"{name}-token-0", seed=seed + number, prefix=name.upper())
        for number, name in enumerate(PUSHED)
    }
    for irp in pushed.values():
        irp.knobs.find_lag = 0.3
    robot = StampedRobot(
        records=records,
        url="",
        kuma_token=ROBOT_TOKEN,
        options=OPTIONS,
        seed=seed + len(pushed),
        tell=lambda _line: None,
    )
    apps = {"kuma": witness, **{name: irp.overheard for name, irp in pushed.items()}}
    async with AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(SimServer(app, listen=somewhere())) for name, app in apps.items()
        }
        _prepare(folder)
        if FAKETIME is None:
            say("left out: clock step (faketime is not installed: apt-get install faketime)")
        schedule = Schedule(robot, lambda: environment.daemons, random=Random(f"robot {seed}"))
        environment = Environment(
            folder=folder,
            kuma=kuma,
            irps=Irps({**pushed, ROBOT: robot}, records),
            witness=witness,
            servers=servers,
            schedule=schedule,
            database=database,
        )
        environment.windy.set()
        environment.daemons = [_daemon(folder, number) for number in range(1, copies + 1)]
        environment.configure()
        running = [asyncio.create_task(daemon.keep_running()) for daemon in environment.daemons]
        running.append(asyncio.create_task(schedule.run()))
        try:
            yield environment
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


def _daemon(folder: Path, number: int) -> Daemon:
    config, log, clock = (folder / f"{kind}-{number}" for kind in ("config", "log", "clock"))
    clock.write_text("+0\n")
    log.touch()
    return Daemon(name=f"daemon {number}", config=config, log=log, clock=clock, listen=somewhere())


def _prepare(folder: Path) -> None:
    for name in PUSHED:
        profile = profile_text("security-vision").replace('settle = "5s"', 'settle = "1s"')
        (folder / f"{name}.toml").write_text(profile)
    for side in ("kuma", *PUSHED):
        replace(folder / f"{side}.token", f"{side}-token-0")
