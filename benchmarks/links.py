"""What a pass costs over a store full of settled alerts, against the same pass over an almost empty one.

Two runtimes in one process, each with a store of its own: one knows `--alerts` open alerts, the other besides them
`--links` settled ones, put in by bulk. Both ask the same simulated KUMA and IRP over loopback, in turns, so that what
else the machine does hits both alike. Three passes are measured: `poll` (that of a quiet minute), `sweep` (the whole
set listed, closings looked for) and `round` (what the other loops do: watch, claims of both queues, gauges, pruning).
What counts is the ratio of the medians. Run: `.venv/bin/python benchmarks/links.py [--postgres URL]`, where URL names
a server's maintenance database; two databases are made there and dropped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import structlog

from kuma_sync.app.build import build, open_store
from kuma_sync.app.lifecycle import make_ready
from kuma_sync.app.shared_state import SharedState
from kuma_sync.settings import load
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer
from kuma_sync.sync.runtime.monitor import look
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

LINKS = """
INSERT INTO links (alert_id, incident_id, sent_fingerprint, sent_fields, sent_events, intent_events, alert_closed,
                   incident_closed, close_origin, changed_at)
SELECT 'old' || n, 'inc' || n, '1:' || n, '{{"title":"0123456789abcdef","severity":"fedcba9876543210"}}', {digests},
       {nothing}, true, true, 'kuma', {time} FROM {numbers}
"""
ALERTS = """
INSERT INTO alerts (id, name, priority, status, event_ids, affected, fingerprint, contents_digest, listing_digest,
                    first_seen, last_seen, shown_at, sweep)
SELECT 'old' || n, 'Подбор пароля', 'high', 'closed', {digests}, '1:affected', '1:' || n, {digest}, {digest}, {time},
       {time}, {time}, 1 FROM {numbers}
"""
SQLITE = {
    "numbers": "(WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < {links}) SELECT n FROM c)",
    "time": "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-' || (n % 80) || ' days')",
    "digests": "CAST(printf('%048d', n) AS BLOB)",
    "digest": "CAST(printf('%020d', n) AS BLOB)",
    "nothing": "x''",
}
POSTGRES = {
    "numbers": "generate_series(1, {links}) AS n",
    "time": "now() - (n % 80) * interval '1 day'",
    "digests": "convert_to(lpad(n::text, 48, '0'), 'UTF8')",
    "digest": "convert_to(lpad(n::text, 20, '0'), 'UTF8')",
    "nothing": "''::bytea",
}


def fill(url: str, links: int) -> None:
    """Insert settled alerts of the last eighty days: none is old enough to be pruned."""
    words = {name: text.format(links=links) for name, text in (SQLITE if _is_file(url) else POSTGRES).items()}
    statements = [statement.format(**words) for statement in (LINKS, ALERTS)]
    if _is_file(url):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            for statement in statements:
                file.execute(statement)
        file.close()
        return
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
        connection.execute("VACUUM ANALYZE")


def _is_file(url: str) -> bool:
    return url.startswith("sqlite")


@contextmanager
def databases(maintenance: str, folder: Path) -> Iterator[list[str]]:
    """Name two empty databases: files in a folder, or on a PostgreSQL server, which are dropped at the end."""
    if not maintenance:
        yield [f"sqlite:///{folder}/{name}.db" for name in ("empty", "full")]
        return
    head, _, _ = maintenance.rpartition("/")
    names = ["bench_empty", "bench_full"]
    with psycopg.connect(maintenance, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield [f"{head}/{name}" for name in names]
        finally:
            for name in names:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@asynccontextmanager
async def crew_on(url: str, kuma: SimServer, irp: SimServer, folder: Path) -> AsyncIterator[Runtime]:
    """Build a runtime as the daemon does; none of its loops runs."""
    config = folder / f"{url.rpartition('/')[2]}.toml"
    config.write_text(
        f'[kuma]\nurl = "{kuma.url}"\ntoken = "k"\n[irp]\nurl = "{irp.url}"\ntoken = "i"\n'
        f'[store]\nurl = "{url}"\n[poll]\nsweep_interval = "10h"\n[web]\nlisten = ""\n'
    )
    config.chmod(0o600)
    settings = load(config, {})
    async with AsyncExitStack() as stack:
        shared = SharedState(store=open_store(settings))
        stack.push_async_callback(shared.store.aclose)
        runtime = await build(settings, shared, stack)
        await make_ready(shared.store, runtime, shared.owner)
        yield runtime


async def others(runtime: Runtime) -> None:
    """Do what the loops beside the poll do when nothing happens."""
    await runtime.targets["irp"].watch.watch_once()
    await runtime.targets["irp"].deliveries.drain()
    await runtime.closes.drain()
    await look(runtime.store, health=runtime.health, metrics=runtime.metrics)
    await runtime.housekeeping()


PASSES: dict[str, Callable[[Runtime], Awaitable[Any]]] = {
    "poll": lambda runtime: runtime.poller.poll_once(),
    "sweep": lambda runtime: runtime.poller.poll_once(sweep=True),
    "round": others,
}


async def measure(urls: list[str], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all passes in turns on both stores; return medians in milliseconds, and their ratios."""
    kuma, irp = KumaSim(token="k"), IrpSim(token="i")  # noqa: S106  # the simulators' own
    for _ in range(options.alerts):
        kuma.raise_alert(events=2)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(SimServer(gate.app)) for gate in (kuma, irp)]
        crews = [await stack.enter_async_context(crew_on(url, *servers, folder)) for url in urls]
        for runtime in crews:
            await once(runtime)
        await asyncio.to_thread(fill, urls[1], options.links)
        times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in PASSES}
        for turn in range(-options.warm, options.passes):
            for name, run in PASSES.items():
                for which in (0, 1) if turn % 2 else (1, 0):
                    started = time.perf_counter()
                    await run(crews[which])
                    if turn >= 0:
                        times[name][which].append((time.perf_counter() - started) * 1000)
    return {name: _compared(*both) for name, both in times.items()}


def _compared(empty: list[float], full: list[float]) -> dict[str, float]:
    """Lay medians side by side; `paired` is the median of each turn's own ratio."""
    before, after = statistics.median(empty), statistics.median(full)
    paired = statistics.median(b / a for a, b in zip(empty, full, strict=True))
    values = {"empty_ms": before, "full_ms": after, "ratio": after / before, "paired": paired}
    return {name: round(value, 3) for name, value in values.items()}


def main() -> None:
    """Measure, and print JSON and a table."""
    parser = argparse.ArgumentParser(description="Passes over a store with and without a million settled alerts.")
    parser.add_argument("--links", type=int, default=1_000_000)
    parser.add_argument("--alerts", type=int, default=50)
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--warm", type=int, default=5)
    parser.add_argument("--postgres", default="", help="maintenance URL, postgresql://user@host/postgres; else SQLite")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder, databases(options.postgres, Path(folder)) as urls:
        found = asyncio.run(measure(urls, options, Path(folder)))
    kind = "postgresql" if options.postgres else "sqlite"
    lines = [json.dumps({"store": kind, "links": options.links, "passes": found}), ""]
    lines += [
        f"{kind}, {options.links:,} settled links",
        f"{'pass':<8}{'empty':>11}{'full':>11}{'ratio':>8}{'paired':>8}",
    ]
    for name, row in found.items():
        medians = f"{row['empty_ms']:>8.2f} ms{row['full_ms']:>8.2f} ms"
        lines.append(f"{name:<8}{medians}{row['ratio']:>8.2f}{row['paired']:>8.2f}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
