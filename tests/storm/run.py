"""The storm from its beginning to the verdict: `python tests/storm/run.py --minutes 20 [--seed N] [--database …]`.

Weather, then a drain without faults, then the oracle. Must not: hold any fault or rule of judgement itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import postgres
from ground import Ground, grounded, until
from machines import Machines
from oracle import Oracle, Verdict
from weather import Weather
from world import World

DRAIN = 90.0
BUGS = ("loop_failed", "job_failed", "loop_keeps_failing")


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
            verdict, troubles, parked = await _drain(ground, world, oracle)
            troubles += [f"no such fault took hold: {kind}" for kind in weather.missed]
            return Report(
                **{"seed": seed, "database": database, "ground": ground, "weather": weather, "machines": machines},
                **{"world": world, "verdict": verdict, "troubles": troubles, "parked": parked},
            )


async def _drain(ground: Ground, world: World, oracle: Oracle) -> tuple[Verdict, list[str], Counter[str]]:
    """Let everything come to rest without faults; return what is wrong then."""
    troubles: list[str] = []
    world.settle_down()
    if not await _ready(ground):
        troubles.append("the daemon is not ready a minute after the weather cleared up")
    parked = Counter(reason for _, (state, reason) in (await _states(ground)).items() if state == "parked")
    await ground.command("retry", "--all")
    fresh = ground.kuma.raise_alert(events=2)
    if not await until(lambda: bool(ground.irp.by_key(f"kuma:kuma:{fresh}")), within=90.0):
        troubles.append(f"the fresh alert {fresh} has no incident after 90 s")
    deadline = time.monotonic() + DRAIN
    while True:
        verdict = oracle.judge(await _states(ground))
        waiting = await _waiting(ground, world)
        if (verdict.good and not waiting) or time.monotonic() > deadline:
            break
        await asyncio.sleep(1.0)
    troubles += waiting
    troubles += await _moving_still(ground)
    await _write_down(ground, [*verdict.lines(), *waiting])
    events = ground.daemon.events()
    troubles += [f"{events[bug]} times in the log: {bug}" for bug in BUGS if events[bug]]
    troubles += [f"the daemon ended by itself: {ground.daemon.strange}"] if ground.daemon.strange else []
    return verdict, troubles, parked


async def _ready(ground: Ground) -> bool:
    deadline = time.monotonic() + 60
    async with ground.client() as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/readyz")).status_code == 200:
                    return True
            await asyncio.sleep(0.2)
    return False


async def _states(ground: Ground) -> dict[str, tuple[str, str]]:
    rows = json.loads(await ground.command("alerts", "--json"))
    return {row["alert_id"]: (row["state"], row["reason"]) for row in rows}


async def _waiting(ground: Ground, world: World) -> list[str]:
    """Say what is still queued; parked may be only closings of alerts that KUMA no longer has."""
    status = json.loads(await ground.command("status", "--json"))
    found = [
        f"{count} jobs of queue {name} are {state}"
        for name, queue in status["queues"].items()
        for state, count in queue["jobs"].items()
        if count and state not in ("parked",)
    ]
    return found + [
        f"{job['id']} is parked in queue {job['queue']}: {job['reason']}"
        for job in status["parked"]
        if not (job["queue"] == "close" and job["id"] in world.ledger.gone)
    ]


async def _write_down(ground: Ground, wrong: list[str]) -> None:
    """Leave beside the daemon's log what both sides and the store know of the first alerts that went wrong."""
    ids = list(dict.fromkeys(word for line in wrong for word in re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", line)))
    with (ground.folder / "wrong.txt").open("w") as file:
        for alert_id in ids[:10]:
            alert, incidents = ground.kuma.alerts.get(alert_id), ground.irp.by_key(f"kuma:kuma:{alert_id}")
            scalars = {name: value for name, value in (alert or {}).items() if not isinstance(value, list)}
            history = [(deed, sorted(body), body.get("alertStatus")) for one in incidents for deed, body in one.history]
            file.write(f"KUMA {scalars}\nIRP {history}\n")
            with contextlib.suppress(RuntimeError):
                file.write(await ground.command("show", alert_id) + "\n")


async def _moving_still(ground: Ground) -> list[str]:
    """Look whether anything is still written two sweeps after all came to rest."""
    before = (len(ground.irp.writes), len(ground.kuma.close_calls))
    sweeps = ground.witness.sweeps
    if not await until(lambda: ground.witness.sweeps >= sweeps + 2, within=30.0):
        return ["no sweep for half a minute"]
    after = (len(ground.irp.writes), len(ground.kuma.close_calls))
    return [] if after == before else [f"writes went on at rest: {before} became {after}"]


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
