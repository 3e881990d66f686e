"""The recorded input, taken the whole way: 20 real alerts, every event of them, and what happens to them afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from recorded import RECORDED, needs_recorded
from stage import Stage, staged

from kuma_sync.sim.content import read_alerts

pytestmark = needs_recorded


@asynccontextmanager
async def recorded(tmp_path: Path, database: str, *, alerts: int = 20) -> AsyncIterator[Stage]:
    async with staged(tmp_path, database, poll={"max_events": 0}) as stage:
        stage.kuma.load(read_alerts(RECORDED)[:alerts])
        await stage.passes()
        yield stage


async def test_twenty_recorded_alerts_become_incidents_with_every_field_and_event(
    tmp_path: Path, either_url: str
) -> None:
    async with recorded(tmp_path, either_url) as stage:
        await stage.passes()

    assert len(stage.irp.incidents) == len(stage.kuma.alerts) == 20
    assert len(stage.irp.writes) == 20, "a second pass over an unchanged KUMA writes nothing"
    for alert in stage.kuma.alerts.values():
        incident = stage.incident(alert["id"])
        assert incident.events == alert["events"]
        assert incident.fields.get("assets", []) == alert["affectedAssets"]
        assert incident.fields.get("accounts", []) == alert["affectedAccounts"]
        assert (incident.fields["title"], incident.fields["tenant"]) == (alert["name"], alert["tenantName"])
        assert incident.fields["eventsTotal"] == len({event["ID"] for event in alert["events"]})
    assert stage.agrees(max_events=0), stage.verdict(max_events=0)


async def test_the_command_alone_does_the_same_and_says_so_by_its_exit_code(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"max_events": 0}) as stage:
        stage.kuma.load(read_alerts(RECORDED))

        codes = [await stage.run_once(), await stage.run_once()]

    assert codes == [0, 0]
    assert [deed for deed, _, _ in stage.irp.writes] == ["create"] * 20
    assert stage.agrees(max_events=0), stage.verdict(max_events=0)


async def test_ten_alerts_that_grow_cause_ten_updates_with_just_the_new_events(tmp_path: Path, sqlite_url: str) -> None:
    async with recorded(tmp_path, sqlite_url) as stage:
        grown = {alert_id: stage.kuma.grow(alert_id, 3) for alert_id in list(stage.kuma.alerts)[:10]}

        await stage.passes(2)

    updates = {incident_id: body for incident_id, body in stage.wrote("update")}
    assert len(stage.wrote("update")) == len(stage.irp.writes) - 20 == 10
    for alert_id, events in grown.items():
        body = updates[stage.incident(alert_id).id]
        assert [event["ID"] for event in body["events"]] == events
        assert body["events"] == stage.kuma.alerts[alert_id]["events"][-3:]
        assert set(body) <= {"events", "eventsTotal", "lastSeenAt", "observables"}
    assert stage.agrees(max_events=0), stage.verdict(max_events=0)


async def test_an_edit_that_leaves_last_seen_alone_is_seen_by_the_sweep(tmp_path: Path, sqlite_url: str) -> None:
    async with recorded(tmp_path, sqlite_url, alerts=4) as stage:
        edited = next(iter(stage.kuma.alerts))
        stage.kuma.edit(edited, priority="critical" if stage.kuma.alerts[edited]["priority"] != "critical" else "low")

        await stage.passes()

    ((incident_id, body),) = stage.wrote("update")
    assert incident_id == stage.incident(edited).id
    assert set(body) == {"severity"}
    assert stage.agrees(max_events=0), stage.verdict(max_events=0)


async def test_what_is_closed_in_kuma_closes_its_incident_also_by_way_of_assigned(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with recorded(tmp_path, sqlite_url, alerts=4) as stage:
        at_once, in_steps = list(stage.kuma.alerts)[:2]
        stage.kuma.close(at_once, "responded")
        stage.kuma.assign(in_steps, "i.petrova")
        await stage.passes()
        assert stage.incident(in_steps).status == "open"
        assert stage.incident(in_steps).fields["assignee"] == "i.petrova"
        await stage.passes(2)
        stage.kuma.close(in_steps, "incorrect data")
        await stage.passes(2)

    closes = stage.wrote("close")
    assert [body["reason"] for _, body in closes] == ["responded", "incorrect data"]
    assert [id_ for id_, _ in closes] == [stage.incident(at_once).id, stage.incident(in_steps).id]
    assert stage.kuma.close_calls == []
    assert stage.agrees(max_events=0), stage.verdict(max_events=0)


async def test_an_alert_that_merely_vanished_closes_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with recorded(tmp_path, sqlite_url, alerts=4) as stage:
        vanished = next(iter(stage.kuma.alerts))
        stage.kuma.delete(vanished)

        await stage.passes(3)

    assert stage.incident(vanished).status == "open"
    assert len(stage.irp.writes) == 4
    assert stage.kuma.close_calls == []
