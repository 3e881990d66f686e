"""Several daemons on one PostgreSQL against one, while the IRP's latency is the limit.

Real `kuma-sync run` processes with few requests in flight each, an IRP that answers in 100 ms. The rate is the IRP's:
creates between the first tenth and the last, so that neither the poll nor the end of the backlog counts.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from database import database, server
from figures import Figure, Report, median, parser, ratios, say
from stage import Tables, answers, configure, daemon, free_port, servers, until

LATENCY = 0.1
IN_FLIGHT = 2
"""Deliveries in flight in one process: 20 a second at the most, so that two cores can serve four processes."""

MANY = 4


def rate(maintenance: str, processes: int, alerts: int) -> float:
    """Return the creates a second that so many processes reach."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        remotes = stack.enter_context(servers(latency=LATENCY))
        store = stack.enter_context(database(maintenance))
        tables: Tables = {"irp": {"concurrency": IN_FLIGHT}, "poll": {"interval": "1s"}, "close": {"watch": False}}
        config = configure(folder, remotes, {**tables, "store": {"url": store}})
        for _ in range(processes):
            listen = f"127.0.0.1:{free_port()}"
            process = stack.enter_context(daemon(config, KUMA_SYNC_WEB__LISTEN=listen))
            until(lambda listen=listen: answers(f"http://{listen}/readyz"), within=60, process=process)  # type: ignore[misc]  # the default binds it
        # They appeared while these processes ran: they would look for older ones before they create their incidents.
        remotes.tell_kuma(f"outage?count={3 * 3600 + alerts}")
        remotes.tell_kuma(f"show?count={alerts}")
        until(lambda: remotes.made()["made"] >= alerts, within=300)
        moments = remotes.made()["moments"]
    early, late = alerts // 10, alerts * 9 // 10
    return (late - early) / float(moments[late] - moments[early])


def main() -> None:
    """Measure in turns."""
    made = parser(__doc__, rounds=3)
    made.add_argument("--postgres", default="", metavar="URL", help="a maintenance database; else a server is started")
    arguments = made.parse_args()
    with server(arguments.postgres) as maintenance:
        if maintenance is None:
            say("no PostgreSQL: left out")
            return
        rounds = [one_round(maintenance, arguments) for _ in range(1 if arguments.quick else arguments.rounds)]
    got, spread = ratios((one["many"] for one in rounds), (one["one"] for one in rounds))
    said = f"{median(rounds, 'one'):.0f}/s with one, {median(rounds, 'many'):.0f}/s with {MANY}"
    name = f"{MANY} processes on PostgreSQL against 1, IRP answers in 100 ms"
    figure = Figure(name=name, wanted=3.5, at_least=True, got=got, spread=spread, baseline=said)
    report = Report(figures=[figure], details={"scaleout": rounds})
    report.publish(arguments.json)


def one_round(maintenance: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure one process, then several, each for the same time."""
    alerts = 40 if arguments.quick else 200
    found = {"one": rate(maintenance, 1, alerts), "many": rate(maintenance, MANY, MANY * alerts)}
    say(f"one process {found['one']:.1f}/s, {MANY} processes {found['many']:.1f}/s")
    return found


if __name__ == "__main__":
    main()
