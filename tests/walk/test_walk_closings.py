"""Closings, both ways: each exactly once, with its reason, never back to where it came from."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from stage import Stage, ask, eventually, link_of, parked, staged, state_of, tell, until_proven, until_rest

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.incident import Origin
from kuma_sync.sim.values import Json
from kuma_sync.sync import operator
from kuma_sync.sync.closing.intake import accept
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

CLOSE = "/api/v1/alerts/close"


async def carry(runtime: Runtime) -> None:
    """Do two complete passes and whatever waits after them: an echo would show now."""
    for _ in range(2):
        await once(runtime)
        await until_rest(runtime)


async def order(runtime: Runtime, alert_id: str, *, to_kuma: bool = True) -> bool:
    """Close as `kuma-sync close` does."""
    request = CloseRequest(
        alert_id=AlertId(alert_id),
        reason=Reason.INCORRECT_RULE,
        origin=Origin.OPERATOR,
        by="cli",
        comment="noise",
    )
    return await tell(runtime, lambda tx: operator.order_close(tx, request, to_kuma=to_kuma))


def reads_of_closed(stage: Stage) -> int:
    return sum("status=closed" in request.query for request in stage.irp.requests)


async def test_a_closing_at_the_door_closes_the_alert_once_however_often_it_comes(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage:
        alert_id = stage.kuma.raise_alert()
        body = {"id": alert_id, "reason": "Incorrect data", "comment": "noise"}
        async with stage.door() as client:
            await eventually(lambda: stage.incidents(alert_id))
            answers = [await client.post(CLOSE, json=body)]
            answers.append(await client.post(CLOSE, json={**body, "reason": "responded"}))
            await eventually(lambda: stage.kuma.closes)
            answers.append(await client.post(CLOSE, json=body))
            answers.append(await client.post(CLOSE, params={"wait": "5"}, json=body))
            swept = len(stage.queries())
            await eventually(lambda: len(stage.queries()) > swept + 6)

    assert [answer.status_code for answer in answers] == [204, 204, 204, 204]
    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert len(stage.kuma.close_calls) == 1
    assert stage.wrote("close") == [], "the incident was closed by whoever called the door"


async def test_whoever_waits_at_the_door_hears_kumas_own_answer(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage:
        alert_id, other = stage.kuma.raise_alert(), stage.kuma.raise_alert(tenant="Main")
        async with stage.door() as client:
            await eventually(lambda: len(stage.irp.incidents) == 2)
            answers = [
                await client.post(CLOSE, params={"wait": "10"}, json={"id": id_, "reason": "responded"})
                for id_ in (alert_id, "no-such-alert")
            ]
            stage.kuma.knobs.disabled_tenants.add(stage.kuma.alerts[other]["tenantID"])
            answers.append(await client.post(CLOSE, params={"wait": "10"}, json={"id": other, "reason": "responded"}))
            own = {"message": "Invalid UUID", "details": "length 5"}
            stage.kuma.faults.add("status", method="POST", match="alerts/close", code=400, body=json.dumps(own))
            answers.append(await client.post(CLOSE, params={"wait": "10"}, json={"id": "x-1-2", "reason": "responded"}))
        async with stage.runtime() as runtime:
            waiting = await ask(runtime, lambda tx: tx.closes.jobs())

    assert [answer.status_code for answer in answers] == [204, 404, 406, 400]
    assert answers[2].json()["message"] == "tenant disabled"
    assert answers[3].json() == own
    assert stage.kuma.closes == [(alert_id, "responded")]
    assert waiting == [], "an answer that was handed over parks nothing"


async def test_whoever_waits_in_vain_hears_that_the_queue_goes_on(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.door() as client:
            await eventually(lambda: stage.incidents(alert_id))
            stage.kuma.knobs.correlator_down = True
            answer = await client.post(CLOSE, params={"wait": "0.6"}, json={"id": alert_id, "reason": "responded"})
            stage.kuma.knobs.correlator_down = False
            await eventually(lambda: stage.kuma.closes)

    assert answer.status_code == 202
    assert stage.kuma.closes == [(alert_id, "responded")]


async def test_an_unknown_alert_closed_at_the_door_is_parked_with_kumas_word(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage:
        async with stage.door() as client:
            answer = await client.post(CLOSE, json={"id": "no-such-alert", "reason": "responded"})
            await eventually(lambda: stage.kuma.close_calls)
        async with stage.runtime() as runtime:
            jobs = await parked(runtime)

    assert answer.status_code == 204
    assert [(job.subject, job.reason) for job in jobs] == [("no-such-alert", "alert not found")]


async def test_what_analysts_close_is_closed_in_kuma_with_the_mapped_or_the_default_reason(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        mapped, unmapped, open_one = (stage.kuma.raise_alert() for _ in range(3))
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(mapped).id, " FALSE positive ")
            stage.irp.analyst_close(stage.incident(unmapped).id, "Dealt with")

            await carry(runtime)

    assert sorted(stage.kuma.closes) == sorted([(mapped, "incorrect data"), (unmapped, "responded")])
    assert len(stage.kuma.close_calls) == 2
    assert stage.wrote("close") == []
    assert stage.kuma.alerts[open_one]["status"] == "new"
    assert stage.agrees(), stage.verdict()


async def test_a_resolution_without_a_reason_is_parked_until_somebody_gives_one(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"default_reason": ""}) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(alert_id).id, "Dealt with")
            await carry(runtime)
            jobs, state = await parked(runtime), await state_of(runtime, alert_id)
            assert stage.kuma.close_calls == []

            await order(runtime, alert_id)
            await carry(runtime)
            left = await parked(runtime)

    assert ["Dealt with" in job.reason for job in jobs] == [True]
    assert state == "parked"
    assert stage.kuma.closes == [(alert_id, "incorrect correlation rule")]
    assert left == []


async def test_an_operators_closing_goes_to_both_sides_once(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            fresh = await order(runtime, alert_id)
            await carry(runtime)
            again = await order(runtime, alert_id)
            await carry(runtime)

    assert (fresh, again) == (True, False)
    assert stage.kuma.closes == [(alert_id, "incorrect correlation rule")]
    assert len(stage.kuma.close_calls) == 1
    assert [body for _, body in stage.wrote("close")] == [{"reason": "incorrect correlation rule", "comment": "noise"}]
    assert stage.agrees(), stage.verdict()


async def test_an_operator_closes_what_was_closed_while_closing_was_switched_off(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"to_irp": False}) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        stage.kuma.close(alert_id, "responded")
        await stage.passes()
        stage.configure(close={"to_irp": True})
        async with stage.runtime() as runtime:
            await carry(runtime)
            before = stage.incident(alert_id).status
            fresh = await order(runtime, alert_id)
            await carry(runtime)
            again = await order(runtime, alert_id)
            history = [entry.action for entry in await ask(runtime, lambda tx: tx.audit.history(AlertId(alert_id)))]

    assert (before, stage.incident(alert_id).status) == ("open", "closed")
    assert (fresh, again) == (True, False)
    assert len(stage.wrote("close")) == 1
    assert stage.kuma.close_calls == []
    assert history.count("close_ordered") == 1


async def test_an_incident_closed_at_the_door_after_its_alert_gets_nothing_more(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        stage.kuma.grow(alert_id)
        stage.kuma.close(alert_id, "responded")
        stage.irp.faults.add("status", code=503, method="PATCH")
        await once(runtime)
        stage.irp.analyst_close(stage.incident(alert_id).id, "Dealt with")
        fresh = await tell(runtime, lambda tx: accept(tx, replace(_request(alert_id), origin=Origin.IRP)))
        stage.irp.faults.clear()
        await carry(runtime)
        state = await state_of(runtime, alert_id)

    assert (fresh, state) == (False, "closed")
    assert [deed for deed, _, _ in stage.irp.writes] == ["create"]
    assert stage.kuma.close_calls == []


async def test_an_unanswered_closing_is_asked_again_and_already_closed_is_success(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.faults.add("reset_after", method="POST", match=CLOSE, times=1)
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await carry(runtime)
            state, jobs = await state_of(runtime, alert_id), await parked(runtime)

    assert [call.status for call in stage.kuma.close_calls] == [204, 406]
    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert (state, jobs) == ("closed", [])
    assert stage.wrote("close") == []


async def test_what_kuma_closed_meanwhile_is_settled_and_not_echoed(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            stage.kuma.close(alert_id, "responded")
            await carry(runtime)
            state = await state_of(runtime, alert_id)

    assert stage.kuma.closes == []
    assert stage.wrote("close") == []
    assert state == "closed"


async def test_a_closing_from_kuma_is_not_echoed_by_the_watch(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.kuma.close(alert_id, "responded")
            await carry(runtime)
        await stage.passes(2)

    assert [body["reason"] for _, body in stage.wrote("close")] == ["responded"]
    assert stage.kuma.close_calls == []


@pytest.mark.parametrize("repeat", ["409", "lost answer"])
async def test_an_incident_that_is_closed_already_is_no_failure(tmp_path: Path, sqlite_url: str, repeat: str) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.kuma.close(alert_id, "responded")
            if repeat == "409":
                stage.irp.analyst_close(stage.incident(alert_id).id, "Solved")
            else:
                stage.irp.faults.add("reset_after", method="POST", match="/close$", times=1)
            await carry(runtime)
            state, jobs = await state_of(runtime, alert_id), await parked(runtime)

    assert stage.incident(alert_id).status == "closed"
    assert (state, jobs) == ("closed", [])


async def test_with_both_switches_off_nobody_is_told_of_any_closing(tmp_path: Path, sqlite_url: str) -> None:
    switches: Json = {"to_kuma": False, "to_irp": False, "watch": False}
    async with staged(tmp_path, sqlite_url, close=switches) as stage:
        here, there = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(here).id, "False positive")
            stage.kuma.close(there, "responded")
            await carry(runtime)
            jobs = await parked(runtime)
        async with stage.door() as client:
            refused = await client.post(CLOSE, json={"id": here, "reason": "responded"})

    assert stage.kuma.close_calls == []
    assert stage.wrote("close") == []
    assert reads_of_closed(stage) == 0
    assert jobs == []
    assert (refused.status_code, refused.json()["message"]) == (406, "closing is switched off")


async def test_with_the_watch_off_the_irp_is_not_asked_what_was_closed(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await carry(runtime)

    assert reads_of_closed(stage) == 0
    assert stage.kuma.close_calls == []


async def test_with_to_kuma_off_the_watch_still_notes_that_the_incident_is_closed(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"to_kuma": False}) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await carry(runtime)
            stage.kuma.grow(alert_id)
            await carry(runtime)

    assert stage.kuma.close_calls == []
    assert stage.wrote("update") == [], "an incident closed in the IRP gets no more updates"


async def test_an_operators_closing_that_is_refused_leaves_nothing_behind(tmp_path: Path, database_url: str) -> None:
    limit = datetime.now(UTC) - timedelta(days=1)
    sections = {"poll": {"ignore_before": limit.isoformat()}, "close": {"to_kuma": False}}
    async with staged(tmp_path, database_url, **sections) as stage, stage.runtime() as runtime:
        alert_id = AlertId(stage.kuma.raise_alert(seen=limit - timedelta(hours=1)))
        await once(runtime)
        request = CloseRequest(alert_id=alert_id, reason=Reason.RESPONDED, origin=Origin.OPERATOR, by="me")
        ordered = await tell(runtime, lambda tx: operator.order_close(tx, request, to_kuma=False, to_irp=True))
        stage.kuma.grow(alert_id)
        await once(runtime)
        await until_rest(runtime)

    assert not ordered
    assert stage.incident(alert_id).status == "open"


async def test_a_reopened_incident_leaves_its_alert_closed(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            incident = stage.incident(alert_id)
            stage.irp.analyst_close(incident.id, "False positive")
            await carry(runtime)
            stage.irp.reopen(incident.id)
            await carry(runtime)
            stage.irp.analyst_close(incident.id, "Solved")
            await carry(runtime)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert len(stage.kuma.close_calls) == 1
    assert stage.wrote("close") == []


async def test_an_alert_closed_before_its_incident_was_made_gets_one_that_is_closed(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await runtime.poller.poll_once()
            stage.kuma.close(alert_id, "responded")
            await runtime.poller.poll_once(sweep=True)
            await until_rest(runtime)
            await carry(runtime)

    assert [deed for deed, _, _ in stage.irp.writes] == ["create", "close"]
    assert stage.wrote("close")[0][1]["reason"] == "responded"
    assert stage.kuma.close_calls == []


async def test_an_alert_that_grew_and_was_closed_is_updated_and_then_closed(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            grown = stage.kuma.grow(alert_id, 2)
            stage.kuma.close(alert_id, "responded")
            await carry(runtime)

    assert [deed for deed, _, _ in stage.irp.writes] == ["create", "update", "close"]
    assert [event["ID"] for event in stage.wrote("update")[0][1]["events"]] == grown
    assert stage.agrees(), stage.verdict()


async def test_an_incident_closed_in_the_irp_gets_no_more_updates(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.knobs.correlator_down = True
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await once(runtime)
            stage.kuma.grow(alert_id, 2)
            await once(runtime)
            stage.kuma.knobs.correlator_down = False
            await carry(runtime)

    assert [deed for deed, _, _ in stage.irp.writes] == ["create"]
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_a_closing_in_kuma_of_an_incident_that_was_deleted_is_settled(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.delete(stage.incident(alert_id).id)
            await tell(runtime, lambda tx: operator.order_close(tx, _request(alert_id), to_kuma=True))
            await carry(runtime)
            state, jobs = await state_of(runtime, alert_id), await parked(runtime)
            link = await link_of(runtime, alert_id)

    assert stage.irp.incidents == {}
    assert stage.kuma.closes == [(alert_id, "responded")]
    assert (state, jobs) == ("closed", [])
    assert link.incident_closed


def _request(alert_id: str) -> CloseRequest:
    return CloseRequest(alert_id=AlertId(alert_id), reason=Reason.RESPONDED, origin=Origin.OPERATOR, by="cli")


async def test_an_irp_that_ignores_the_filter_closes_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        closed, *still_open = (stage.kuma.raise_alert() for _ in range(4))
        stage.irp.knobs.ignore_filters = True
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(closed).id, "False positive")
            await carry(runtime)

    assert stage.kuma.closes == [(closed, "incorrect data")]
    assert all(stage.kuma.alerts[alert_id]["status"] == "new" for alert_id in still_open)


async def test_the_list_of_closed_incidents_is_read_to_its_end(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        for number in range(230):
            stranger = stage.irp.create({"externalId": f"elsewhere:{number}"})
            stage.irp.analyst_close(stranger.id, "Solved")
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        before = reads_of_closed(stage)
        await runtime.targets["irp"].watch.watch_once()
        pages = reads_of_closed(stage) - before
        await until_rest(runtime)

    assert pages == 7, "three pages and an empty one, and the three once more: none of their rows slipped through"
    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert len(stage.kuma.close_calls) == 1


async def test_the_watch_looks_back_a_day_at_first_and_then_ten_minutes(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        born = (await ask(runtime, lambda tx: tx.cursor.read())).born_at
        incident = stage.incident(alert_id)
        stage.irp.analyst_close(incident.id, "False positive")
        incident.updated_at -= timedelta(minutes=2)
        for _ in range(2):
            await runtime.targets["irp"].watch.watch_once()

    since = [
        datetime.fromisoformat(parse_qs(request.query)["updatedSince"][0])
        for request in stage.irp.requests
        if "status=closed" in request.query
    ]
    assert abs(since[0] - (born - timedelta(days=1))) < timedelta(seconds=1)
    assert since[1] == since[2] == since[0], "what is new has the list read to its end"
    assert abs(since[3] - (incident.updated_at - timedelta(minutes=10))) < timedelta(seconds=1)


async def test_a_failed_watch_concludes_nothing_and_is_made_up_for(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await until_proven(runtime)
            broken = stage.irp.faults.add("status", code=500, match="status=closed")
            await eventually(lambda: broken.fired)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await eventually(lambda: broken.fired > 2)
            assert stage.kuma.close_calls == []
            stage.irp.faults.clear()
            await eventually(lambda: stage.kuma.closes)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_a_failed_watch_is_what_is_known_of_the_last_one(tmp_path: Path, sqlite_url: str) -> None:
    last = list[tuple[bool, str]]()
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        for fault in ({}, {"code": 500}, {"code": 401}, {}):
            if fault:
                stage.irp.faults.add("status", match="status=closed", **fault)
            with suppress(RemoteError):
                await runtime.targets["irp"].watch.watch_once()
            stage.irp.faults.clear()
            (watch,) = await ask(runtime, lambda tx: tx.audit.last_pass_by_kind())
            last.append((watch.complete, watch.error))
        noted = await ask(runtime, lambda tx: tx.audit.last_passes(9))

    assert [complete for complete, _error in last] == [True, False, False, True]
    assert ["500" in last[1][1], "401" in last[2][1], last[0][1], last[3][1]] == [True, True, "", ""]
    assert len(noted) == 4


async def test_a_watch_of_an_irp_that_asked_to_wait_says_so(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.irp.faults.add("status", code=429, headers={"Retry-After": "60"}, match="status=closed")
        with pytest.raises(RemoteError):
            await runtime.targets["irp"].watch.watch_once()
        with pytest.raises(GateClosed):
            await runtime.targets["irp"].watch.watch_once()
        (watch,) = await ask(runtime, lambda tx: tx.audit.last_pass_by_kind())

    assert (watch.complete, watch.error) == (False, "it asked to wait")
