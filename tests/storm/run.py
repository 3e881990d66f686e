"""Runs the storm from its beginning to the verdict: `python tests/storm/run.py --minutes 20 [--seed N] [--database …]`.

First the weather, then a drain without faults, then the oracle; on both databases at the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shlex
import signal
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import postgres
from cuts import Pages
from disks import small_disk, tables_on
from drain import Drained, drain
from environment import Database, Environment, opened_environment
from kinds import UNREAD, Kinds
from machines import Machines
from oracle import Oracle
from pulse import Pulse
from report import Figures, Report, figures, table, write_json
from weather import METHODS, WIRE, Weather
from world import World

Say = Callable[[str], None]
EVERYTHING = Kinds()

DATABASES = ("sqlite", "postgres")
LONG = 240.0
"""Seconds of weather from which on faults that take a minute are played, and every deed must have been done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a storm goes: `full` plays faults at their full size, and those that take their time."""

    seed: int
    seconds: float
    kinds: Kinds = EVERYTHING
    full: bool = True


async def storm(folder: Path, course: Course, *, database: str, say: Say) -> Report:
    """Play one storm on `sqlite` or `postgres`, in a folder that keeps the daemons' logs."""
    seed, seconds, kinds = course.seed, course.seconds, course.kinds
    left_out: list[str] = []
    long = seconds >= LONG
    copies = (3 if long else 2) if database == "postgres" else 1
    with _database(database, say=left_out.append) as where:
        async with opened_environment(folder, where, seed=seed, copies=copies, say=left_out.append) as environment:
            world = World(environment, seed=seed, long=long, kinds=kinds)
            machines = Machines(environment, world, seed=seed, long=long, full=course.full, kinds=kinds)
            pages = Pages(environment, world.ledger, seed=seed, kinds=kinds)
            weather = Weather(environment, machines, pages, seed=seed, long=long, kinds=kinds)
            pulse = Pulse(environment, world.ledger)
            async with asyncio.TaskGroup() as life:
                beside = [life.create_task(world.live()), life.create_task(pulse.go_on())]
                await weather.blow(seconds)
                say(f"{database}: it blew {seconds:g} s; still to come: {', '.join(weather.missed) or 'nothing'}")
                await weather.make_up()
                for task in beside:
                    task.cancel()
            say(f"{database}: the weather cleared up")
            pages.settle()
            oracle = Oracle(
                environment=environment, ledger=world.ledger, spells=machines.spells, all_statuses=UNREAD in kinds
            )
            drained = await drain(environment, world, oracle, pulse, say=lambda text: say(f"{database}: {text}"))
            troubles = [
                *machines.troubles,
                *drained.troubles,
                *(f"no such fault took hold: {kind}" for kind in weather.missed),
            ]
            troubles += [f"nobody ever did this: {deed}" for deed in world.never if long]
            troubles += await _idle(environment) if "kill -9" in kinds else []
            return Report(
                seed=seed,
                minutes=seconds / 60,
                database=database,
                folder=folder,
                figures=figures(drained.verdict, await _counts(environment, drained), pulse.waits),
                faults=weather.fired + machines.fired + pages.fired,
                deeds=world.ledger.deeds,
                parked=drained.parked,
                verdict=drained.verdict,
                troubles=troubles,
                left_out=left_out,
                kinds=kinds,
            )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def both(folder: Path, course: Course, *, databases: tuple[str, ...] = DATABASES) -> list[Report]:
    """Play a storm on each database, all at the same time."""
    halves = (storm(folder / name, course, database=name, say=_say) for name in databases)
    return await asyncio.gather(*halves)


@contextlib.contextmanager
def _database(kind: str, *, say: Say) -> Iterator[Database]:
    """Make the store's database, on a small disk where that is possible."""
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            disk = stack.enter_context(small_disk(say=say))
            folder = disk or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kuma-store-")))
            own = folder / "store"  # for its folder may be moved away, too
            own.mkdir()
            yield Database(url=f"sqlite:///{own}/store.db", disk=disk)
            return
        server, disk, name = stack.enter_context(postgres.restartable()), None, f"storm_{uuid.uuid4().hex}"
        if server is None:
            say("left out: PostgreSQL killed, full disk (only Debian's can be restarted: apt-get install postgresql)")
        else:
            disk = stack.enter_context(small_disk(say=say))
        maintenance = server.url if server else stack.enter_context(postgres.server())
        url = stack.enter_context(postgres.database(maintenance, name))
        if disk is not None:
            stack.enter_context(tables_on(disk, maintenance, name))
        yield Database(url=url, server=server, disk=disk)


async def _idle(environment: Environment) -> list[str]:
    """Name the copies that had no part in the work."""
    if len(environment.daemons) == 1:
        return []
    readers = [daemon.name for daemon in environment.daemons if '"ours": true' in daemon.told(0)]
    found = [] if len(readers) > 1 else [f"only {readers} ever had the leader's lease"]
    return found + [
        f"{one.name} made no incident" for one in environment.daemons if not one.events()["incident_created"]
    ]


async def _counts(environment: Environment, drained: Drained) -> Figures:
    targets = environment.irps.targets
    writes, events = Counter(operation for operation, _, _ in environment.irps.writes), environment.events()
    return {
        "copies of the daemon": len(environment.daemons),
        "kills": sum(daemon.kills for daemon in environment.daemons),
        "starts": sum(daemon.starts for daemon in environment.daemons),
        "leaderships": await environment.leaderships(),
        "alerts shown": len(environment.witness.first_shown),
        **{f"incidents in {name}": len(irp.incidents) + len(irp.deleted) for name, irp in targets.items()},
        "asked by the robot": environment.robot.rounds,
        "updates": writes["update"] + writes["add_events"],
        "closings carried to KUMA": len(environment.kuma.closes),
        "closings carried to the IRP": writes["close"],
        "attempts that failed": events["delivery_failed"] + events["close_failed"],
        "parked at rest": sum(drained.parked.values()),
        "after the weather: fresh alert to incident, s": round(drained.fresh, 1),
    }


async def _unless_stopped(storms: Awaitable[list[Report]]) -> list[Report]:
    """Await the reports. Whoever stops us means the daemons, the databases and the mounts, too."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await storms


def main() -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="Two simulators, the daemon between them, and bad weather.")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the weather on each database")
    parser.add_argument("--seed", type=int, default=None, help="random unless given")
    parser.add_argument("--database", choices=(*DATABASES, "both"), default="both")
    for option, help_ in (("--only", "play these kinds alone"), ("--without", "play all but these kinds")):
        parser.add_argument(option, action="append", default=[], metavar="WORD", help=f"{help_}: part of their names")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="where to write the figures")
    asked = parser.parse_args()
    kinds = Kinds(only=tuple(asked.only), without=tuple(asked.without))
    if unknown := kinds.unknown(f"{side}: {name}" for side in METHODS for name in WIRE):
        parser.error(f"no kind of weather is called {', '.join(unknown)}")
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    databases = DATABASES if asked.database == "both" else (asked.database,)
    course = Course(seed=seed, seconds=asked.minutes * 60, kinds=kinds)
    folder = Path(tempfile.mkdtemp(prefix="kuma-storm-"))
    _say(f"storm: seed {seed}, {asked.minutes:g} minutes on {' and '.join(databases)}; logs in {folder}")
    try:
        reports = asyncio.run(_unless_stopped(both(folder, course, databases=databases)))
    except asyncio.CancelledError:
        return 143
    _say("\n".join(table(reports)))
    if asked.json is not None:
        write_json(asked.json, reports)
    good = all(report.good for report in reports)
    if not good:
        _say(f"the whole once more: make storm MINUTES={asked.minutes:g} SEED={seed} ARGS={shlex.quote(kinds.words)}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
