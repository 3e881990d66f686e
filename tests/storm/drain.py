"""Waits after the weather until all rests, tries what was parked once more, and waits again.

The oracle judges both times. As long as anything still moves, the drain goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
from environment import Environment
from ledger import ALERT
from oracle import Oracle, Verdict
from pulse import Pulse
from supervised import Daemon, until
from world import World

STANDSTILL = 90.0
"""Seconds without any movement after which nothing is waited for any more: longer than a dead daemon's leases."""
LONGEST = 900.0
READY = 300.0
BUGS = ("loop_failed", "job_failed", "loop_keeps_failing")


@dataclass(kw_only=True)
class Look:
    """What was seen at one moment: the oracle's verdict, what waits, and why which alert is parked."""

    verdict: Verdict
    waiting: list[str]
    parked: dict[str, str]
    left_parked: list[str]


@dataclass(kw_only=True)
class Drained:
    """What came of it: the last verdict, further troubles, and what was parked when the weather cleared up."""

    verdict: Verdict
    troubles: list[str]
    parked: Counter[str] = field(default_factory=Counter)
    fresh: float = 0.0


async def drain(
    environment: Environment, world: World, oracle: Oracle, pulse: Pulse, *, say: Callable[[str], None]
) -> Drained:
    """Let everything come to rest without faults; return what is wrong then."""
    world.settle_down()
    troubles = await _alive(environment, pulse)
    fresh = pulse.waits[-1] if pulse.waits else 0.0
    say(f"every copy is ready, a fresh alert took {fresh:.1f} s")

    look = await _at_rest(environment, world, oracle, enough=lambda look: not look.verdict.conservation())
    troubles += [f"before anybody tried again: {line}" for line in [*look.verdict.conservation(), *look.waiting]]
    parked = Counter(look.parked.values())
    say(f"at rest; {len(look.parked)} alerts are parked, and tried once more now")
    # An operator's part: what the weather parked is tried once more.
    look = await _at_rest(
        environment, world, oracle, enough=lambda look: look.verdict.good and not look.left_parked, retry=True
    )
    verdict = look.verdict
    troubles += [*look.waiting, *look.left_parked, *await _moving_still(environment)]
    await _write_down(environment, [*troubles, *verdict.lines()])
    events = environment.events()
    troubles += [f"{events[bug]} times in the log: {bug}" for bug in BUGS if events[bug]]
    troubles += [line for daemon in environment.daemons for line in daemon.strange]
    return Drained(verdict=verdict, troubles=troubles, parked=parked, fresh=fresh)


async def _alive(environment: Environment, pulse: Pulse) -> list[str]:
    """Wait until every copy is ready and a fresh alert has its incident."""
    ready = await asyncio.gather(*(_ready(environment, daemon) for daemon in environment.daemons))
    troubles = [
        f"{daemon.name} is not ready {READY:g} s after the weather cleared up"
        for daemon, well in zip(environment.daemons, ready, strict=True)
        if not well
    ]
    beat = asyncio.create_task(pulse.beat())
    written, moved = _written(environment), time.monotonic()
    while not beat.done() and time.monotonic() - moved < STANDSTILL:
        await asyncio.wait([beat], timeout=0.5)
        if _written(environment) != written:
            written, moved = _written(environment), time.monotonic()
    if not beat.done():
        troubles.append(f"a fresh alert has no incident, and nothing moved for {STANDSTILL:g} s")
        beat.cancel()
    return troubles


async def _ready(environment: Environment, daemon: Daemon) -> bool:
    deadline = time.monotonic() + READY
    async with environment.client(daemon) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/readyz")).status_code == 200:
                    return True
            await asyncio.sleep(0.2)
    return False


async def _at_rest(
    environment: Environment, world: World, oracle: Oracle, *, enough: Callable[[Look], bool], retry: bool = False
) -> Look:
    """Look until nothing waits and it is enough, or until nothing has moved for long."""
    begun = moved = time.monotonic()
    before: object = None
    to_retry = retry
    while True:
        if to_retry:
            await environment.command("retry", "--all")
        await _quiet(environment)
        look = await _look(environment, world, oracle)
        if enough(look) and not look.waiting:
            return look
        to_retry, now = retry and bool(look.left_parked), (*_written(environment), look)
        if now != before:
            before, moved = now, time.monotonic()
        if time.monotonic() - moved > STANDSTILL or time.monotonic() - begun > LONGEST:
            return look


async def _quiet(environment: Environment) -> None:
    """Wait until nothing was written during two sweeps, or for a while: what comes then is dear on a busy machine."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        written, sweeps = _written(environment), environment.witness.sweeps
        await until(lambda seen=sweeps: environment.witness.sweeps >= seen + 2, within=5.0)  # type: ignore[misc]
        if _written(environment) == written:
            return


def _written(environment: Environment) -> tuple[int, int]:
    return environment.irps.written, len(environment.kuma.close_calls)


async def _look(environment: Environment, world: World, oracle: Oracle) -> Look:
    """Ask the store by its commands, and the oracle. Parked may stay closings of alerts that KUMA no longer has."""
    rows, status = map(
        json.loads,
        await asyncio.gather(environment.command("alerts", "--json"), environment.command("status", "--json")),
    )
    states = {row["alert_id"]: (row["state"], row["reason"]) for row in rows}
    pieces = {job["id"] for job in status["parked"] if not ALERT.fullmatch(job["id"])}
    return Look(
        verdict=await oracle.judge(states),
        waiting=["the robot has closings that nobody answered"] * environment.robot.busy
        + [
            f"{count} jobs of queue {name} are {state}"
            for name, queue in status["queues"].items()
            for state, count in queue["jobs"].items()
            if count and state != "parked"
        ],
        parked={alert_id: reason for alert_id, (state, reason) in states.items() if state == "parked"},
        left_parked=[
            f"{job['id']} is parked in queue {job['queue']}: {job['reason']}"
            for job in status["parked"]
            if not (job["queue"] == "close" and job["id"] in world.ledger.gone)
            and not (job["id"] in pieces and len(pieces) <= len(world.ledger.costly))
        ],
    )


async def _write_down(environment: Environment, wrong: list[str]) -> None:
    """Leave beside the logs what both sides and the store know of the first alerts that went wrong."""
    ids = list(dict.fromkeys(word for line in wrong for word in ALERT.findall(line)))
    with (environment.folder / "wrong.txt").open("w") as file:
        for alert_id in ids[:10]:
            alert, everyone = environment.kuma.alerts.get(alert_id), environment.irps.ever.values()
            incidents = [one for one in everyone if one.external_id == f"kuma:kuma:{alert_id}"]
            scalars = {name: value for name, value in (alert or {}).items() if not isinstance(value, list)}
            history = [(deed, sorted(body), body.get("alertStatus")) for one in incidents for deed, body in one.history]
            file.write(f"KUMA {scalars}\nIRP {history}\n")
            with contextlib.suppress(RuntimeError):
                file.write(await environment.command("show", alert_id) + "\n")


async def _moving_still(environment: Environment) -> list[str]:
    """Look whether anything is still written two sweeps after all came to rest."""
    before = _written(environment)
    sweeps = environment.witness.sweeps
    if not await until(lambda: environment.witness.sweeps >= sweeps + 2, within=STANDSTILL):
        return [f"no sweep for {STANDSTILL:g} s"]
    after = _written(environment)
    return [] if after == before else [f"writes went on at rest: {before} became {after}"]
