"""How old a change is when it reaches the incident, at 50 changes a second and a poll every second.

Both simulators and the one that makes the changes live in a process of their own, which notes both moments: an event
is added to an alert in KUMA, and an update that carries it arrives at the IRP. The daemon is a real `kuma-sync run`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from figures import Figure, Report, median, parser, say
from stage import Remotes, configure, daemon

from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer
from kuma_sync.sim.values import Json

INTERVAL = 1.0
RATE = 50
ALERTS = 500
BUSY = 45
"""Alerts that change. While more than 50 share a second of lastSeen, a second growth within it is not seen at once."""

LONGEST_WAIT = 240.0


class Noting(IrpSim):
    """The simulated IRP, noting when each event arrived first."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: dict[str, float] = {}

    def wrote(self, operation: str, incident: Incident, body: Json) -> None:
        """Note the moment of every event in an effective write."""
        super().wrote(operation, incident, body)
        for event in body.get("events") or []:
            self.arrived.setdefault(event["ID"], time.monotonic())


async def play(seconds: float) -> None:
    """Be both sides and the correlator; print addresses and tokens, then, once all has arrived, the delays."""
    kuma, irp = KumaSim(seed=7), Noting()
    ids = [kuma.raise_alert(events=3) for _ in range(ALERTS)]
    async with SimServer(kuma.app) as kuma_server, SimServer(irp.app) as irp_server:
        say(json.dumps([kuma_server.url, kuma.token, irp_server.url, irp.token]))
        await _until(lambda: len(irp.incidents) == ALERTS)
        await asyncio.sleep(2 * INTERVAL)
        made = await _change(kuma, ids[:BUSY], seconds)
        await _until(lambda: made.keys() <= irp.arrived.keys())
    say(json.dumps([irp.arrived[event] - moment for event, moment in made.items()]))


async def _change(kuma: KumaSim, ids: list[str], seconds: float) -> dict[str, float]:
    """Add an event to some alert, `RATE` times a second; return when each event came into being."""
    dice, made = random.Random(7), dict[str, float]()  # noqa: S311  # repeatable, no secret
    started = time.monotonic()
    for number in range(int(seconds * RATE)):
        await asyncio.sleep(max(0.0, started + number / RATE - time.monotonic()))
        moment = time.monotonic()
        made |= {event: moment for event in kuma.grow(dice.choice(ids))}
    return made


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONGEST_WAIT):
        while not condition():  # noqa: ASYNC110  # the simulators tell nobody what they took
            await asyncio.sleep(0.05)


@contextmanager
def both_sides(seconds: float) -> Iterator[tuple[list[str], subprocess.Popen[str]]]:
    """Run both sides; yield addresses and tokens, and the process that will print the delays."""
    command = [sys.executable, __file__, "--play", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own script
        if process.stdout is None:
            raise RuntimeError("no pipe")
        try:
            yield json.loads(process.stdout.readline()), process
        finally:
            process.kill()


def one_round(seconds: float) -> dict[str, float]:
    """Let the daemon follow the changes; return the delays' quantiles in seconds."""
    with tempfile.TemporaryDirectory() as name, both_sides(seconds) as ((kuma, kuma_token, irp, irp_token), process):
        remotes = Remotes(kuma=kuma, irp=irp)
        keys = {"kuma": {"token": kuma_token}, "irp": {"token": irp_token}, "poll": {"interval": f"{INTERVAL:g}s"}}
        with daemon(configure(Path(name), remotes, keys)):
            said = process.stdout.readline() if process.stdout else ""
    if not said:
        raise RuntimeError("not every change arrived")
    delays: list[float] = json.loads(said)
    cuts = statistics.quantiles(delays, n=100)
    found = {"p50": cuts[49], "p99": cuts[98], "worst": max(delays), "changes": len(delays)}
    say(f"{found}")
    return found


def main() -> None:
    """Measure, or be the other process."""
    made = parser(__doc__, rounds=3)
    made.add_argument("--play", type=float, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.play:
        asyncio.run(play(arguments.play))
        return
    seconds, count = (4.0, 1) if arguments.quick else (20.0, arguments.rounds)
    rounds = [one_round(seconds) for _ in range(count)]
    beyond = [(one["p99"] - INTERVAL) * 1000 for one in rounds]
    figure = Figure(
        name="change in KUMA → update at the IRP, 50 a second: p99 less the poll interval",
        wanted=250,
        at_least=False,
        unit=" ms",
        got=statistics.median(beyond),
        spread=(min(beyond), max(beyond)),
        baseline=f"poll interval {INTERVAL:g} s; p50 {median(rounds, 'p50') * 1000:.0f} ms, "
        f"p99 {median(rounds, 'p99') * 1000:.0f} ms after the change",
    )
    report = Report(figures=[figure], details={"freshness": rounds})
    report.publish(arguments.json)


if __name__ == "__main__":
    main()
