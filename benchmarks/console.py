"""What the console's reads cost over a store of 100,000 alerts with 1,000 parked jobs, and whether work minds them.

Every page's read is run in turns, as the console does it, in this process: on SQLite its CPU is that of the database,
too. Then new alerts are polled and delivered over the same store, in turns while nobody looks and while as many people
look as refresh the overview twice a second; the IRP answers in 20 ms, 32 requests are in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from database import database, server
from figures import Figure, Report, parser, ratios, say
from stage import Remotes, configure, fetch, servers, shared

LATENCY = 0.02
OFTEN = 0.5
"""Seconds between two looks: twenty people whose page is refreshed every ten seconds."""

ALERTS = """
INSERT INTO alerts (id, name, words, priority, status, tenant_name, event_ids, affected, fingerprint, contents_digest,
                    first_seen, last_seen, shown_at, sweep)
SELECT 'old' || n, 'Подбор пароля ' || (n % 300),
       'подбор пароля ' || (n % 300) || {line} || 'ws-' || n || '.corp.example.com' || {line} || 'user' || (n % 4000)
       || {line} || '10.1.' || (n % 250) || '.' || (n % 199), {priority}, 'new', 'Tenant ' || (n % 5), {digests},
       '1:affected', '1:' || n, {digest}, {time}, {time}, {time}, 1 FROM {numbers}
"""
LINKS = """
INSERT INTO links (alert_id, target, incident_id, incident_number, sent_fingerprint, sent_fields, sent_events,
                   intent_events, alert_closed, incident_closed, gone, ignored, close_origin, changed_at)
SELECT 'old' || n, CASE WHEN n % 10 = 0 THEN 'north' ELSE 'irp' END, 'inc' || n, 'INC-' || n, '1:' || n,
       '{{"title":"0123456789abcdef","severity":"fedcba9876543210"}}', {digests}, {nothing}, {closed}, {closed},
       n % 200 = 1, n % 200 = 11, CASE WHEN {closed} THEN 'kuma' END, {time} FROM {numbers}
"""
PARKED = """
INSERT INTO delivery_queue (subject, state, lane, due, put_at, reason, attempts)
SELECT 'old' || (n * 10), 'parked', 20, {time}, {time}, 'refused (answered 422): no field ' || (n % 7), 1
FROM {numbers}
"""
SQLITE = {
    "numbers": "(WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c)",
    "time": "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-' || (n * 60) || ' seconds')",
    "digests": "CAST(printf('%0320d', n) AS BLOB)",
    "digest": "CAST(printf('%020d', n) AS BLOB)",
    "nothing": "x''",
    "line": "char(10)",
}
POSTGRES = {
    "numbers": "generate_series(1, {count}) AS n",
    "time": "now() - n * interval '1 minute'",
    "digests": "convert_to(lpad(n::text, 320, '0'), 'UTF8')",
    "digest": "convert_to(lpad(n::text, 20, '0'), 'UTF8')",
    "nothing": "''::bytea",
    "line": "chr(10)",
}
PRIORITY = "CASE n % 4 WHEN 0 THEN 'low' WHEN 1 THEN 'medium' WHEN 2 THEN 'high' ELSE 'critical' END"


def fill(store: Any, *, alerts: int, parked: int, closed: str = "n % 10 > 1") -> None:
    """Store settled and open alerts, some of each state, and parked jobs."""
    from sqlalchemy import text  # noqa: PLC0415  # the package is loaded only by those who work in this process

    words = SQLITE if store.local else POSTGRES
    with store.engine.begin() as connection:
        for statement, count in ((ALERTS, alerts), (LINKS, alerts), (PARKED, parked)):
            known = {name: said.format(count=count) for name, said in words.items()}
            connection.execute(text(statement.format(**known, priority=PRIORITY, closed=closed).replace(":", "\\:")))
    if not store.local:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


Look = Callable[[Any], object]


def looks(alerts: int) -> dict[str, Look]:
    """Return the reads of the pages, each a function of a transaction."""
    from kuma_sync.core.moments import EPOCH  # noqa: PLC0415  # as above
    from kuma_sync.store.read_models.overview import AlertState  # noqa: PLC0415
    from kuma_sync.store.read_models.search import Asked, Filter, Sort  # noqa: PLC0415
    from kuma_sync.store.read_models.story import story  # noqa: PLC0415

    def alerts_page(**wanted: Any) -> Look:
        sort = wanted.pop("sort", Sort.LAST_SEEN)
        return lambda tx: tx.search.page(Asked(filter=Filter(**wanted), sort=sort))

    def later_page(tx: Any) -> object:
        first = tx.search.page(Asked())
        return tx.search.page(Asked(after=first.next))

    def group(tx: Any) -> object:
        return [tx.groups.members(one, limit=50) for one in tx.groups.all()[:1]]

    return {
        "overview": overview,
        "alerts": alerts_page(),
        "alerts, next page": later_page,
        "alerts: a host": alerts_page(text=f"ws-{alerts - 1}.corp"),
        "alerts: no such host": alerts_page(text="nobody at all"),
        "alerts: an incident": alerts_page(text=f"INC-{alerts // 2}"),
        "alerts: target, tenant and priority": alerts_page(target="north", tenant="Tenant 0", priority="high"),
        "alerts: an hour long ago": alerts_page(since=EPOCH, until=EPOCH + timedelta(hours=1)),
        **{f"alerts: {state}": alerts_page(state=state) for state in AlertState},
        **{f"alerts by {sort}": alerts_page(sort=sort) for sort in Sort},
        "one alert": lambda tx: (story(tx, "old10"), tx.overview.state("old10")),
        "parked and held": lambda tx: tx.groups.all(examples=3),
        "a group": group,
        "passes": lambda tx: tx.audit.last_passes(50),
    }


def overview(tx: Any) -> object:
    """Read the first page."""
    queues = (tx.delivery.counts(), tx.closes.total(), tx.waiting.unrouted())
    counts = (tx.overview.counts(), tx.groups.all(), tx.rejects.count(), tx.links.held_by_target())
    return queues, counts, tx.happened.slots(), tx.pauses.all(), tx.audit.last_pass_by_kind()


def costs(store: Any, alerts: int, rounds: int) -> dict[str, float]:
    """Return the median CPU of each page's read in milliseconds."""
    taken: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, look in looks(alerts).items():
            started = time.process_time()
            with store.reading() as tx:
                look(tx)
            if number:
                taken.setdefault(name, []).append((time.process_time() - started) * 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


@asynccontextmanager
async def watched(store: Any, *, on: bool) -> AsyncIterator[None]:
    """Let people look at the overview while the block runs."""

    async def watch() -> None:
        while True:
            await store.read(overview)
            await asyncio.sleep(OFTEN)

    watching = asyncio.create_task(watch()) if on else None
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


async def work(remotes: Remotes, url: str, options: argparse.Namespace, *, looked_at: bool) -> dict[str, float]:
    """Poll and deliver new alerts over a full store; return how many a second were polled, and delivered."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = {"irp": {"concurrency": 32}, "store": {"url": url or f"sqlite:///{folder}/s.db"}}
        fetch(f"{remotes.irp}/_reset")
        remotes.tell_kuma("show?count=0")
        async with shared() as wired:
            runtime = await wired(configure(folder, remotes, tables))
            await asyncio.to_thread(fill, runtime.store, alerts=options.alerts, parked=options.parked, closed="true")
            await runtime.poller.poll_once(sweep=True)
            remotes.tell_kuma(f"outage?count={3 * 3600 + options.new}")
            remotes.tell_kuma(f"show?count={options.new}")
            async with watched(runtime.store, on=looked_at):
                started = time.perf_counter()
                await runtime.poller.poll_once(sweep=True)
                polled = time.perf_counter()
                await runtime.targets["irp"].deliveries.drain()
                ended = time.perf_counter()
        if remotes.made()["made"] != options.new:
            raise RuntimeError("not every alert became an incident")
        return {"polls": options.new / (polled - started), "deliveries": options.new / (ended - polled)}


async def read(url: str, remotes: Remotes, options: argparse.Namespace) -> dict[str, float]:
    """Measure the pages' reads over a full store."""
    with tempfile.TemporaryDirectory() as name:
        tables = {"store": {"url": url or f"sqlite:///{name}/s.db"}}
        async with shared() as wired:
            runtime = await wired(configure(Path(name), remotes, tables))
            await asyncio.to_thread(fill, runtime.store, alerts=options.alerts, parked=options.parked)
            return await asyncio.to_thread(costs, runtime.store, options.alerts, options.turns)


def pages(kind: str, found: dict[str, float], options: argparse.Namespace) -> Figure:
    """Judge the dearest page."""
    worst = max(found, key=lambda name: found[name])
    usual = statistics.median(found.values())
    return Figure(
        name=f"dearest read of the console: {options.alerts:,} alerts, {options.parked:,} parked, {kind}: our CPU",
        wanted=50,
        at_least=False,
        unit=" ms",
        got=found[worst],
        baseline=f"{worst}; the median of {len(found)} reads is {usual:.1f} ms",
    )


def judged(kind: str, rounds: list[tuple[dict[str, float], dict[str, float]]]) -> list[Figure]:
    """Judge the work beside people who look."""
    figures = []
    for what in ("polls", "deliveries"):
        got, spread = ratios([seen[what] for _alone, seen in rounds], [alone[what] for alone, _seen in rounds])
        alone = statistics.median(one[what] for one, _seen in rounds)
        figures.append(
            Figure(
                name=f"{what} while the overview is read twice a second, against nobody looking, on {kind}",
                wanted=0.9,
                at_least=True,
                got=got,
                spread=spread,
                baseline=f"{alone:.0f}/s alone",
            )
        )
    return figures


def main() -> None:
    """Measure and publish."""
    made = parser(__doc__, rounds=3)
    made.add_argument("--alerts", type=int, default=100_000)
    made.add_argument("--parked", type=int, default=1_000)
    made.add_argument("--new", type=int, default=2_000, help="new alerts that are polled and delivered")
    made.add_argument("--turns", type=int, default=9, help="times that every page is read")
    made.add_argument("--postgres", default="", metavar="URL", help="a maintenance database; else a server is started")
    options = made.parse_args()
    if options.quick:
        options.alerts, options.parked, options.new, options.turns, options.rounds = 2_000, 100, 100, 1, 1
    figures: list[Figure] = []
    details: dict[str, object] = {}
    with server(options.postgres) as maintenance, servers(latency=LATENCY) as remotes:
        for kind in ("SQLite", *(["PostgreSQL"] if maintenance else [])):

            def fresh(kind: str = kind) -> Any:
                return database(maintenance or "") if kind == "PostgreSQL" else contextlib.nullcontext("")

            with fresh() as url:
                found = asyncio.run(read(url, remotes, options))
            for name, cost in found.items():
                say(f"{kind}: {name}: {cost:.1f} ms")
            figures.append(pages(kind, found, options))
            details[f"console on {kind}"] = {name: round(cost, 1) for name, cost in found.items()}
            rounds = []
            for _ in range(options.rounds):
                taken = []
                for looked_at in (False, True):
                    with fresh() as url:
                        taken.append(asyncio.run(work(remotes, url, options, looked_at=looked_at)))
                rounds.append((taken[0], taken[1]))
                say(f"{kind}: {taken}")
            figures += judged(kind, rounds)
    Report(figures=figures, details=details).publish(options.json)


if __name__ == "__main__":
    main()
