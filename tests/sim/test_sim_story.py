"""The scripted day, and the comparison that judges it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import pytest

from kuma_sync.sim.comparison import Comparison, compare
from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.story import play

SEVERITY = {"low": "Low", "medium": "Medium", "high": "High", "critical": "Critical"}


def deliver(kuma: KumaSim, irp: IrpSim, id_: str, *, instance: str = "kuma") -> str:
    """Do by hand what the daemon does: make or bring up to date the incident of an alert; give its id."""
    alert, key = kuma.alerts[id_], f"kuma:{instance}:{id_}"
    body = {
        "externalId": key,
        "title": alert["name"],
        "severity": SEVERITY[alert["priority"]],
        "lastSeenAt": alert["lastSeen"],
    }
    found = irp.by_key(key)
    known = {event["ID"] for event in found[0].events} if found else set()
    body["events"] = [event for event in alert["events"] if event["ID"] not in known]
    if found:
        irp.update(found[0], body)
        return found[0].id
    return irp.create(body).id


@pytest.fixture
def sides(clock) -> tuple[KumaSim, IrpSim, list[str]]:
    kuma, irp = KumaSim(clock=clock), IrpSim(clock=clock)
    ids = [kuma.raise_alert() for _ in range(5)]
    for id_ in ids:
        deliver(kuma, irp, id_)
    return kuma, irp, ids


def test_two_sides_that_agree_are_said_to(sides):
    kuma, irp, ids = sides
    kuma.close(ids[0])
    irp.close(irp.by_key(f"kuma:kuma:{ids[0]}")[0], {"reason": "responded"})

    found = compare(kuma, irp)

    assert found.agrees
    assert (found.alerts, found.incidents, found.closed_by_kuma, found.closed_by_irp) == (5, 5, 1, 0)
    assert found.lines()[-1] == "both sides agree"


def test_a_lost_alert_is_found(sides):
    kuma, irp, _ = sides
    lost = kuma.raise_alert()
    never_shown = kuma.raise_alert()
    kuma.close(never_shown)

    found = compare(kuma, irp)

    assert (found.lost, found.agrees) == ([lost], False)
    assert any(lost in line for line in found.lines())


def test_an_alert_once_shown_is_owed_an_incident_even_when_closed_or_gone(sides):
    kuma, irp, ids = sides
    closed = kuma.raise_alert()
    kuma.close(closed)
    kuma.shown |= {closed, "pruned", ids[0]}

    assert sorted(compare(kuma, irp).lost) == sorted([closed, "pruned"])


def test_a_doubled_incident_is_found(sides):
    kuma, irp, ids = sides
    [first] = irp.by_key(f"kuma:kuma:{ids[2]}")
    irp.create({**first.fields, "externalId": first.external_id, "events": first.events})

    found = compare(kuma, irp)

    assert (found.doubled, found.lost, found.differing) == ([f"kuma:kuma:{ids[2]}"], [], [])
    assert not found.agrees


def test_growth_that_did_not_arrive_is_found(sides, clock):
    kuma, irp, ids = sides
    clock.forward(10)
    kuma.grow(ids[1], 2)
    kuma.edit(ids[3], priority="low" if kuma.alerts[ids[3]]["priority"] != "low" else "high")

    found = compare(kuma, irp)

    assert len(found.differing) == 2
    assert "2 events missing" in found.differing[0]
    assert "lastSeenAt" in found.differing[0]
    assert "severity" in found.differing[1]
    for id_ in ids:
        deliver(kuma, irp, id_)
    assert compare(kuma, irp).agrees


def test_a_lost_event_with_an_equal_last_seen_is_found(sides):
    kuma, irp, ids = sides
    [incident] = irp.by_key(f"kuma:kuma:{ids[1]}")
    incident.events.pop()

    assert compare(kuma, irp).differing == [f"{ids[1]}: 1 events missing"]


def test_another_title_is_found_and_an_edited_one_forgiven(sides):
    kuma, irp, ids = sides
    changed, edited = (irp.by_key(f"kuma:kuma:{id_}")[0] for id_ in ids[:2])
    changed.fields["title"] = "another"
    irp.analyst_edit(edited.id, title="ours", severity="ours")

    assert compare(kuma, irp).differing == [f"{ids[0]}: another title"]


def test_only_the_newest_events_are_owed_of_a_very_large_alert(clock):
    kuma, irp = KumaSim(clock=clock), IrpSim(clock=clock)
    id_ = kuma.raise_alert(events=5)
    clock.forward(5)
    kuma.grow(id_, 3)
    incident = irp.incidents[deliver(kuma, irp, id_)]

    incident.events = incident.events[4:]
    enough = compare(kuma, irp, max_events=4)
    incident.events = incident.events[:-1]
    too_few = compare(kuma, irp, max_events=4)

    assert enough.agrees
    assert too_few.differing == [f"{id_}: 1 events missing"]
    assert not compare(kuma, irp, max_events=0).agrees


def test_closings_on_one_side_only_are_found(sides):
    kuma, irp, ids = sides
    kuma.close(ids[0])
    irp.analyst_close(irp.by_key(f"kuma:kuma:{ids[1]}")[0].id, "Resolved")

    found = compare(kuma, irp)

    assert len(found.open_mismatch) == 2
    assert not found.agrees


def test_a_reopened_incident_of_a_closed_alert_is_fine(sides):
    kuma, irp, ids = sides
    [incident] = irp.by_key(f"kuma:kuma:{ids[0]}")
    irp.analyst_close(incident.id, "Resolved")
    kuma.close(ids[0])
    irp.reopen(incident.id)

    assert compare(kuma, irp).agrees


def test_a_deleted_incident_and_a_deleted_alert_are_not_losses(sides):
    kuma, irp, ids = sides
    irp.delete(irp.by_key(f"kuma:kuma:{ids[0]}")[0].id)
    kuma.shown.add(ids[1])
    kuma.delete(ids[1])

    assert compare(kuma, irp).agrees


def test_the_instance_is_part_of_the_key(clock):
    kuma, irp = KumaSim(clock=clock), IrpSim(clock=clock)
    deliver(kuma, irp, kuma.raise_alert(), instance="branch")

    assert compare(kuma, irp, instance="branch").agrees
    assert not compare(kuma, irp).agrees


async def test_a_day_tells_its_story_and_a_simple_daemon_ends_in_agreement(reach, until):
    kuma, irp, told = KumaSim(seed=3), IrpSim(seed=3), list[str]()

    async with reach(kuma) as from_kuma, reach(irp) as to_irp:

        async def daemon() -> None:
            while True:
                with suppress(httpx.HTTPError):
                    await one_round(kuma, irp, from_kuma, to_irp)
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(daemon())
            await play(kuma, irp, seconds=3, seed=3, tell=told.append)
            await until(lambda: compare(kuma, irp).agrees)
            task.cancel()

    found = compare(kuma, irp)
    assert isinstance(found, Comparison)
    assert (found.alerts, found.closed_by_irp, found.closed_by_kuma) == (22, 3, 1)
    assert irp.faults.fired.keys() == {"status", "reset_after"}
    assert kuma.faults.fired == {"status": 1}
    assert (kuma.faults.rules, irp.faults.rules) == ([], [])
    for word in ("burst", "fires again", "priority", "assigned", "closes", "reopened", "503", "lost", "500", "429"):
        assert any(word in line for line in told), word
    assert all(len(line) < 120 and "\n" not in line for line in told)


async def one_round(kuma: KumaSim, irp: IrpSim, from_kuma: httpx.AsyncClient, to_irp: httpx.AsyncClient) -> None:
    """Be a daemon that looks into the memories to decide, but speaks over the sockets."""
    (await from_kuma.get("/api/v1/alerts/?withEvents&status=new")).raise_for_status()
    for incident in list(irp.incidents.values()):
        alert = kuma.alerts[incident.external_id.rpartition(":")[2]]
        closed_at_desk = any(deed == "analyst_close" for deed, _ in incident.history)
        if incident.status == "closed" and alert["status"] != "closed":
            body = {"id": alert["id"], "reason": "responded"}
            (await from_kuma.post("/api/v1/alerts/close", json=body)).raise_for_status()
        elif incident.status == "open" and alert["status"] == "closed" and not closed_at_desk:
            path = f"/api/v1/incidents/{incident.id}/close"
            (await to_irp.post(path, json={"reason": "responded"})).raise_for_status()
    for id_, alert in list(kuma.alerts.items()):
        found = irp.by_key(f"kuma:kuma:{id_}")
        if not found:
            body = {"externalId": f"kuma:kuma:{id_}", "title": alert["name"]}
            (await to_irp.post("/api/v1/incidents", json=body)).raise_for_status()
        elif found[0].status == "open" and _stale(alert, found[0]):
            deliver(kuma, irp, id_)


def _stale(alert: dict, incident: Incident) -> bool:
    sent = (incident.fields.get("lastSeenAt"), incident.fields.get("severity"), len(incident.events))
    return sent != (alert["lastSeen"], SEVERITY[alert["priority"]], len(alert["events"]))
