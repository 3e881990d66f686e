"""Both sides on real sockets, one configuration, and the program between them: in this loop, or as a child process.

Nothing here waits for seconds: `eventually` waits for a condition.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import tomli_w
from addresses import somewhere
from forked import Forked, command, fork
from plain_http import plain_client

from kuma_sync.app.build import build, open_store
from kuma_sync.app.lifecycle import Daemon
from kuma_sync.app.one_pass import at_once
from kuma_sync.app.shared_state import SharedState
from kuma_sync.app.usable_store import make_ready
from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import Link
from kuma_sync.irp.load import profile_text
from kuma_sync.settings import Settings, load
from kuma_sync.sim.comparison import compare
from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer
from kuma_sync.store import Tx
from kuma_sync.store.jobs import Job, JobState
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.runner import Runtime, work
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics

T = TypeVar("T")

Tables = dict[str, Any]

QUICK: Tables = {
    "poll": {"interval": "200ms", "sweep_interval": "500ms"},
    "close": {"watch_interval": "200ms", "reasons": {"False positive": "incorrect data"}},
    "retry": {"base": "100ms", "max": "1s"},
    "run": {"grace": "10s"},
    "web": {"listen": ""},
    "log": {"format": "json"},
}


async def eventually(condition: Callable[[], Awaitable[T] | T], *, within: float = 15.0) -> T:
    """Wait until a condition holds and return what it said; fail when it does not hold in time.

    A condition that takes long is looked at less often: looking leaves time for what is waited for.
    """
    deadline = time.monotonic() + within
    while True:
        began = time.monotonic()
        said = condition()
        value = await said if inspect.isawaitable(said) else said
        if value:
            return value
        assert time.monotonic() < deadline, f"never became true: {inspect.getsource(condition).strip()}"
        await asyncio.sleep(min(max(0.02, 2 * (time.monotonic() - began)), 0.2, within / 20))


@dataclass(kw_only=True)
class Child:
    """The command as a child process; its log is a file of JSON lines."""

    process: Forked
    log: Path

    def says(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    async def ended(self, *, within: float = 30.0) -> int:
        """Wait for the end; return the exit code."""
        async with asyncio.timeout(within):
            return await self.process.wait()


@dataclass(kw_only=True)
class Stage:
    """Two simulators, a configuration and a store."""

    kuma: KumaSim
    irp: IrpSim
    kuma_server: SimServer
    irp_server: SimServer
    folder: Path
    database: str
    tables: Tables
    children: int = 0
    owned: list[Child] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """Return the configuration file."""
        return self.folder / "config.toml"

    def configure(self, **sections: dict[str, Any]) -> None:
        """Change keys and write the file anew."""
        for section, keys in sections.items():
            self.tables.setdefault(section, {}).update(keys)
        self.config.write_text(tomli_w.dumps(self.tables))
        self.config.chmod(0o600)

    def settings(self) -> Settings:
        """Read the configuration."""
        return load(self.config, {})

    @asynccontextmanager
    async def runtime(
        self,
        metrics: Metrics | None = None,
        *,
        single: bool = False,
        health: Health | None = None,
        limits: Limits | None = None,
    ) -> AsyncIterator[Runtime]:
        """Wire everything in this process, with the store made ready; nothing runs yet. `single`: as `run --once`."""
        settings = at_once(self.settings()) if single else self.settings()
        async with AsyncExitStack() as stack:
            health = health or Health(monotonic=time.monotonic)
            limits = limits or Limits()
            store = open_store(settings, limits=limits.store)
            shared = SharedState(store=store, limits=limits, metrics=metrics or Metrics(), health=health)
            stack.push_async_callback(shared.store.aclose)
            runtime = await build(settings, shared, stack)
            await make_ready(shared.store, runtime, shared.owner)
            yield runtime

    @asynccontextmanager
    async def working(
        self, metrics: Metrics | None = None, *, health: Health | None = None, limits: Limits | None = None
    ) -> AsyncIterator[Runtime]:
        """Let a crew work in this process while the block runs."""
        async with self.runtime(metrics, health=health, limits=limits) as runtime:
            stop = asyncio.Event()
            working = asyncio.create_task(work(runtime, stop, timedelta(seconds=10)))
            try:
                yield runtime
            finally:
                stop.set()
                await working

    @asynccontextmanager
    async def door(
        self, env: Mapping[str, str] | None = None, *, limits: Limits | None = None, ready: bool = True
    ) -> AsyncIterator[httpx.AsyncClient]:
        """Run the whole daemon in this process, doors and all; yield a client that may pass them.

        Not `ready`: it is enough that nothing is starting any more.
        """
        listen = somewhere()
        self.configure(web={"listen": listen, "tokens": {"security-vision": "door-token"}})
        daemon = Daemon(self.settings(), reload=self.settings, env=env or {}, limits=limits)
        running = asyncio.create_task(daemon.run())
        headers = {"Authorization": "Bearer door-token"}
        try:
            async with plain_client(f"http://{listen}", headers=headers, timeout=40) as client:
                await eventually(lambda: _answers(client, running, ready=ready))
                yield client
        finally:
            daemon.stop()
            await running

    async def passes(self, number: int = 1) -> list[str]:
        """Do complete passes, each like a process of its own; return the last one's troubles."""
        troubles: list[str] = []
        for _ in range(number):
            async with self.runtime(single=True) as runtime:
                troubles = await once(runtime)
        return troubles

    def start(self, *arguments: str) -> Child:
        """Start the command."""
        self.children += 1
        log = self.folder / f"child-{self.children}.log"
        process = fork(log, command, "run", *arguments, "-c", str(self.config))
        self.owned.append(Child(process=process, log=log))
        return self.owned[-1]

    async def run_once(self) -> int:
        """Run `run --once` to its end; return its exit code."""
        return await self.start("--once").ended(within=90)

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Child]:
        """Start the daemon and wait until it works; it is terminated after the block unless it has ended."""
        child = self.start()
        await eventually(lambda: child.says("started"))
        yield child
        if child.process.returncode is None:
            child.process.terminate()
            assert await child.ended() == 0

    def incident(self, alert_id: str) -> Incident:
        """Return the one incident of an alert."""
        (incident,) = self.irp.by_key(f"kuma:kuma:{alert_id}")
        return incident

    def incidents(self, alert_id: str) -> list[Incident]:
        """Return all incidents of an alert."""
        return self.irp.by_key(f"kuma:kuma:{alert_id}")

    def wrote(self, operation: str = "") -> list[tuple[str, dict[str, Any]]]:
        """Return the writes the IRP took: (incident id, body)."""
        return [(id_, body) for deed, id_, body in self.irp.writes if operation in ("", deed)]

    def agrees(self, *, max_events: int = 1000) -> bool:
        """Tell whether nothing is lost, doubled, different or half closed."""
        return compare(self.kuma, self.irp, max_events=max_events).agrees

    def verdict(self, *, max_events: int = 1000) -> str:
        """Say how both sides stand to each other, in words; for the message of an assertion."""
        return "\n".join(compare(self.kuma, self.irp, max_events=max_events).lines())

    def queries(self) -> list[str]:
        """Return the query strings of the listings KUMA was asked for so far."""
        return [request.query for request in self.kuma.requests if request.path.rstrip("/").endswith("/alerts")]


@asynccontextmanager
async def staged(
    folder: Path, database: str, *, dialect: str = "security-vision", **sections: dict[str, Any]
) -> AsyncIterator[Stage]:
    """Open the stage, with the IRP of a dialect and the profile for it; child processes left at the end are killed."""
    kuma, irp = KumaSim(token="kuma-token"), IrpSim(token="irp-token", dialect=dialect)
    async with (
        SimServer(kuma.app, listen=somewhere()) as kuma_server,
        SimServer(irp.app, listen=somewhere()) as irp_server,
    ):
        profile = quick_profile(folder.parent, irp.dialect.profile)
        tables: Tables = {name: dict(keys) for name, keys in QUICK.items()}
        tables["kuma"] = {"url": kuma_server.url, "token": kuma.token}
        tables["irp"] = {"url": irp_server.url, "token": irp.token, "profile": str(profile)}
        tables["store"] = {"url": database}
        stage = Stage(
            kuma=kuma,
            irp=irp,
            kuma_server=kuma_server,
            irp_server=irp_server,
            folder=folder,
            database=database,
            tables=tables,
        )
        stage.configure(**sections)
        try:
            yield stage
        finally:
            for child in stage.owned:
                if child.process.returncode is None:
                    child.process.kill()
                    await child.process.wait()


def change_profile(stage: Stage, change: Callable[[str], str]) -> None:
    """Let a profile of the stage's own, with another text, take the place of the one it has."""
    own = stage.folder / "changed.toml"
    own.write_text(change(Path(stage.tables["irp"]["profile"]).read_text()))
    stage.configure(irp={"profile": str(own)})


def quick_profile(folder: Path, name: str) -> Path:
    """Return a built-in profile with a shorter wait for what find must show; those of one folder share it, compiled."""
    path = folder / f"quick-{name}.toml"
    if not path.exists():
        path.write_text(re.sub(r'settle = "\d+s"', 'settle = "200ms"', profile_text(name)))
    return path


def without(operation: str) -> Callable[[str], str]:
    """Return a change of the profile's text that removes an operation."""
    return lambda text: re.sub(rf"(?ms)^\[{operation}(\.\w+)?\]\n.*?(?=^\[(?!{operation})|\Z)", "", text)


async def leases_run_out(stage: Stage) -> None:
    """Let the leases of whoever is dead end now: on PostgreSQL that takes a minute."""
    async with stage.runtime() as runtime:
        await tell(runtime, let_leases_run_out)


def let_leases_run_out(tx: Tx) -> None:
    """Take all that is leased from whoever has it."""
    tx.delivery.recover("nobody")
    tx.closes.recover("nobody")
    turn = tx.lease.take("reader", "nobody", ttl=timedelta(seconds=1), force=True)
    assert turn is not None
    tx.lease.give_back(turn)


async def until_proven(runtime: Runtime) -> None:
    """Wait until `find` showed the first incident: what it shows later, a closing too, would be carried."""

    async def is_proven() -> bool:
        return (await ask(runtime, lambda tx: tx.targets.profile("irp"))).shown

    await eventually(is_proven)


async def until_rest(runtime: Runtime, *, within: float = 15.0) -> None:
    """Work both queues, back-offs included, until nothing is pending or running."""

    async def at_rest() -> bool:
        for target in runtime.targets.values():
            await target.deliveries.drain()
        await runtime.closes.drain()
        depths = await ask(runtime, lambda tx: [tx.delivery.depths(), tx.closes.depths()])
        return not any(depth.get(state) for depth in depths for state in ("pending", "postponed", "backoff", "running"))

    await eventually(at_rest, within=within)


def ago(**by: float) -> datetime:
    """Return a time so long before now, in whole seconds as KUMA's are."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(**by)


async def polled(runtime: Runtime, *, sweep: bool = False) -> None:
    """Poll once as the daemon does, and deliver what follows."""
    await runtime.poller.poll_once(sweep=sweep)
    await until_rest(runtime)


async def ask(runtime: Runtime, question: Callable[[Tx], T]) -> T:
    """Ask the store."""
    return await runtime.store.read(question)


async def tell(runtime: Runtime, change: Callable[[Tx], T]) -> T:
    """Change the store."""
    return await runtime.store.write(change)


async def link_of(runtime: Runtime, alert_id: str) -> Link:
    """Return the link of an alert."""
    link = await ask(runtime, lambda tx: tx.links.get(AlertId(alert_id)))
    assert link is not None
    return link


async def state_of(runtime: Runtime, alert_id: str) -> str | None:
    """Return the state of an alert, as `kuma-sync alerts` shows it."""
    return await ask(runtime, lambda tx: tx.overview.state(AlertId(alert_id)))


async def parked(runtime: Runtime) -> list[Job]:
    """Return the parked jobs of both queues."""
    return await ask(runtime, _parked)


def _parked(tx: Tx) -> list[Job]:
    return [*tx.delivery.jobs(states=[JobState.PARKED]), *tx.closes.jobs(states=[JobState.PARKED])]


async def _answers(client: httpx.AsyncClient, running: asyncio.Task[None], *, ready: bool) -> bool:
    if running.done():
        await running
    try:
        answer = await client.get("/readyz")
    except httpx.TransportError:
        return False
    if ready:
        return answer.status_code == 200
    return all(part["state"] != "starting" for part in answer.json()["parts"].values())


def metric(metrics: Metrics, name: str, **labels: str) -> float:
    """Return a metric's value, as it is shown; 0 where it is not."""
    return sample(metrics, name, **labels) or 0.0


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return a metric's value, as it is shown; None where it is not."""
    shown = (each for family in metrics.collect() for each in family.samples)
    return next((one.value for one in shown if (one.name, one.labels) == (f"kuma_sync_{name}", labels)), None)
