"""The storm from its beginning to the verdict: `python tests/storm/run.py --minutes 20 [--seed N] [--database …]`.

Weather, then a drain without faults, then the oracle. Must not: hold any fault or rule of judgement itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import postgres
from drain import drain
from ground import Ground, grounded
from machines import Machines
from oracle import Oracle, Verdict
from weather import Weather
from world import World


@dataclass(kw_only=True)
class Report:
    """What came of one storm."""

    seed: int
    database: str
    ground: Ground
    weather: Weather
    machines: Machines
    world: World
    verdict: Verdict
    troubles: list[str]
    parked: Counter[str]

    @property
    def good(self) -> bool:
        """Tell whether the program kept what it promises."""
        return self.verdict.good and not self.troubles

    def lines(self) -> list[str]:
        """Tell the storm's figures, and what is wrong."""
        ground, closes = self.ground, Counter(operation for operation, _, _ in self.ground.irp.writes)
        struck = sorted((self.weather.fired + self.machines.fired).items())
        rows = [
            ("seed", self.seed),
            ("database", self.database),
            ("kills, starts", f"{ground.daemon.kills}, {ground.daemon.starts}"),
            ("faults", sum(count for _, count in struck)),
            *((f"  {kind}", count) for kind, count in struck),
            ("alerts shown", len(ground.witness.first_shown)),
            ("incidents", len(ground.irp.incidents)),
            ("updates", closes["update"] + closes["add_events"]),
            ("closings to KUMA", len(ground.kuma.closes)),
            ("closings to the IRP", closes["close"]),
            ("parked, then tried again", sum(self.parked.values())),
            *((f"  {reason}", count) for reason, count in self.parked.most_common(8)),
            ("left KUMA while the daemon was down", len(self.verdict.excused)),
            ("lost", len(self.verdict.lost)),
            ("doubled", len(self.verdict.doubled)),
        ]
        wrong = [*self.troubles, *self.verdict.lines()]
        told = [f"{label:<40}{value!s:>12}" for label, value in rows]
        if not wrong:
            return [*told, "all is as it should be"]
        where = f"seed {self.seed} on {self.database}; look into {ground.folder}"
        return [*told, *(f"  {line}" for line in wrong[:40]), f"{len(wrong)} WRONG; {where}"]


async def storm(
    folder: Path, *, seed: int, database: str, seconds: float, long: bool, say: Callable[[str], None]
) -> Report:
    """Play one storm on `sqlite` or `postgres`, in a folder that keeps the daemon's log."""
    with contextlib.ExitStack() as stack:
        url, server = "", None
        if database == "postgres":
            server = stack.enter_context(postgres.restartable())
            if server is None:
                say("no PostgreSQL of Debian's here: it cannot be killed and started again")
            maintenance = server.url if server else stack.enter_context(postgres.server())
            url = stack.enter_context(postgres.database(maintenance, f"storm_{uuid.uuid4().hex}"))
        async with grounded(folder, url, seed=seed, postgres=server, say=say) as ground:
            world = World(ground, seed=seed)
            machines = Machines(ground, seed=seed, between_pages=world.between_pages, long=long)
            weather = Weather(ground, machines, seed=seed)
            living = asyncio.create_task(world.live())
            try:
                await weather.blow(seconds)
            finally:
                living.cancel()
                await asyncio.wait([living])
            if living.done() and not living.cancelled() and living.exception():
                raise RuntimeError("the world broke down") from living.exception()
            oracle = Oracle(ground=ground, ledger=world.ledger, spells=machines.spells)
            verdict, troubles, parked = await drain(ground, world, oracle)
            troubles += [f"no such fault took hold: {kind}" for kind in weather.missed]
            return Report(
                **{"seed": seed, "database": database, "ground": ground, "weather": weather, "machines": machines},
                **{"world": world, "verdict": verdict, "troubles": troubles, "parked": parked},
            )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="Two simulators, the daemon between them, and bad weather.")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the weather, over all databases")
    parser.add_argument("--seed", type=int, default=None, help="random unless given")
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    asked = parser.parse_args()
    # A daemon killed in the middle of a request is no news; the server would tell it with a traceback.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    databases = ("sqlite", "postgres") if asked.database == "both" else (asked.database,)
    _say(f"storm: seed {seed}, {asked.minutes:g} minutes, {' and '.join(databases)}")
    good = True
    for database in databases:
        folder = Path(tempfile.mkdtemp(prefix=f"kuma-storm-{database}-"))
        seconds = asked.minutes * 60 / len(databases)
        report = asyncio.run(
            storm(folder, seed=seed, database=database, seconds=seconds, long=seconds >= 120, say=_say)
        )
        _say("\n".join(report.lines()))
        good = good and report.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
