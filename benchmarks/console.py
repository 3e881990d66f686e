"""What the console's pages cost over a store of 100,000 alerts with 1,000 parked jobs, and whether work minds them.

Every page is fetched in turns from a real `kuma-sync run` whose parts are paused: its CPU is that of the whole process,
on SQLite with that of the database. Then new alerts go from KUMA to the IRP over the same store, in turns while nobody
looks and while as many people look as refresh the overview twice a second; the IRP answers in 20 ms, 32 requests are in
flight.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from database import database, server
from figures import Figure, Report, parser, ratios, say
from stage import Remotes, answers, configure, daemon, fetch, free_port, servers, shared, until

LATENCY = 0.02
OFTEN = 0.5
"""Seconds between two looks: twenty people whose page is refreshed every ten seconds."""

LOOKER = {"X-Remote-User": "bench", "Accept": "text/html"}

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


def pages(alerts: int) -> dict[str, str]:
    """Return the pages' addresses."""
    states = ("parked", "held", "ignored", "pending", "closed", "gone", "open")
    searches = {
        "a host": f"q=ws-{alerts - 1}.corp",
        "no such host": "q=nobody+at+all",
        "an incident": f"q=INC-{alerts // 2}",
        "target, tenant and priority": "target=north&tenant=Tenant+0&priority=high",
        "the last hour": "seen=1h",
        **{state: f"state={state}" for state in states},
        **{f"by {sort}": f"sort={sort.replace(' ', '+')}" for sort in ("first seen", "name", "priority", "state")},
    }
    return {
        "overview": "/",
        "alerts": "/alerts",
        **{f"alerts: {name}": f"/alerts?{query}" for name, query in searches.items()},
        "one alert": "/alerts/old10",
        "parked and held": "/waiting",
        "closings": "/closings",
        "passes": "/passes",
        "configuration": "/configuration",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The console of a daemon that runs."""

    process: subprocess.Popen[bytes]
    url: str

    def look(self, path: str) -> bytes:
        """Return a page."""
        return fetch(self.url + path, LOOKER)

    def cpu(self) -> float:
        """Return how many milliseconds of CPU the daemon's threads have used."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(one.read_text().split()[0]) for one in tasks) / 1e6


@contextmanager
def console(remotes: Remotes, url: str, options: argparse.Namespace, *, paused: bool) -> Iterator[Console]:
    """Let a daemon work on a full store while the block runs."""
    with tempfile.TemporaryDirectory() as name:
        folder, listen = Path(name), f"127.0.0.1:{free_port()}"
        believing = {"enabled": True, "user_header": "X-Remote-User", "proxy_addresses": ["127.0.0.1"]}
        tables = {
            "poll": {"interval": "1s"},
            "irp": {"concurrency": 32},
            "targets": {"north": {"url": remotes.irp, "token": "x"}},
            "route": [{"tenants": ["nobody's"], "target": "north"}],
            "store": {"url": url or f"sqlite:///{folder}/s.db"},
            "web": {"listen": listen, "console": believing},
        }
        config = configure(folder, remotes, tables)
        asyncio.run(_filled(config, options, closed="n % 10 > 1" if paused else "true"))
        for part in ("kuma", "irp", "north") if paused else ():
            command = [sys.executable, "-m", "kuma_sync", "pause", part, "-c", str(config)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # the program itself
        with daemon(config) as process:
            started = Console(process=process, url=f"http://{listen}")
            until(lambda: answers(started.url + "/", LOOKER), within=60, process=process)
            yield started


async def _filled(config: Path, options: argparse.Namespace, *, closed: str) -> None:
    async with shared() as wired:
        runtime = await wired(config)
        await asyncio.to_thread(fill, runtime.store, alerts=options.alerts, parked=options.parked, closed=closed)


def costs(seen: Console, options: argparse.Namespace) -> dict[str, float]:
    """Return the median CPU of each page in milliseconds."""
    taken: dict[str, list[float]] = {}
    for number in range(options.turns + 1):
        for name, path in pages(options.alerts).items():
            before = seen.cpu()
            seen.look(path)
            if number:
                taken.setdefault(name, []).append(seen.cpu() - before)
    return {name: statistics.median(times) for name, times in taken.items()}


@contextmanager
def watched(seen: Console, *, on: bool) -> Iterator[None]:
    """Let people look at the overview while the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(OFTEN):
            seen.look("/")

    watching = threading.Thread(target=watch)
    if on:
        watching.start()
    try:
        yield
    finally:
        over.set()
        if on:
            watching.join()


def work(seen: Console, remotes: Remotes, options: argparse.Namespace, *, looked_at: bool) -> float:
    """Show new alerts in KUMA; return how many a second became incidents."""
    fetch(f"{remotes.irp}/_reset")
    with watched(seen, on=looked_at):
        remotes.tell_kuma(f"outage?count={3 * 3600 + options.new}")
        started = time.perf_counter()
        remotes.tell_kuma(f"show?count={options.new}")
        until(lambda: remotes.made()["made"] >= options.new, within=300, process=seen.process)
        took = time.perf_counter() - started
    if remotes.made()["made"] != options.new:
        raise RuntimeError("not one incident for every alert")
    return float(options.new / took)


def dearest(kind: str, found: dict[str, float], options: argparse.Namespace) -> Figure:
    """Judge the dearest page."""
    worst = max(found, key=lambda name: found[name])
    usual = statistics.median(found.values())
    return Figure(
        name=f"dearest page of the console: {options.alerts:,} alerts, {options.parked:,} parked, {kind}: our CPU",
        wanted=50,
        at_least=False,
        unit=" ms",
        got=found[worst],
        baseline=f"{worst}; the median of {len(found)} pages is {usual:.1f} ms",
    )


def undisturbed(kind: str, rounds: list[tuple[float, float]]) -> Figure:
    """Judge the work beside people who look."""
    got, spread = ratios([seen for _alone, seen in rounds], [alone for alone, _seen in rounds])
    alone = statistics.median(one for one, _seen in rounds)
    return Figure(
        name=f"alerts from KUMA to the IRP while the overview is fetched twice a second, against nobody, on {kind}",
        wanted=0.9,
        at_least=True,
        got=got,
        spread=spread,
        baseline=f"{alone:.0f}/s alone",
    )


def main() -> None:
    """Measure and publish."""
    made = parser(__doc__, rounds=5)
    made.add_argument("--alerts", type=int, default=100_000)
    made.add_argument("--parked", type=int, default=1_000)
    made.add_argument("--new", type=int, default=2_000, help="new alerts that are polled and delivered")
    made.add_argument("--turns", type=int, default=9, help="times that every page is fetched")
    made.add_argument("--postgres", default="", metavar="URL", help="a maintenance database; else a server is started")
    options = made.parse_args()
    if options.quick:
        options.alerts, options.parked, options.new, options.turns, options.rounds = 2_000, 100, 100, 1, 1
    figures: list[Figure] = []
    details: dict[str, object] = {}
    with server(options.postgres) as maintenance:
        for kind in ("SQLite", *(["PostgreSQL"] if maintenance else [])):

            def fresh(kind: str = kind) -> AbstractContextManager[str]:
                return database(maintenance or "") if kind == "PostgreSQL" else contextlib.nullcontext("")

            with fresh() as url, servers() as remotes, console(remotes, url, options, paused=True) as seen:
                found = costs(seen, options)
            for name, cost in found.items():
                say(f"{kind}: {name}: {cost:.1f} ms")
            figures.append(dearest(kind, found, options))
            details[f"console on {kind}"] = {name: round(cost, 1) for name, cost in found.items()}
            rounds = []
            for number in range(options.rounds):
                taken = {}
                # In turns the other way round: the machine becomes slower or faster meanwhile.
                for looked_at in (False, True) if number % 2 == 0 else (True, False):
                    with (
                        fresh() as url,
                        servers(latency=LATENCY) as remotes,
                        console(remotes, url, options, paused=False) as seen,
                    ):
                        taken[looked_at] = work(seen, remotes, options, looked_at=looked_at)
                rounds.append((taken[False], taken[True]))
                say(f"{kind}: {taken}")
            figures.append(undisturbed(kind, rounds))
    Report(figures=figures, details=details).publish(options.json)


if __name__ == "__main__":
    main()
