"""What is switched off is never asked for, in whatever history and on whatever way a closing could take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stage import Stage, staged, tell

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.sync import operator
from kuma_sync.sync.closing.intake import accept
from kuma_sync.sync.closing.requests import put_order
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

ALERTS = 15

SWITCHES: dict[str, Callable[[Stage], int]] = {
    "to_kuma": lambda stage: sum(request.path.endswith("/alerts/close") for request in stage.kuma.requests),
    "to_irp": lambda stage: sum(request.path.endswith("/close") for request in stage.irp.requests),
    "watch": lambda stage: sum("status=closed" in request.query for request in stage.irp.requests),
}
"""Each switch, and how to count the requests that it forbids."""

DEEDS = [
    *("grow", "assign", "closed in KUMA", "vanish"),
    *("closed in the IRP", "closed for another reason", "reopen", "incident deleted"),
    *("door", "operator", "queued before", "resync", "retry", "release"),
]
HISTORIES = st.lists(st.lists(st.sampled_from(DEEDS), min_size=1, max_size=5), min_size=ALERTS, max_size=ALERTS)


@pytest.mark.parametrize("switch", SWITCHES)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories=HISTORIES)
def test_a_switch_that_is_off_is_off_in_whatever_history(
    tmp_path_factory: pytest.TempPathFactory, switch: str, histories: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("world")

    asked = asyncio.run(_lived(folder, histories, {switch: False}))

    assert asked[switch] == 0


async def test_what_is_switched_on_is_asked_for_in_such_histories(tmp_path: Path) -> None:
    asked = await _lived(tmp_path, [["closed in KUMA"], ["closed in the IRP"], ["operator"]], {})

    assert asked["to_kuma"] == asked["to_irp"] == 2
    assert asked["watch"] > 2


async def _lived(folder: Path, histories: list[list[str]], switches: dict[str, bool]) -> dict[str, int]:
    """Live through one history an alert, side by side; return how many requests of each switch's kind were made."""
    async with staged(folder, f"sqlite:///{folder}/store.db", close=switches) as stage, stage.runtime() as runtime:
        ids = [stage.kuma.raise_alert(events=1) for _ in histories]
        await once(runtime)
        for step in range(max(map(len, histories))):
            for alert_id, history in zip(ids, histories, strict=True):
                if step < len(history):
                    await _happens(stage, runtime, alert_id, history[step], to_kuma=switches.get("to_kuma", True))
            await once(runtime)
        await once(runtime)
        return {switch: count(stage) for switch, count in SWITCHES.items()}


async def _happens(stage: Stage, runtime: Runtime, alert_id: str, deed: str, *, to_kuma: bool) -> None:
    id_ = AlertId(alert_id)
    order = CloseRequest(alert_id=id_, reason=Reason.RESPONDED, origin=Origin.OPERATOR, by="cli")
    match deed:
        case "door" if to_kuma:
            await tell(runtime, lambda tx: accept(tx, order))
        case "operator":
            await tell(runtime, lambda tx: operator.order_close(tx, order, to_kuma=to_kuma))
        case "queued before":
            await tell(runtime, lambda tx: put_order(tx, order))
        case "resync":
            await tell(runtime, lambda tx: operator.resync(tx, [id_], by="cli"))
        case "retry":
            await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
        case "release":
            await tell(runtime, lambda tx: operator.release(tx, by="cli"))
        case _:
            _people(stage, alert_id, deed)


def _people(stage: Stage, alert_id: str, deed: str) -> None:
    """Have somebody do it on their side, where it can be done."""
    alert, incidents = stage.kuma.alerts.get(alert_id), stage.incidents(alert_id)
    in_kuma = {"grow": stage.kuma.grow, "assign": stage.kuma.assign, "closed in KUMA": stage.kuma.close}
    if deed in in_kuma and alert is not None and alert["status"] != "closed":
        in_kuma[deed](alert_id)
    elif deed == "vanish" and alert is not None:
        stage.kuma.delete(alert_id)
    for incident in incidents:
        match deed:
            case "closed in the IRP" | "closed for another reason":
                stage.irp.analyst_close(incident.id, "False positive" if deed.endswith("IRP") else "Dealt with")
            case "reopen":
                stage.irp.reopen(incident.id)
            case "incident deleted":
                stage.irp.delete(incident.id)
