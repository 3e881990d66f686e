"""Closings on both sides in any order come to rest within two cycles, and no write is made that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mortal import House, housed
from stage import Stage, tell

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.sync.closing.intake import accept
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

ALERTS = 6
RESOLUTIONS = {"False positive": Reason.INCORRECT_DATA, "Resolved": Reason.RESPONDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Somebody closes one of the alerts on one side, or the program does a part of its work."""

    what: str
    which: int = 0
    reason: Reason = Reason.RESPONDED
    resolution: str = "Resolved"


WHICH = st.integers(0, ALERTS - 1)
DEEDS = st.one_of(
    st.builds(Deed, what=st.just("closed in KUMA"), which=WHICH, reason=st.sampled_from(Reason)),
    st.builds(
        Deed,
        what=st.sampled_from(["closed in the IRP", "closed in the IRP, which calls the door"]),
        which=WHICH,
        resolution=st.sampled_from(list(RESOLUTIONS)),
    ),
    st.builds(Deed, what=st.sampled_from(["poll", "sweep", "watch", "deliver", "close"])),
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for all worlds: what is costly to make is made once."""
    with housed(tmp_path_factory.mktemp("house")) as house:
        yield house


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deeds=st.lists(DEEDS, min_size=4, max_size=24))
def test_closings_on_both_sides_in_any_order_rest_after_two_cycles(house: House, deeds: list[Deed]) -> None:
    stage = house.new_world()
    ids = [stage.kuma.raise_alert(events=1) for _ in range(ALERTS)]
    runtime = house.begin_life()
    house.run(once(runtime))
    first: dict[str, str] = {}

    for deed in deeds:
        house.run(_done(stage, runtime, ids[deed.which], deed, first))
    for _cycle in range(2):
        house.run(once(runtime))
    asked = _asked_for(stage)
    house.run(once(runtime))

    assert _asked_for(stage) == asked, "a third cycle writes, to no avail"
    assert stage.agrees(), stage.verdict()
    for alert_id in ids:
        _closed_once(stage, alert_id, first.get(alert_id, ""))


async def _done(stage: Stage, runtime: Runtime, alert_id: str, deed: Deed, first: dict[str, str]) -> None:
    alert, incident = stage.kuma.alerts[alert_id], stage.incident(alert_id)
    match deed.what:
        case "closed in KUMA" if alert["status"] != "closed":
            stage.kuma.close(alert_id, deed.reason.value)
            first.setdefault(alert_id, "kuma")
        case "closed in the IRP" | "closed in the IRP, which calls the door" if incident.status == "open":
            stage.irp.analyst_close(incident.id, deed.resolution)
            first.setdefault(alert_id, "irp")
            if deed.what.endswith("door"):
                await tell(runtime, lambda tx: accept(tx, _call(alert_id, deed)))
        case "poll" | "sweep":
            await runtime.poller.poll_once(sweep=deed.what == "sweep")
        case "watch":
            await runtime.targets["irp"].watch.watch_once()
        case "deliver":
            await runtime.targets["irp"].deliveries.drain()
        case "close":
            await runtime.closes.drain()


def _call(alert_id: str, deed: Deed) -> CloseRequest:
    reason = RESOLUTIONS[deed.resolution]
    return CloseRequest(alert_id=AlertId(alert_id), reason=reason, origin=Origin.IRP, by="security-vision")


def _asked_for(stage: Stage) -> tuple[int, int]:
    """Count the requests that write, whatever was answered to them."""
    kuma, irp = (sum(request.method != "GET" for request in sim.requests) for sim in (stage.kuma, stage.irp))
    return kuma, irp


def _closed_once(stage: Stage, alert_id: str, closed_first_on: str) -> None:
    """What people closed on both sides is written to neither; what they closed on one is written once to the other."""
    incident = stage.incident(alert_id)
    to_kuma = [reason for closed, reason in stage.kuma.closes if closed == alert_id]
    to_irp = [body["reason"] for deed, body in incident.history if deed == "close"]
    assert len(to_kuma) + len(to_irp) <= 1
    if not closed_first_on:
        assert (to_kuma, to_irp, incident.status) == ([], [], "open")
        return
    assert (stage.kuma.alerts[alert_id]["status"], incident.status) == ("closed", "closed")
    if to_irp:
        assert closed_first_on == "kuma"
        assert to_irp == [stage.kuma.alerts[alert_id]["closingReason"]]
    if to_kuma:
        assert closed_first_on == "irp"
        assert to_kuma == [RESOLUTIONS[incident.resolution].value]
