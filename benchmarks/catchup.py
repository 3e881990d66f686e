"""How fast a backlog of new alerts becomes incidents: ours, a bare httpx POST loop of the same bodies, and dlt.

The IRP answers in 20 ms, 32 requests are in flight. Every way runs in its own process, in turns, against the same
servers. `ours` is the daemon's runtime: it polls the whole backlog, then delivers it. Its delivery is compared with the
bare loop; poll and delivery together are compared with dlt. The bare loop keeps no state and has its connections in
pools of four, which is the fastest that httpx can do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
from database import database, server
from figures import Figure, Report, median, parser, ratios, say
from profiles import profiled
from stage import HERE, Remotes, Tables, configure, fetch, servers, shared

POOL = 4
"""Requests in flight that one httpx client takes: its cost grows with its pool."""

LATENCY = 0.02
WAYS = {"sqlite": "ours on SQLite", "postgres": "ours on PostgreSQL", "bare": "a bare POST loop", "dlt": "dlt"}

Taken = dict[str, float]


async def take_ours(remotes: Remotes, folder: Path, arguments: argparse.Namespace) -> Taken:
    """Poll the backlog and deliver it."""
    tables: Tables = {
        "irp": {"concurrency": arguments.concurrency},
        "store": {"url": arguments.store or f"sqlite:///{folder}/s.db"},
    }
    async with shared() as wired:
        runtime = await wired(configure(folder, remotes, tables))
        await runtime.poller.poll_once(sweep=True)
        # The alerts must be younger than this process: it would try `find` for older ones before it creates incidents.
        remotes.tell_kuma(f"outage?count={3 * 3600 + arguments.alerts}")
        remotes.tell_kuma(f"show?count={arguments.alerts}")
        started = time.perf_counter()
        await runtime.poller.poll_once(sweep=True)
        polled, cpu = time.perf_counter(), time.process_time()
        with profiled(say if arguments.profile else None, per=arguments.alerts):
            await runtime.targets["irp"].deliveries.drain()
        ended = time.perf_counter()
    if remotes.made()["made"] != arguments.alerts:
        raise RuntimeError("not every alert became an incident")
    return {
        "poll_s": polled - started,
        "rate": arguments.alerts / (ended - polled),
        "whole_rate": arguments.alerts / (ended - started),
        "cpu_ms": (time.process_time() - cpu) / arguments.alerts * 1000,
    }


async def take_bare(remotes: Remotes, folder: Path, arguments: argparse.Namespace) -> Taken:
    """POST the bodies that were kept, and forget the answers."""
    bodies = iter((folder / "bodies").read_bytes().split(b"\n"))
    limits = httpx.Limits(max_connections=POOL, max_keepalive_connections=POOL)
    clients = [
        httpx.AsyncClient(base_url=remotes.irp, limits=limits, trust_env=False)
        for _ in range(max(1, arguments.concurrency // POOL))
    ]

    async def post(client: httpx.AsyncClient, bodies: Iterator[bytes]) -> None:
        for body in bodies:
            answer = await client.post("/api/v1/incidents", content=body, headers={"Content-Type": "application/json"})
            answer.raise_for_status().json()

    started, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for number in range(arguments.concurrency):
            group.create_task(post(clients[number % len(clients)], bodies))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    for client in clients:
        await client.aclose()
    made = remotes.made()["made"]
    return {"rate": made / seconds, "cpu_ms": cpu / made * 1000}


def measure(way: str, remotes: Remotes, folder: Path, arguments: argparse.Namespace) -> Taken:
    """Take the backlog one way, in a fresh process; the IRP starts empty."""
    fetch(f"{remotes.irp}/_reset")
    remotes.tell_kuma(f"show?count={arguments.alerts if way == 'dlt' else 0}")
    python = arguments.dlt_python if way == "dlt" else sys.executable
    script = "with_dlt.py" if way == "dlt" else "catchup.py"
    command = [python, str(HERE / script), "--folder", str(folder), "--kuma", remotes.kuma, "--irp", remotes.irp]
    with ExitStack() as stack:
        if way != "dlt":
            command += ["--take", way, "--alerts", str(arguments.alerts), "--concurrency", str(arguments.concurrency)]
            command += ["--profile"] if arguments.profile else []
            if way == "postgres":
                command += ["--store", stack.enter_context(database(arguments.postgres))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own script
    *before, last = done.stdout.splitlines()
    for line in before if arguments.profile else ():
        say(line)
    taken: Taken = json.loads(last)
    say(f"{WAYS[way]}: " + ", ".join(f"{key} {value:.4g}" for key, value in taken.items()))
    return taken


def one_round(number: int, arguments: argparse.Namespace) -> dict[str, Taken]:
    """Take the backlog all ways; dlt, which waits for most of its time, only in the first round."""
    ways = ["sqlite", "bare"] + (["postgres"] if arguments.postgres else [])
    if arguments.dlt_python and number == 0:
        ways += ["dlt"]
    found, bodies = dict[str, Taken](), b""
    with servers(latency=LATENCY, keep=1) as remotes:
        for way in ways:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                if way == "bare":
                    (folder / "bodies").write_bytes(bodies)
                found[way] = measure(way, remotes, folder, arguments)
                bodies = fetch(f"{remotes.irp}/_bodies")
    return found


def report(rounds: list[dict[str, Taken]], arguments: argparse.Namespace) -> Report:
    """Judge the rounds."""
    bare = [one["bare"] for one in rounds]
    figures = []
    for way, wanted, dearest in (("sqlite", 0.6, 2.0), ("postgres", 0.5, 2.5)):
        ours = [one[way] for one in rounds if way in one]
        if not ours:
            continue
        got, spread = ratios((one["rate"] for one in ours), (one["rate"] for one in bare))
        name = f"{arguments.alerts:,} new alerts, {WAYS[way]}, against a bare httpx POST loop"
        said = f"{median(bare, 'rate'):.0f}/s bare, {median(ours, 'rate'):.0f}/s ours"
        figures.append(Figure(name=name, wanted=wanted, at_least=True, got=got, spread=spread, baseline=said))
        got, spread = ratios((one["cpu_ms"] for one in ours), (one["cpu_ms"] for one in bare))
        said = f"{median(bare, 'cpu_ms'):.2f} ms bare, {median(ours, 'cpu_ms'):.2f} ms ours"
        name = f"the same: CPU of an incident, {WAYS[way]}, against the bare loop's"
        figures.append(Figure(name=name, wanted=dearest, at_least=False, got=got, spread=spread, baseline=said))
    if rivals := [one["dlt"] for one in rounds if "dlt" in one]:
        ours = [one["sqlite"] for one in rounds]
        mine, tuned = median(ours, "whole_rate"), median(rivals, "tuned_rate")
        said = (
            f"{median(rivals, 'rate'):.0f}/s dlt ({tuned:.0f}/s with 32 load workers), {mine:.0f}/s ours, poll included"
        )
        got = mine / median(rivals, "rate")
        figures.append(
            Figure(name="the same, poll included, against dlt", wanted=5, at_least=True, got=got, baseline=said)
        )
    return Report(figures=figures, details={"catchup": rounds})


def main() -> None:
    """Measure, or be one of the processes that a measurement needs."""
    made = parser(__doc__, rounds=3)
    made.add_argument("--alerts", type=int, default=5000)
    made.add_argument("--concurrency", type=int, default=32)
    made.add_argument("--postgres", default="", metavar="URL", help="a maintenance database; else a server is started")
    made.add_argument("--dlt-python", default="", help="the interpreter of an environment that has dlt")
    made.add_argument("--profile", action="store_true", help="tell where our time goes")
    for hidden in ("--folder", "--kuma", "--irp", "--take", "--store"):
        made.add_argument(hidden, default="", help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.take:
        take = take_bare if arguments.take == "bare" else take_ours
        remotes = Remotes(kuma=arguments.kuma, irp=arguments.irp)
        say(json.dumps(asyncio.run(take(remotes, Path(arguments.folder), arguments))))
        return
    if arguments.quick:
        arguments.alerts, arguments.rounds = 300, 1
    with server(arguments.postgres) as arguments.postgres:
        found = report([one_round(number, arguments) for number in range(arguments.rounds)], arguments)
    found.publish(arguments.json)


if __name__ == "__main__":
    main()
