"""Opens what the storm needs: both sides on real sockets, a database, and the daemon between them.

On PostgreSQL the daemon runs in several copies.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from addresses import somewhere
from postgres import Server
from sides import StampedIrp, Witness
from supervised import ENVIRONMENT, FAKETIME, Daemon

from kuma_sync.irp.load import profile_text
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer

DOOR_TOKEN = "door-token"
REASONS = {"False positive": "incorrect data", "Rule needs tuning": "incorrect correlation rule"}

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
profile = "{folder}/quick.toml"
connect_timeout = "1s"
read_timeout = "2s"
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
    irp: StampedIrp
    witness: Witness
    kuma_server: SimServer
    irp_server: SimServer
    database: Database
    daemons: list[Daemon] = field(default_factory=list)

    async def command(self, *arguments: str) -> str:
        """Run one of our commands beside the daemons; return what it printed."""
        words = [sys.executable, "-m", "kuma_sync", *arguments, "-c", str(self.daemons[0].config)]
        process = await asyncio.create_subprocess_exec(
            *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
        )
        out, err = await process.communicate()
        judged = arguments[0] == "status" and out  # its exit code says how it stands
        if process.returncode and not judged:
            raise RuntimeError(f"{arguments} ended with {process.returncode}: {err.decode()[-500:]}")
        return out.decode()

    def client(self, daemon: Daemon) -> httpx.AsyncClient:
        """Return a client of a daemon's doors that may pass them."""
        headers = {"Authorization": f"Bearer {DOOR_TOKEN}"}
        return httpx.AsyncClient(base_url=f"http://{daemon.listen}", headers=headers, trust_env=False, timeout=5)

    def events(self) -> Counter[str]:
        """Count the lines of all logs by event."""
        return sum((daemon.events() for daemon in self.daemons), Counter())

    async def forget(self, pid: int) -> None:
        """Let what a dead daemon holds on PostgreSQL run out now: that takes up to a minute."""
        if self.database.sqlite is None:
            await asyncio.to_thread(_ask, self.database.url, _FORGET, f"%:{pid}:%")

    async def take_turn(self) -> bool:
        """Take the reader's turn away from whoever has it; tell whether anybody had it."""
        return bool(await asyncio.to_thread(_ask, self.database.url, [_TAKE]))

    async def reader(self) -> Daemon | None:
        """Return the daemon whose turn it is to read, if that is known."""
        if self.database.sqlite is not None:
            return self.daemons[0]
        owner = await asyncio.to_thread(_ask, self.database.url, [_READER])
        pids = {daemon.process.pid: daemon for daemon in self.daemons if daemon.process}
        return pids.get(int(str(owner).split(":")[1])) if owner else None

    async def turns(self) -> int:
        """Return how often the reader's turn went to another life of a daemon (0 on SQLite, where it is nobody's)."""
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
    kuma, irp = KumaSim(token="kuma-token-0", seed=seed), StampedIrp(token="irp-token-0", seed=seed)
    irp.knobs.find_lag = 0.3
    witness = Witness(kuma)
    async with (
        SimServer(witness, listen=somewhere()) as kuma_server,
        SimServer(irp.overheard, listen=somewhere()) as irp_server,
    ):
        _prepare(folder)
        if FAKETIME is None:
            say("left out: clock step (faketime is not installed: apt-get install faketime)")
        environment = Environment(
            folder=folder,
            kuma=kuma,
            irp=irp,
            witness=witness,
            kuma_server=kuma_server,
            irp_server=irp_server,
            database=database,
        )
        environment.daemons = [_daemon(environment, number) for number in range(1, copies + 1)]
        running = [asyncio.create_task(daemon.keep_running()) for daemon in environment.daemons]
        try:
            yield environment
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


def _daemon(environment: Environment, number: int) -> Daemon:
    folder, listen = environment.folder, somewhere()
    urls = {"kuma": environment.kuma_server.url, "irp": environment.irp_server.url}
    config, log, clock = (folder / f"{kind}-{number}" for kind in ("config", "log", "clock"))
    config.write_text(
        CONFIG.format(**urls, store=environment.database.url, listen=listen, folder=folder, door=DOOR_TOKEN)
    )
    config.chmod(0o600)
    clock.write_text("+0\n")
    log.touch()
    return Daemon(name=f"daemon {number}", config=config, log=log, clock=clock, listen=listen)


def _prepare(folder: Path) -> None:
    (folder / "quick.toml").write_text(profile_text("security-vision").replace('settle = "5s"', 'settle = "1s"'))
    for side in ("kuma", "irp"):
        token = folder / f"{side}.token"
        token.write_text(f"{side}-token-0")
        token.chmod(0o600)
