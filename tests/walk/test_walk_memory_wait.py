"""Large alerts and a slow IRP: deliveries wait for room in memory, reading waits for nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

from plain_http import plain_client
from stage import Stage, ask, eventually, polled, staged, tell

from kuma_sync.core.alert import AlertId
from kuma_sync.sync import operator
from kuma_sync.sync.delivery.handler import EVENT
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.runner import Runtime

CONTENTS_IN_WORK = Limits().contents_in_work // 8
LIMITS = Limits(contents_in_work=CONTENTS_IN_WORK)


def raise_large(stage: Stage) -> str:
    """Raise an alert of more events than half of what deliveries may have in work."""
    alert_id = stage.kuma.raise_alert(events=0)
    few = CONTENTS_IN_WORK // 2 // 400
    stage.kuma.alerts[alert_id]["events"] = [{"ID": str(number), "Message": "x" * 400} for number in range(few)]
    return alert_id


async def test_reading_goes_on_while_large_alerts_wait_for_an_irp_that_hangs(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"max_events": 0}) as stage:
        hanging = stage.irp.faults.add("hang", method="POST")
        async with stage.working(limits=LIMITS) as runtime:
            for _ in range(3):
                raise_large(stage)
            await eventually(lambda: hanging.waiting)
            late = raise_large(stage)
            seen = await eventually(lambda: ask(runtime, lambda tx: tx.links.get(AlertId(late))))
            in_flight, ready = len(hanging.waiting), runtime.health.ready().parts["poll"].state
            stage.irp.faults.clear()
            await eventually(lambda: stage.agrees(max_events=0), within=60)

    assert seen is not None
    assert in_flight == 1, "two of them are more than there is room for"
    assert ready == "ok"


async def test_contents_that_are_read_again_take_room_as_stored_ones_do(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime(limits=LIMITS) as runtime:
        large = [stage.kuma.raise_alert(events=CONTENTS_IN_WORK // EVENT) for _ in range(3)]
        small = [stage.kuma.raise_alert(events=3) for _ in range(3)]
        await polled(runtime)

        of_large, of_small = await read_at_once(stage, runtime, large), await read_at_once(stage, runtime, small)

    assert (of_large, of_small) == (1, 3)
    assert stage.agrees(), stage.verdict()


async def read_at_once(stage: Stage, runtime: Runtime, alerts: list[str]) -> int:
    """Have alerts resynced by a KUMA that hangs; return how many of their contents were asked for at once."""
    hanging = stage.kuma.faults.add("hang", match="withAffected&id=")
    await tell(runtime, lambda tx: operator.resync(tx, [AlertId(name) for name in alerts], by="operator:test"))
    working = asyncio.create_task(runtime.targets["irp"].deliveries.drain())
    await eventually(lambda: hanging.waiting)
    await eventually(lambda: all_run(runtime, len(alerts)))
    for _ in range(3):
        await whoami(stage)  # who has something to ask has asked by then
    found = len(hanging.waiting)
    stage.kuma.faults.clear()
    await working
    return found


async def all_run(runtime: Runtime, number: int) -> bool:
    return (await ask(runtime, lambda tx: tx.delivery.depths())).get("running", 0) == number


async def whoami(stage: Stage) -> None:
    async with plain_client() as client:
        headers = {"Authorization": f"Bearer {stage.kuma.token}"}
        assert (await client.get(f"{stage.kuma_server.url}/api/v1/users/whoami", headers=headers)).status_code == 200
