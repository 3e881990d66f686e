"""Addresses that answer 404: a wrong path stops its operation alone, parks nothing, and is no deleted incident."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stage import (
    Stage,
    ask,
    change_profile,
    eventually,
    link_of,
    parked,
    staged,
    state_of,
    until_rest,
    without,
)
from structlog.testing import capture_logs

from kuma_sync.core.lanes import Lane
from kuma_sync.store.jobs import JobState
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.health import State

QUICKLY: dict[str, dict[str, Any]] = {"retry": {"base": "50ms", "max": "200ms"}}

OPERATIONS = ("find", "create", "update", "add_events", "close")

PATHS = {
    "find": ('[find]\nmethod = "GET"\npath = "/api/v1/incidents"', "GET", "/find"),
    "create": ('[create]\nmethod = "POST"\npath = "/api/v1/incidents"', "POST", "/create"),
    "update": ('[update]\nmethod = "PATCH"\npath = "/api/v1/incidents/{{ incident.id }}"', "PATCH", "/update"),
    "add_events": ('path = "/api/v1/incidents/{{ incident.id }}/events"', "POST", "/add"),
    "close": ('path = "/api/v1/incidents/{{ incident.id }}/close"', "POST", "/shut"),
}


def wrong(operation: str) -> Callable[[str], str]:
    """Return a change of the profile that gives an operation a path which the IRP does not have."""
    text, _method, path = PATHS[operation]
    right = text[text.rindex('path = "') :]

    def change(profile: str) -> str:
        assert text in profile
        return profile.replace(text, text.replace(right, f'path = "{path}"'))

    return change


def small_batches(text: str) -> str:
    return text.replace("batch = 500", "batch = 3")


async def nothing_parked(runtime: Runtime) -> bool:
    return await parked(runtime) == []


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_wrong_path_stops_its_operation_alone_and_parks_nothing(
    tmp_path: Path, sqlite_url: str, operation: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        change_profile(stage, small_batches)
        async with stage.runtime() as runtime:
            ids = [stage.kuma.raise_alert() for _ in range(3)]
            await once(runtime)
            await until_rest(runtime)
        right = Path(stage.tables["irp"]["profile"]).read_text()
        change_profile(stage, wrong(operation))
        _text, method, path = PATHS[operation]
        news = [stage.kuma.raise_alert(events=8) for _ in range(3)]
        for alert_id in ids:
            stage.kuma.grow(alert_id, 8)
            stage.kuma.edit(alert_id, status="closed")

        async with stage.daemon() as child:
            await eventually(lambda: child.says("side_paused"))
            asked = [one for one in stage.irp.requests if one.path == path]
            await eventually(lambda: len([one for one in stage.irp.requests if one.path == path]) >= len(asked) + 3)
            reasons = {line["reason"] for line in child.says("side_paused")}
            async with stage.runtime() as runtime:
                calm = await nothing_parked(runtime)
            done = {deed for deed, _id, _body in stage.irp.writes}
            Path(stage.tables["irp"]["profile"]).write_text(right)
            child.process.send_signal(signal.SIGHUP)
            await eventually(stage.agrees, within=30)
            async with stage.runtime() as runtime:
                calm = calm and await nothing_parked(runtime)

    address = f"{method} {stage.irp_server.url}{path}"
    assert reasons == {f"{operation} answered 404 Not Found at {address}: is the profile's path right?"}
    assert calm
    assert operation not in done or operation in ("find", "create")
    assert all(len(stage.incidents(alert_id)) == 1 for alert_id in (*ids, *news))


async def test_a_profile_whose_every_path_is_wrong_parks_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        async with stage.runtime() as runtime:
            ids = [stage.kuma.raise_alert() for _ in range(8)]
            await once(runtime)
        right = Path(stage.tables["irp"]["profile"]).read_text()
        for operation in OPERATIONS:
            change_profile(stage, wrong(operation))
        news = [stage.kuma.raise_alert() for _ in range(8)]
        for alert_id in ids[:4]:
            stage.kuma.grow(alert_id)
        for alert_id in ids[4:]:
            stage.kuma.close(alert_id)
        async with stage.working() as runtime:
            await eventually(lambda: sum(one.path == "/find" for one in stage.irp.requests) >= 4)
            await eventually(lambda: sum(one.path == "/update" for one in stage.irp.requests) >= 3)

            async def all_wait() -> bool:
                return {await state_of(runtime, alert_id) for alert_id in (*ids, *news)} == {"pending"}

            await eventually(all_wait)
            calm, ready = await nothing_parked(runtime), runtime.health.ready().ready
        Path(stage.tables["irp"]["profile"]).write_text(right)
        async with stage.working():
            await eventually(stage.agrees)

    assert calm
    assert not ready
    assert len(stage.wrote("create")) == len(ids) + len(news)


@pytest.mark.parametrize(("operation", "code"), [("update", 404), ("add_events", 405), ("close", 410)])
async def test_a_first_404_for_an_incident_that_is_there_stops_its_kind_and_parks_nothing(
    tmp_path: Path, sqlite_url: str, operation: str, code: int
) -> None:
    method, match = {"update": ("PATCH", ""), "add_events": ("POST", "/events$"), "close": ("POST", "/close$")}[
        operation
    ]
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        change_profile(stage, small_batches)
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            away = stage.irp.faults.add("status", code=code, method=method, match=match)
            stage.kuma.grow(alert_id, 8)
            if operation == "close":
                stage.kuma.close(alert_id)
            await eventually(lambda: away.fired >= 4)
            calm, reason = await nothing_parked(runtime), runtime.health.ready().parts["irp"].reason
            late = stage.kuma.raise_alert()
            await eventually(lambda: stage.incidents(late))
            stage.irp.faults.clear()
            await eventually(stage.agrees)
            await eventually(lambda: runtime.health.ready().ready)
            calm = calm and await nothing_parked(runtime)

    assert calm
    assert reason.startswith(f"{operation} answered {code}")


async def test_an_operation_that_stands_still_is_tried_with_one_request_at_a_time(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "1h", "max": "1h"}) as stage:
        ids = [stage.kuma.raise_alert() for _ in range(20)]
        async with stage.runtime() as runtime:
            await once(runtime)
            away = stage.irp.faults.add("status", code=404, method="PATCH")
            for alert_id in ids:
                stage.kuma.grow(alert_id)
            await runtime.poller.poll_once()
            stage.irp.faults.add("delay", method="PATCH", seconds=0.05)
            await runtime.targets["irp"].deliveries.drain()
            burst = away.fired
            for _ in range(3):
                await runtime.targets["irp"].deliveries.drain()
            fired, lanes = away.fired, {job.lane for job in await ask(runtime, lambda tx: tx.delivery.jobs())}
            calm = await nothing_parked(runtime)

    assert calm
    assert burst <= 2 * 8 + 1, "what was in flight, each asked twice"
    assert fired == burst
    assert lanes == {Lane.STOPPED_UPDATE}


async def test_the_first_create_is_looked_for_no_more_often_than_find_is_tried(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "1h", "max": "1h"}) as stage:
        change_profile(stage, wrong("find"))
        async with stage.working() as runtime:
            await eventually(lambda: runtime.health.ready().ready)
            alert_id = stage.kuma.raise_alert()
            await eventually(lambda: runtime.health.ready().parts["irp"].state is State.PAUSED)

            async def waits() -> bool:
                (job,) = await ask(runtime, lambda tx: tx.delivery.jobs(alert_id))
                return job.state == JobState.PENDING and job.lane is Lane.STOPPED_FIND

            # On another lane it would be claimed again and again, without a pause.
            await eventually(waits)
            calm = await nothing_parked(runtime)

    assert calm
    assert len(stage.incidents(alert_id)) == 1


async def test_a_deleted_incident_that_the_first_update_meets_stops_no_other(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        deleted, *others = (stage.kuma.raise_alert() for _ in range(4))
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            stage.irp.delete(stage.incident(deleted).id)
            stage.kuma.grow(deleted)
            await eventually(lambda: parked(runtime))
            jobs, ready = await parked(runtime), runtime.health.ready().ready
            for alert_id in others:
                stage.kuma.grow(alert_id)
            await eventually(lambda: len(stage.wrote("update")) == 3)

    assert [(job.subject, job.reason) for job in jobs] == [(deleted, "incident deleted")]
    assert ready


async def test_an_odd_incident_that_the_first_update_meets_keeps_no_other_waiting(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        odd, other = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            away = stage.irp.faults.add("status", code=404, method="PATCH", match=stage.incident(odd).id)
            stage.kuma.grow(odd)
            await eventually(lambda: away.fired >= 2)
            stage.kuma.grow(other)
            await eventually(lambda: stage.wrote("update"))
            await eventually(lambda: parked(runtime))
            jobs = await parked(runtime)
            await eventually(lambda: runtime.health.ready().ready)

    assert [job.subject for job in jobs] == [odd]
    assert jobs[0].reason.startswith("the incident was found, but update answered 404")


@pytest.mark.parametrize("operation", ["update", "close"])
async def test_without_find_a_first_404_stops_its_kind_and_neither_parks_nor_settles(
    tmp_path: Path, sqlite_url: str, operation: str
) -> None:
    method, match = {"update": ("PATCH", ""), "close": ("POST", "/close$")}[operation]
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        change_profile(stage, without("find"))
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            away = stage.irp.faults.add("status", code=404, method=method, match=match)
            stage.kuma.close(alert_id) if operation == "close" else stage.kuma.grow(alert_id)
            await eventually(lambda: away.fired >= 3)
            calm, state = await nothing_parked(runtime), await state_of(runtime, alert_id)
            stage.irp.faults.clear()
            await eventually(stage.agrees)

    assert (calm, state) == (True, "pending")


async def test_a_wrong_path_of_the_list_of_closed_is_named_and_stops_nothing_else(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        text = '[list_closed]\nmethod = "GET"\npath = "/api/v1/incidents"'
        change_profile(stage, lambda profile: profile.replace(text, text.replace("/api/v1/incidents", "/closed")))
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(lambda: runtime.health.ready().parts["close"].state is State.FAILING)
            part = runtime.health.ready().parts["close"]
            await eventually(lambda: stage.incidents(alert_id))

    address = f"GET {stage.irp_server.url}/closed"
    assert part.reason == f"watch: answered 404 Not Found at {address}: is the profile's path right?"


# A closing in the IRP


async def closed_once(stage: Stage, runtime: Runtime) -> None:
    """Let one closing work, so that its path is known to be right."""
    alert_id = stage.kuma.raise_alert()
    await once(runtime)
    stage.kuma.close(alert_id)
    await once(runtime)
    assert stage.incident(alert_id).status == "closed"


async def test_a_closing_answered_with_404_is_parked_where_find_shows_the_incident(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        await closed_once(stage, runtime)
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        away = stage.irp.faults.add("status", code=404, method="POST", match="/close$")
        stage.kuma.close(alert_id)
        await once(runtime)
        await until_rest(runtime)
        jobs, state, fired = await parked(runtime), await state_of(runtime, alert_id), away.fired

    assert [job.subject for job in jobs] == [alert_id]
    assert jobs[0].reason == ("the incident was found, but close answered 404 Not Found: is the profile's path right?")
    assert (state, fired) == ("parked", 2)


@pytest.mark.parametrize("known", [True, False], ids=["the path is known", "a first closing"])
async def test_a_closing_of_a_deleted_incident_is_settled_with_a_warning(
    tmp_path: Path, sqlite_url: str, known: bool
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        if known:
            await closed_once(stage, runtime)
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        away = stage.irp.faults.add("status", code=503, method="POST", match="/close$", times=1)
        stage.kuma.close(alert_id)
        await once(runtime)  # it is told that its alert is closed, before it is to be closed itself
        assert away.fired
        stage.irp.delete(stage.incident(alert_id).id)
        with capture_logs() as said:
            await once(runtime)
            await until_rest(runtime)
        state, calm, link = (
            await state_of(runtime, alert_id),
            await nothing_parked(runtime),
            await link_of(runtime, alert_id),
        )

    assert (state, calm) == ("closed", True)
    assert link.incident_closed
    assert link.doubt is None
    assert [line["alert_id"] for line in said if line["event"] == "incident_to_close_is_gone"] == [alert_id]


async def test_a_closing_waits_for_an_irp_that_shows_a_fresh_incident_late(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace('settle = "200ms"', 'settle = "1s"'))
        async with stage.runtime() as runtime:
            await closed_once(stage, runtime)
            alert_id = stage.kuma.raise_alert()
            await once(runtime)
            stage.irp.knobs.find_lag = 0.6
            late = stage.irp.faults.add("status", code=404, method="POST", match="/close$", times=1)
            stage.incident(alert_id).created_at = stage.irp.clock()
            stage.kuma.close(alert_id)
            await once(runtime)
            await until_rest(runtime)
            calm = await nothing_parked(runtime)

    assert (late.fired, calm) == (1, True)
    assert stage.incident(alert_id).status == "closed"


async def test_a_closing_answered_with_404_is_done_where_find_shows_the_incident_closed(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage, stage.runtime() as runtime:
        await closed_once(stage, runtime)
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        stage.irp.faults.add("status", code=404, method="POST", match="/close$", times=1)
        stage.irp.analyst_close(stage.incident(alert_id).id, "Done")
        stage.kuma.close(alert_id)
        await once(runtime)
        await until_rest(runtime)
        state, calm = await state_of(runtime, alert_id), await nothing_parked(runtime)

    assert (state, calm) == ("closed", True)


async def test_an_incident_that_moved_is_closed_at_its_new_address(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        old = stage.incident(alert_id)
        stage.irp.delete(old.id)
        moved = stage.irp.create({"externalId": old.external_id, "title": "moved"})
        stage.kuma.close(alert_id)
        await once(runtime)
        await until_rest(runtime)
        calm = await nothing_parked(runtime)

    assert calm
    assert (stage.incident(alert_id), moved.status) == (moved, "closed")


# A closing in KUMA


async def test_a_wrong_path_of_closings_in_kuma_stops_them_alone_and_parks_nothing(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        ids = [stage.kuma.raise_alert() for _ in range(4)]
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            away = stage.kuma.faults.add("status", code=404, body="404 page not found", match="/alerts/close")
            for alert_id in ids[:3]:
                stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await eventually(lambda: away.fired >= 4)
            calm, part = await nothing_parked(runtime), runtime.health.ready().parts["kuma"]
            late = stage.kuma.raise_alert()
            await eventually(lambda: stage.incidents(late))
            stage.kuma.faults.clear()
            await eventually(lambda: len(stage.kuma.closes) == 3)
            await eventually(lambda: runtime.health.ready().ready)
            calm = calm and await nothing_parked(runtime)

    address = f"POST {stage.kuma_server.url}/api/v1/alerts/close"
    assert calm
    assert part.reason.startswith(f"close at {address} answered 404")
    assert "is kuma.url right?" in part.reason
    assert sorted(stage.kuma.closes) == sorted((alert_id, "incorrect data") for alert_id in ids[:3])


async def test_an_alert_that_kuma_does_not_find_is_parked_though_it_is_the_first_closing(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        stage.irp.analyst_close(stage.incident(alert_id).id, "Done")
        del stage.kuma.alerts[alert_id]
        await once(runtime)
        await until_rest(runtime)
        jobs = await parked(runtime)

    assert [(job.subject, job.reason) for job in jobs] == [(alert_id, "alert not found")]


async def test_who_waits_at_the_door_is_not_told_a_wrong_path_as_kumas_word(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.door() as client:
            await eventually(stage.agrees)
            stage.kuma.faults.add("status", code=404, body="404 page not found", match="/alerts/close")
            body = {"id": alert_id, "reason": "responded"}
            answer = await client.post("/api/v1/alerts/close?wait=1", json=body)
            stage.kuma.faults.clear()
            await eventually(lambda: stage.kuma.closes)

    assert answer.status_code == 202
    assert stage.kuma.closes == [(alert_id, "responded")]
