"""After the weather: no faults any more, what was parked is tried again, all comes to rest, and the oracle judges.

Must not: know a rule of judgement (that is oracle), or any fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections import Counter

import httpx
from ground import Ground
from oracle import Oracle, Verdict
from supervised import until
from world import World

DRAIN = 90.0
BUGS = ("loop_failed", "job_failed", "loop_keeps_failing")


async def drain(ground: Ground, world: World, oracle: Oracle) -> tuple[Verdict, list[str], Counter[str]]:
    """Let everything come to rest without faults; return what is wrong then."""
    troubles: list[str] = []
    world.settle_down()
    if not await _ready(ground):
        troubles.append("the daemon is not ready a minute after the weather cleared up")
    parked: Counter[str] = Counter()
    fresh = ground.kuma.raise_alert(events=2)
    if not await until(lambda: bool(ground.irp.by_key(f"kuma:kuma:{fresh}")), within=90.0):
        troubles.append(f"the fresh alert {fresh} has no incident after 90 s")
    deadline = time.monotonic() + DRAIN
    while True:
        # An operator's part: what the weather parked is tried once more.
        again = Counter(reason for state, reason in (await _states(ground)).values() if state == "parked")
        if again:
            await ground.command("retry", "--all")
        parked |= again
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
