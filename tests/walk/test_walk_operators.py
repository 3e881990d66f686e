"""What operators decide: what is ignored, dropped, sent anew, and for how long things are kept."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stage import ago, ask, eventually, parked, staged, state_of, tell, until_rest

from kuma_sync.core.alert import AlertId
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once


async def carried(runtime: Runtime) -> None:
    await once(runtime)
    await until_rest(runtime)


async def test_alerts_from_before_the_start_are_ignored_until_they_change(tmp_path: Path, sqlite_url: str) -> None:
    limit = datetime.now(UTC) - timedelta(days=1)
    async with staged(tmp_path, sqlite_url, poll={"ignore_before": limit.isoformat()}) as stage:
        old, older = (stage.kuma.raise_alert(seen=limit - timedelta(hours=hours)) for hours in (1, 2))
        new = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await carried(runtime)
            states = [await state_of(runtime, alert_id) for alert_id in (old, older, new)]
            before = len(stage.irp.incidents)
            stage.kuma.grow(old)
            stage.kuma.edit(older, priority="critical")
            await carried(runtime)

    assert states == ["ignored", "ignored", "open"]
    assert before == 1
    assert [len(stage.incident(alert_id).events) for alert_id in (old, older, new)] == [4, 3, 3]
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize("sweep", [False, True], ids=["late", "sweep"])
async def test_an_old_alert_that_only_a_listing_shows_is_ignored_until_it_changes(
    tmp_path: Path, sqlite_url: str, sweep: bool
) -> None:
    limit = datetime.now(UTC) - timedelta(minutes=5)
    poll = {"ignore_before": limit.isoformat(), "sweep_interval": "1h"}
    async with staged(tmp_path, sqlite_url, poll=poll) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert()
        await carried(runtime)
        old = stage.kuma.raise_alert(seen=limit - timedelta(hours=1 if sweep else 0, minutes=5))
        await runtime.poller.poll_once(sweep=sweep)
        await until_rest(runtime)
        first, kept = await state_of(runtime, old), await ask(runtime, lambda tx: tx.alerts.contents(AlertId(old)))
        stage.kuma.knobs.html_escape, stage.kuma.knobs.without_events = True, "null"
        await runtime.poller.poll_once(sweep=True)
        await until_rest(runtime)
        in_other_bytes, before = await state_of(runtime, old), len(stage.irp.incidents)
        stage.kuma.edit(old, priority="critical")
        await carried(runtime)

    assert (first, kept) == ("ignored", None)
    assert (in_other_bytes, before) == ("ignored", 1)
    assert len(stage.incident(old).events) == 3
    assert stage.agrees(), stage.verdict()


async def test_an_ignored_alert_whose_contents_can_be_read_only_later_is_not_woken_by_that(
    tmp_path: Path, sqlite_url: str
) -> None:
    limit = datetime.now(UTC) - timedelta(days=1)
    async with (
        staged(tmp_path, sqlite_url, poll={"ignore_before": limit.isoformat()}) as stage,
        stage.runtime() as runtime,
    ):
        stage.kuma.raise_alert()
        await carried(runtime)
        old = stage.kuma.raise_alert(seen=limit - timedelta(hours=1))
        stage.kuma.faults.add("status", code=500, match="&id=")
        await carried(runtime)
        unread = (await ask(runtime, lambda tx: tx.alerts.snapshots([AlertId(old)])))[AlertId(old)].affected
        stage.kuma.faults.clear()
        stage.kuma.knobs.without_events = "null"
        await carried(runtime)
        read = (await ask(runtime, lambda tx: tx.alerts.snapshots([AlertId(old)])))[AlertId(old)].affected
        state, before = await state_of(runtime, old), len(stage.irp.incidents)
        stage.kuma.grow(old)
        await carried(runtime)

    assert unread is None
    assert read is not None
    assert (state, before) == ("ignored", 1)
    assert len(stage.incident(old).events) == 4
    assert stage.agrees(), stage.verdict()


async def test_an_ignored_alert_that_is_closed_in_kuma_makes_no_incident(tmp_path: Path, sqlite_url: str) -> None:
    limit = datetime.now(UTC) - timedelta(days=1)
    async with staged(tmp_path, sqlite_url, poll={"ignore_before": limit.isoformat()}) as stage:
        old = stage.kuma.raise_alert(seen=limit - timedelta(hours=1))
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.kuma.close(old, "responded")
            await carried(runtime)

    assert stage.irp.incidents == {}


async def test_a_dropped_alert_stays_dropped_whatever_happens_to_it(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert(name="odd")
        stage.irp.knobs.reject_titles = "odd"
        async with stage.runtime() as runtime:
            await carried(runtime)
            assert len(await parked(runtime)) == 1

            known = await tell(runtime, lambda tx: operator.drop(tx, alert_id, by="cli"))
            stage.irp.knobs.reject_titles = ""
            stage.kuma.grow(alert_id)
            await carried(runtime)
            stage.kuma.close(alert_id, "responded")
            await carried(runtime)
            state, jobs = await state_of(runtime, alert_id), await parked(runtime)
            unknown = await tell(runtime, lambda tx: operator.drop(tx, "no-such-alert", by="cli"))
        await stage.passes()

    assert (known, unknown) == (True, False)
    assert (state, jobs) == ("ignored", [])
    assert stage.irp.incidents == {}


@pytest.mark.parametrize("remote", ["irp", "kuma"])
async def test_what_is_dropped_while_its_request_is_under_way_is_not_tried_again(
    tmp_path: Path, database_url: str, remote: str
) -> None:
    async with staged(tmp_path, database_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(name="odd")
        if remote == "irp":
            server, worker = stage.irp, runtime.targets["irp"].deliveries
            await runtime.poller.poll_once()
        else:
            await carried(runtime)
            stage.irp.analyst_close(stage.incident(alert_id).id, "Resolved")
            await runtime.targets["irp"].watch.watch_once()
            server, worker = stage.kuma, runtime.closes
        sent = len(server.requests)
        server.faults.add("delay", seconds=0.5, method="POST")
        server.faults.add("status", code=422 if remote == "irp" else 500, method="POST")
        working = asyncio.create_task(worker.drain())
        await eventually(lambda: [one for one in server.requests[sent:] if one.method == "POST"])
        await tell(runtime, lambda tx: operator.drop(tx, alert_id, by="cli"))
        await working
        server.faults.clear()
        await carried(runtime)
        jobs = [*await ask(runtime, lambda tx: tx.delivery.jobs()), *await ask(runtime, lambda tx: tx.closes.jobs())]

    assert jobs == []
    assert len([one for one in server.requests[sent:] if one.method == "POST"]) == 1


async def test_fields_that_analysts_edited_live_on_where_kuma_did_not_change_them(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert(priority="low")
        async with stage.runtime() as runtime:
            await carried(runtime)
            incident = stage.incident(alert_id)
            stage.irp.analyst_edit(incident.id, title="Checked by us", severity="High", note="call the owner")
            stage.kuma.grow(alert_id)
            await carried(runtime)
            after_growth = dict(incident.fields)
            stage.kuma.edit(alert_id, priority="critical")
            await carried(runtime)

    assert (after_growth["title"], after_growth["severity"]) == ("Checked by us", "High")
    assert incident.fields["severity"] == "Critical", "KUMA changed it since"
    assert (incident.fields["title"], incident.fields["note"]) == ("Checked by us", "call the owner")


async def test_a_field_that_was_emptied_in_kuma_is_cleared_in_the_irp(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.edit(alert_id, assignee="i.petrova")
        async with stage.runtime() as runtime:
            await carried(runtime)
            before = stage.incident(alert_id).fields["assignee"]
            stage.kuma.edit(alert_id, assignee="")
            await carried(runtime)

    assert before == "i.petrova"
    assert stage.wrote("update") == [(stage.incident(alert_id).id, {"assignee": None})]


@pytest.mark.parametrize("how", ["resync", "found again"])
async def test_a_full_update_clears_what_was_emptied_in_kuma_and_nothing_else(
    tmp_path: Path, sqlite_url: str, how: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.edit(alert_id, assignee="i.petrova")
        async with stage.runtime() as runtime:
            await carried(runtime)
            incident = stage.incident(alert_id)
            stage.irp.analyst_edit(incident.id, organization="North")
            stage.kuma.edit(alert_id, assignee="")
            if how == "resync":
                await runtime.poller.poll_once(sweep=True)
                await tell(runtime, lambda tx: operator.resync(tx, [alert_id], by="cli"))
            else:
                stage.irp.faults.add("status", code=404, method="PATCH", times=1)
            await carried(runtime)

    assert incident.fields["assignee"] is None
    assert incident.fields["organization"] == "North", "we never wrote it"
    assert stage.agrees(), stage.verdict()


async def test_a_resync_finds_the_incident_and_sends_everything_but_what_analysts_added(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id, other = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await carried(runtime)
            incident = stage.incident(alert_id)
            stage.irp.analyst_edit(incident.id, title="Checked by us", note="call the owner")
            finds = sum("externalId" in request.query for request in stage.irp.requests)

            ids = [AlertId(alert_id), AlertId("no-such-alert")]
            wanted = await tell(runtime, lambda tx: operator.resync(tx, ids, by="cli"))
            await until_rest(runtime)
            found = sum("externalId" in request.query for request in stage.irp.requests) - finds

    ((incident_id, body),) = stage.wrote("update")
    assert wanted == [alert_id]
    assert found == 1
    assert incident_id == incident.id
    assert {"title", "severity", "lastSeenAt", "eventsTotal", "assets", "accounts", "observables"} <= set(body)
    assert incident.fields["title"] == stage.kuma.alerts[alert_id]["name"]
    assert incident.fields["note"] == "call the owner"
    assert {event["ID"] for event in incident.events} == {
        event["ID"] for event in stage.kuma.alerts[alert_id]["events"]
    }
    assert len(stage.incident(other).history) == 1


async def test_a_resync_of_an_alert_that_kuma_no_longer_has_sends_what_is_known(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await carried(runtime)
            incident = stage.incident(alert_id)
            observables = incident.fields["observables"]
            stage.kuma.delete(alert_id)
            await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))
            await until_rest(runtime)
            jobs = await parked(runtime)

    ((_, body),) = stage.wrote("update")
    assert jobs == []
    assert "title" in body
    assert None not in body.values(), "what is not at hand is not cleared"
    assert incident.fields["observables"] == observables


async def test_a_resync_of_a_reopened_incident_closes_neither_side_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await carried(runtime)
            incident = stage.incident(alert_id)
            stage.irp.analyst_close(incident.id, "False positive")
            await carried(runtime)
            stage.irp.reopen(incident.id)
            await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))
            await carried(runtime)

    assert incident.status == "open"
    assert stage.wrote("close") == []
    assert len(stage.kuma.close_calls) == 1


async def test_what_is_settled_is_forgotten_after_its_time_unless_kuma_still_shows_it(
    tmp_path: Path, either_url: str
) -> None:
    async with staged(tmp_path, either_url, store={"retention": "300ms"}) as stage:
        closed, gone = (stage.kuma.raise_alert(seen=ago(hours=2)) for _ in range(2))
        still_open = stage.kuma.raise_alert()
        stage.configure(kuma={"statuses": ["new", "closed"]})
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.kuma.close(closed, "responded")
            stage.kuma.delete(gone)
            await carried(runtime)
            assert await ask(runtime, lambda tx: tx.overview.counts()) == {
                **dict.fromkeys(("parked", "held", "ignored", "pending", "missed"), 0),
                **dict.fromkeys(("closed", "gone", "open"), 1),
            }

            async def forgotten() -> bool:
                await runtime.housekeeping()
                return await state_of(runtime, gone) is None

            await eventually(forgotten)
            kept = [await state_of(runtime, alert_id) for alert_id in (closed, still_open)]
            stage.kuma.delete(closed)
            await carried(runtime)

            async def both_forgotten() -> bool:
                await runtime.housekeeping()
                return await state_of(runtime, closed) is None

            await eventually(both_forgotten)
            await carried(runtime)

    assert kept == ["closed", "open"], "it would be born again, were it forgotten while KUMA shows it"
    assert len(stage.irp.incidents) == len(stage.wrote("create")) == 3
