"""What it costs the rest of the daemon that twenty connectors ask at once for a large backlog.

The store holds open alerts with their events, none of them shown yet. A process of its own opens the connections and
throws away what comes; here the door answers. Meanwhile a task wakes up every millisecond, and notes how late it does,
and how much the loop's thread worked since: so long every poll and delivery waits. Another one writes to the store, as
deliveries do. The baseline is the same without connectors.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from figures import Figure, Report, parser, say
from stage import HERE

CONNECTORS = 20
EMPTY = 1000
"""Bytes of an answer without alerts, at most."""

TOKEN = "bench-token"  # noqa: S105  # opens nothing
PROBE = 0.001
BREATH = 0.02
COMMAND = "GET /api/v1/alerts/?withEvents&status=new&page={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@dataclass(kw_only=True)
class Lateness:
    """How late a task woke up, how long the loop's thread worked since, and how long writes took, in milliseconds.

    `work` is CPU time: what other programs take of the machine is not in it.
    """

    late: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)


def usual(numbers: list[float], share: float = 0.99) -> float:
    """Return the value that so many stay below."""
    return sorted(numbers)[int(len(numbers) * share)]


@asynccontextmanager
async def watched(store: Any) -> AsyncIterator[Lateness]:
    """Watch the loop and the store while the block runs."""
    found = Lateness()

    async def wake_up() -> None:
        while True:
            started, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(PROBE)
            found.late.append((time.perf_counter() - started - PROBE) * 1000)
            found.work.append((time.thread_time() - worked) * 1000)

    async def write() -> None:
        while True:
            started = time.perf_counter()
            await store.write(lambda tx: tx.audit.note("bench", "written"))
            found.writes.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(BREATH)

    tasks = [asyncio.create_task(wake_up()), asyncio.create_task(write())]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def filled(store: Any, *, alerts: int, events: int) -> int:
    """Put so many alerts out; return the bytes of them all."""
    from kuma_sync.core.alert import Alert, AlertId  # noqa: PLC0415  # the package is loaded only by those who need it
    from kuma_sync.store.handouts import NOTHING, Handout, Lists, Text  # noqa: PLC0415

    now, size = datetime.now(UTC), 0
    for start in range(0, alerts, 250):
        some = []
        for number in range(start, min(start + 250, alerts)):
            alert = Alert(id=AlertId(f"{number:08}-bench"), name="R001", status="new", first_seen=now, last_seen=now)
            texts = [
                {"ID": f"{number}-{one}", "Name": "event", "Message": f"{number * one:x}" * 60} for one in range(events)
            ]
            lists = Lists(
                events=Text.of(json.dumps(texts).encode()),
                affected=NOTHING.affected,
                affected_lists=NOTHING.affected_lists,
            )
            head = Text.of(json.dumps({"id": alert.id, "name": alert.name, "status": "new"}).encode()[:-1])
            some.append(Handout(alert=alert, target="irp", head=head, lists=lists))
            size += head.size + lists.events.size
        with store.writing() as tx:
            tx.handouts.put(some)
    return size


@asynccontextmanager
async def door(store: Any) -> AsyncIterator[tuple[int, Any]]:
    """Answer at a door; yield its port, and what gives the answers."""
    from datetime import timedelta  # noqa: PLC0415

    from kuma_sync.settings import Secret  # noqa: PLC0415
    from kuma_sync.sync.handout.giving import Giving, Puller  # noqa: PLC0415
    from kuma_sync.telemetry.health import Health  # noqa: PLC0415
    from kuma_sync.telemetry.metrics import Metrics  # noqa: PLC0415
    from kuma_sync.web.responses import AccessRules  # noqa: PLC0415
    from kuma_sync.web.routes import build_app  # noqa: PLC0415
    from kuma_sync.web.server import bind, serve  # noqa: PLC0415

    giving = Giving(store=store, health=Health(monotonic=time.monotonic), metrics=Metrics())
    giving.serve({"irp": Puller(name="irp", repeat_for=timedelta(hours=1), expect_every=None)})
    giving.open = True
    rules = AccessRules(to_kuma=False, pulls={"irp": Secret(TOKEN)})
    intake: Any = None
    app = build_app(
        rules=lambda: rules, intake=intake, health=Health(monotonic=time.monotonic), render_metrics=bytes, gives=giving
    )
    listening, stop = bind("127.0.0.1:0"), asyncio.Event()
    port = int(listening.getsockname()[1])
    serving = asyncio.create_task(serve(app, listening, stop=stop))
    try:
        yield port, giving
    finally:
        stop.set()
        await serving


async def nothing_new(giving: Any, rounds: int = 200) -> float:
    """Return the CPU of a question when all was shown and repeats are over, in milliseconds."""
    from datetime import timedelta  # noqa: PLC0415

    from kuma_sync.core.handout import Asked  # noqa: PLC0415
    from kuma_sync.sync.handout.giving import Puller  # noqa: PLC0415

    giving.serve({"irp": Puller(name="irp", repeat_for=timedelta(), expect_every=None)})
    asked = Asked(statuses=frozenset({"new"}), with_events=True)
    worked = time.process_time()
    for _ in range(rounds):
        answer = await giving.give("irp", asked)
        if b"".join([piece async for piece in answer.pieces()]) != b"[]":
            raise RuntimeError("there is something new")
    return (time.process_time() - worked) * 1000 / rounds


@asynccontextmanager
async def connectors(port: int) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Start a process of its own; yield a function that lets it ask, and returns the bytes that came.

    It is started before anything is measured, for that, too, makes the loop stand.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "handout.py"),
        "--ask",
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    await process.stdout.readline()

    async def begin() -> int:
        said, _ = await process.communicate(b"now\n")
        return int(said)

    yield begin
    await process.wait()


async def ask(port: int) -> int:
    """Ask with all connectors at once, page by page until one is empty, as that process."""

    async def page(number: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(f"{COMMAND.format(number)}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
        size = 0
        while piece := await reader.read(1 << 20):
            size += len(piece)
        writer.close()
        return size

    async def one() -> int:
        size, number = 0, 1
        while (received := await page(number)) > EMPTY:
            size, number = size + received, number + 1
        return size

    return sum(await asyncio.gather(*(one() for _ in range(CONNECTORS))))


async def measured(*, alerts: int, events: int, seconds: float) -> Report:
    """Fill a store, and measure it quiet and asked."""
    import structlog  # noqa: PLC0415

    from kuma_sync.app.build import open_store  # noqa: PLC0415
    from kuma_sync.settings import load  # noqa: PLC0415
    from kuma_sync.store.migrate import upgrade  # noqa: PLC0415

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        env = {"KUMA_SYNC_KUMA__URL": "https://k", "KUMA_SYNC_KUMA__TOKEN": "x", "KUMA_SYNC_IRP__URL": "https://i"}
        env |= {"KUMA_SYNC_IRP__TOKEN": "x", "KUMA_SYNC_STORE__URL": f"sqlite:///{folder}/bench.db"}
        store = open_store(load(None, env))
        upgrade(store)
        whole = filled(store, alerts=alerts, events=events)
        gc.collect()
        gc.freeze()  # as the daemon does once everything is loaded: a full collection makes the loop stand
        say(f"{alerts} alerts of {events} events: {whole >> 20} MB")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with door(store) as (port, giving), connectors(port) as begin:
            async with watched(store) as quiet:
                await asyncio.sleep(seconds)
            async with watched(store) as asked:
                started = time.perf_counter()
                received = await begin()
                took = time.perf_counter() - started
            idle = await nothing_new(giving)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        await store.aclose()
    return report(quiet, asked, received=received, took=took, grown=grown, idle=idle)


def report(quiet: Lateness, asked: Lateness, *, received: int, took: float, grown: float, idle: float) -> Report:
    """Return the figures."""
    return Report(
        figures=[
            Figure(
                name=f"{CONNECTORS} connectors ask at once: the longest work of the event loop's thread in one go",
                wanted=20,
                at_least=False,
                got=max(asked.work),
                unit=" ms",
                baseline=f"{max(quiet.work):.1f} ms with none",
            ),
            Figure(
                name="the same: 99 of 100 wake-ups are no later than",
                wanted=20,
                at_least=False,
                got=usual(asked.late),
                unit=" ms",
                baseline=f"{usual(quiet.late):.1f} ms with none",
            ),
            Figure(
                name="the same: memory of the daemon grows by",
                wanted=64,
                at_least=False,
                got=grown,
                unit=" MB",
                baseline=f"{received >> 20} MB were given in {took:.1f} s",
            ),
            Figure(
                name="an answer with nothing new, over that backlog: CPU",
                wanted=2,
                at_least=False,
                got=idle,
                unit=" ms",
                baseline="without the HTTP around it",
            ),
        ],
        details={
            "handout_writes_ms": {
                name: {
                    "median": usual(found.writes, 0.5),
                    "p99": usual(found.writes),
                    "worst": max(found.writes),
                }
                for name, found in (("quiet", quiet), ("asked", asked))
            }
        },
    )


def main() -> int:
    """Measure, or be the connectors."""
    made = parser(__doc__, rounds=1)
    made.add_argument("--ask", type=int, default=0, help=argparse.SUPPRESS)
    made.add_argument("--alerts", type=int, default=5000)
    made.add_argument("--events", type=int, default=200)
    options = made.parse_args()
    if options.ask:
        say("ready")
        sys.stdin.readline()
        say(str(asyncio.run(ask(options.ask))))
        return 0
    alerts, events = (500, 20) if options.quick else (options.alerts, options.events)
    asyncio.run(measured(alerts=alerts, events=events, seconds=1 if options.quick else 5)).publish(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
