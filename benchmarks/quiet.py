"""The cost of a quiet poll, for us and for KUMA, and its growth with open alerts, their events, and changes.

One store grows: alerts are shown, polled and delivered, then the same poll is measured while nothing changes, or after
a given number did. One in a hundred alerts was last seen inside the overlap. Bytes are those of KUMA's answers, CPU is
this process's. Baselines: the full request by our own full read, and by `aread()` and a decoder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from figures import Curve, Figure, Report, median, parser, say
from stage import Remotes, Tables, configure, servers, shared

EVENTS = 20
SETTLED = 6
"""After so many polls no alert may be left for one more look."""

Cost = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A store for measuring polls: the normal runtime, and one that always makes the full request."""

    remotes: Remotes
    runtime: Any
    full: Any

    async def show(self, count: int) -> None:
        """Let KUMA have so many open alerts, and make their incidents."""
        self.remotes.tell_kuma(f"show?count={count}")
        await self.runtime.poller.poll_once(sweep=True)
        await self.settle()

    async def settle(self) -> None:
        """Deliver, and poll until a poll brings nothing new."""
        before = -1
        for _ in range(SETTLED):
            await self.runtime.targets["irp"].deliveries.drain()
            cost = await self.cost(self.runtime.poller.poll_once)
            if cost["bytes"] == before:
                return
            before = int(cost["bytes"])
        raise RuntimeError("the polls do not become quiet")

    async def cost(self, poll: Callable[[], Awaitable[object]]) -> Cost:
        """Poll once; return requests, bytes of the answers, and milliseconds of time and CPU."""
        self.remotes.tell_kuma("count")
        started, cpu = time.perf_counter(), time.process_time()
        await poll()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        counted = self.remotes.tell_kuma("count")
        return {
            "requests": len(counted["requests"]),
            "bytes": counted["bytes"],
            "ms": seconds * 1000,
            "cpu_ms": cpu * 1000,
        }

    async def costs(self, poll: Callable[[], Awaitable[object]], rounds: int) -> Cost:
        """Return the medians of several polls."""
        found = [await self.cost(poll) for _ in range(rounds)]
        return {key: median(found, key) for key in found[0]}

    async def decode(self) -> None:
        """Make the full request as a script would: read each page whole and parse it."""
        try:
            from orjson import loads  # noqa: PLC0415  # the fastest, where it is installed
        except ImportError:
            loads = json.loads
        async with httpx.AsyncClient(base_url=self.remotes.kuma, trust_env=False, timeout=120) as client:
            for page in range(1, 1_000_000):
                answer = await client.get("/api/v1/alerts/", params={"withEvents": "", "status": "new", "page": page})
                if len(loads(answer.content)) < 250:
                    return


@asynccontextmanager
async def watched(*, events: int) -> AsyncIterator[Watched]:
    """Yield an empty store between two servers."""
    with tempfile.TemporaryDirectory() as name, servers(events=events) as remotes:
        folder = Path(name)
        keys: Tables = {"irp": {"concurrency": 16}, "brake": {"min_alerts": 1_000_000}}
        async with shared() as wired:
            runtime = await wired(configure(folder, remotes, keys))
            full = await wired(configure(folder, remotes, {**keys, "poll": {"strategy": "full"}}))
            yield Watched(remotes=remotes, runtime=runtime, full=full)


async def over_alerts(
    counts: list[int], arguments: argparse.Namespace
) -> tuple[list[Cost], dict[str, Cost], list[Cost]]:
    """Measure quiet polls while the alerts become more; at the wanted number the full request, too, and changes."""
    quiet, against, changed = [], {}, []
    async with watched(events=EVENTS) as stage:
        for count in counts:
            await stage.show(count)
            quiet.append(await stage.costs(stage.runtime.poller.poll_once, arguments.polls))
            say(f"{count} alerts: {quiet[-1]}")
            if count == arguments.alerts:
                against["full"] = await stage.costs(stage.full.poller.poll_once, arguments.rounds)
                against["decode"] = await stage.costs(stage.decode, arguments.rounds)
                say(f"full request: {against}")
        for changes in arguments.changes:
            stage.remotes.tell_kuma("later?count=7200")  # what changed before has left the overlap by now
            await stage.settle()
            stage.remotes.tell_kuma(f"change?count={changes}")
            changed.append(await stage.cost(stage.runtime.poller.poll_once))
            say(f"{changes} changes: {changed[-1]}")
            await stage.settle()
    return quiet, against, changed


async def over_events(arguments: argparse.Namespace) -> list[Cost]:
    """Measure quiet polls over the same number of alerts with more and more events each."""
    found = []
    for events in arguments.events:
        async with watched(events=events) as stage:
            await stage.show(arguments.some)
            found.append(await stage.costs(stage.runtime.poller.poll_once, arguments.polls))
            say(f"{events} events an alert: {found[-1]}")
    return found


def curve(name: str, what: str, numbers: list[int], costs: list[Cost]) -> Curve:
    """Return how a poll's CPU and bytes grow."""
    pairs = list(zip(numbers, costs, strict=True))
    lines = {
        "CPU, ms": [(float(number), cost["cpu_ms"]) for number, cost in pairs],
        "answers, KB": [(float(number), cost["bytes"] / 1000) for number, cost in pairs],
    }
    return Curve(name=name, title=f"One poll, by {what}", x=what, y="ms, KB", lines=lines)


async def measure(arguments: argparse.Namespace) -> Report:
    """Measure all of it."""
    quiet, against, changed = await over_alerts(arguments.counts, arguments)
    of_events = await over_events(arguments)
    mine, full, decode = quiet[arguments.counts.index(arguments.alerts)], against["full"], against["decode"]
    name = f"quiet poll over {arguments.alerts:,} alerts × {EVENTS} events, against the full request:"
    figures = [
        Figure(
            name=f"{name} bytes",
            wanted=1,
            at_least=False,
            unit=" %",
            got=mine["bytes"] / full["bytes"] * 100,
            baseline=f"{full['bytes'] / 1e6:.1f} MB full, {mine['bytes'] / 1e3:.1f} KB quiet",
        ),
        Figure(
            name=f"{name} CPU",
            wanted=2,
            at_least=False,
            unit=" %",
            got=mine["cpu_ms"] / full["cpu_ms"] * 100,
            baseline=f"{full['cpu_ms']:.0f} ms our own full read, {decode['cpu_ms']:.0f} ms `aread()` and a decoder, "
            f"{mine['cpu_ms']:.1f} ms quiet",
        ),
    ]
    curves = [
        curve("alerts", "open alerts, nothing changed", arguments.counts, quiet),
        curve("events", "events of each alert, nothing changed", arguments.events, of_events),
        curve("changes", "alerts changed since the last poll", arguments.changes, changed),
    ]
    return Report(figures=figures, curves=curves, details={"quiet": {"quiet": mine, **against}})


def main() -> None:
    """Measure, print, save."""
    made = parser(__doc__, rounds=3)
    made.add_argument("--alerts", type=int, default=10_000, help="open alerts at which the figure is taken")
    made.add_argument("--polls", type=int, default=21, help="quiet polls of which the median is taken")
    arguments = made.parse_args()
    arguments.counts = [1000, 2000, 5000, arguments.alerts, 20_000]
    arguments.events, arguments.some, arguments.changes = [1, 20, 100, 200], 500, [0, 10, 100, 300, 1000]
    if arguments.quick:
        arguments.alerts, arguments.polls, arguments.rounds, arguments.some = 500, 3, 1, 50
        arguments.counts, arguments.events, arguments.changes = [100, 500], [1, 20], [0, 10]
    report = asyncio.run(measure(arguments))
    report.publish(arguments.json)


if __name__ == "__main__":
    main()
