"""Refusals and outages: one bad job never stops the line, a refused token stops its side, and nothing is lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from stage import Stage, ago, ask, change_profile, eventually, parked, staged, state_of, tell, until_rest, without
from structlog.testing import capture_logs

from kuma_sync.core.alert import AlertId
from kuma_sync.core.window import ReadKind
from kuma_sync.sim.values import Json
from kuma_sync.store.jobs import Depth
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.health import State

CREATE = "/api/v1/incidents$"
LISTING = "/alerts/?"


async def all_delivered(stage: Stage, *, within: float = 15) -> None:
    await eventually(stage.agrees, within=within)
    assert len(stage.wrote("create")) == len(stage.irp.incidents)


async def nothing_parked(runtime: Runtime) -> bool:
    return await parked(runtime) == []


# One job


async def test_one_refused_alert_is_parked_with_its_reason_and_its_neighbours_go_on(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        ids = [stage.kuma.raise_alert(name=f"rule {number}") for number in range(6)]
        stage.irp.knobs.reject_titles = "rule 3"
        async with stage.runtime() as runtime:
            troubles = await once(runtime)
            jobs, state = await parked(runtime), await state_of(runtime, ids[3])

    assert troubles == []
    assert [job.subject for job in jobs] == [ids[3]]
    assert "422" in jobs[0].reason
    assert "title is not acceptable" in jobs[0].reason
    assert state == "parked"
    assert len(stage.irp.incidents) == 5
    assert [stage.incidents(alert_id) for alert_id in ids if alert_id == ids[3]] == [[]]


async def test_a_parked_job_is_tried_once_more_when_its_alert_changes(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert(name="odd")
        stage.irp.knobs.reject_titles = "odd"
        async with stage.runtime() as runtime:
            await once(runtime)
            posts = _posts(stage)
            await once(runtime)
            unchanged = _posts(stage)
            stage.kuma.grow(alert_id)
            await once(runtime)
            changed, jobs = _posts(stage), await parked(runtime)
            stage.irp.knobs.reject_titles = ""
            stage.kuma.grow(alert_id)
            await once(runtime)
            left = await parked(runtime)

    assert (posts, unchanged, changed) == (1, 1, 2)
    assert len(jobs) == 1
    assert left == []
    assert stage.agrees(), stage.verdict()


async def test_a_parked_closing_is_tried_once_more_when_its_alert_changes(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        stage.kuma.faults.add("status", code=404, body={"message": "alert not found"}, match="/alerts/close")
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await once(runtime)
        await once(runtime)
        jobs, refused = await parked(runtime), stage.kuma.faults.fired["status"]
        stage.kuma.faults.clear()
        stage.kuma.grow(alert_id)
        await once(runtime)
        await until_rest(runtime)
        left = await parked(runtime)

    assert (len(jobs), refused) == (1, 1)
    assert left == []
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


def _posts(stage: Stage) -> int:
    return sum(request.method == "POST" for request in stage.irp.requests)


async def test_one_forbidden_job_is_parked_where_the_token_itself_is_accepted(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        await once(runtime)
        forbidden = stage.kuma.raise_alert()
        refusal = stage.irp.faults.add("unauthorized", code=403, method="POST", match=CREATE)
        await runtime.poller.poll_once()
        await until_rest(runtime)
        stage.irp.faults.remove(refusal)
        other = stage.kuma.raise_alert()
        await runtime.poller.poll_once()
        await until_rest(runtime)
        jobs, paused = await parked(runtime), runtime.gates["irp"].paused

    assert [job.subject for job in jobs] == [forbidden]
    assert "not allowed" in jobs[0].reason
    assert refusal.fired == 2, "asked once more first"
    assert paused is None
    assert stage.incident(other)


WRITES = {
    "find": ("GET", "externalId="),
    "create": ("POST", CREATE),
    "update": ("PATCH", "/incidents/"),
    "add_events": ("POST", "/events$"),
    "close": ("POST", "/close$"),
}


@pytest.mark.parametrize(("operation", "code"), [("create", 401), *((operation, 403) for operation in WRITES)])
async def test_one_unconfirmed_refusal_costs_one_request_and_parks_nothing(
    tmp_path: Path, sqlite_url: str, operation: str, code: int
) -> None:
    method, match = WRITES[operation]
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace("batch = 500", "batch = 3"))
        refusal = stage.irp.faults.add("unauthorized", code=code, method=method, match=match, times=1)
        alert_id = stage.kuma.raise_alert(events=8)
        async with stage.runtime() as runtime:
            await once(runtime)
            calm = await nothing_parked(runtime)
            stage.kuma.edit(alert_id, priority="critical")
            stage.kuma.close(alert_id)
            await once(runtime)
            await until_rest(runtime)
            calm = calm and await nothing_parked(runtime)

    assert (refusal.fired, calm) == (1, True)
    assert stage.agrees(), stage.verdict()
    assert len(stage.irp.incidents) == 1
    assert len(stage.incident(alert_id).events) == 8


async def test_one_refusal_of_a_closing_in_kuma_that_is_not_confirmed_parks_nothing(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        refusal = stage.kuma.faults.add("unauthorized", code=403, match="/alerts/close", times=1)
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await once(runtime)
        calm = await nothing_parked(runtime)

    assert (refusal.fired, calm) == (1, True)
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_one_unconfirmed_refusal_of_contents_makes_no_request_without_events(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(events=4)
        await once(runtime)
        refusal = stage.kuma.faults.add("unauthorized", code=403, match="id=", times=1)
        await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))
        await until_rest(runtime)

    assert refusal.fired == 1
    assert [len(body["events"]) for _id, body in stage.wrote("update")] == [4]


@pytest.mark.parametrize("read", ["lastSeen&from", "firstSeen"])
async def test_a_read_that_was_asked_for_once_more_counts_as_the_one_that_it_is(
    tmp_path: Path, sqlite_url: str, read: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert(seen=ago(minutes=9))
        await stage.passes()
        stage.kuma.raise_alert()
        refusal = stage.kuma.faults.add("unauthorized", code=403, match=read, times=1)
        async with stage.runtime(single=True) as runtime:
            before = await ask(runtime, lambda tx: tx.cursor.read())
            troubles = await once(runtime)
            after = await ask(runtime, lambda tx: tx.cursor.read())

    assert refusal.fired == 1
    assert troubles == []
    assert after.sweep == before.sweep + 1
    assert after.watermark != before.watermark


# A whole side


async def test_a_refused_irp_token_pauses_that_side_until_its_file_changes(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "5m", "max": "10m"}) as stage:
        stage.irp.knobs.denied_status = 401
        secret = tmp_path / "irp.token"
        secret.write_text("old\n")
        del stage.tables["irp"]["token"]
        stage.configure(irp={"token_file": str(secret)})
        for _ in range(5):
            stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(lambda: runtime.gates["irp"].paused)
            state = runtime.health.ready().parts["irp"].state
            await eventually(lambda: len(stage.kuma.shown) == 5)
            assert await nothing_parked(runtime)

            secret.write_text(stage.irp.token)
            await all_delivered(stage)
            await eventually(lambda: runtime.health.ready().ready)
            assert await nothing_parked(runtime)

    assert state is State.PAUSED
    assert len(stage.irp.incidents) == 5


async def test_a_refused_kuma_token_pauses_that_side_until_its_file_changes(tmp_path: Path, sqlite_url: str) -> None:
    sections = {"retry": {"base": "5m", "max": "10m"}, "poll": {"interval": "10m"}}
    async with staged(tmp_path, sqlite_url, **sections) as stage:
        stage.kuma.knobs.denied_status = 403
        secret = tmp_path / "kuma.token"
        secret.write_text("old\n")
        del stage.tables["kuma"]["token"]
        stage.configure(kuma={"token_file": str(secret)})
        stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(lambda: runtime.gates["kuma"].paused)
            state = runtime.health.ready().parts["kuma"].state

            secret.write_text(stage.kuma.token)
            await all_delivered(stage)
            await eventually(lambda: runtime.health.ready().ready)

    assert state is State.PAUSED


async def test_a_kuma_that_refused_the_token_is_tried_again_before_the_next_poll_is_due(
    tmp_path: Path, sqlite_url: str
) -> None:
    sections = {"retry": {"base": "200ms", "max": "200ms"}, "poll": {"interval": "10m"}}
    async with staged(tmp_path, sqlite_url, **sections) as stage:
        refusal = stage.kuma.faults.add("unauthorized", code=403)
        stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(lambda: runtime.gates["kuma"].paused)
            stage.kuma.faults.remove(refusal)
            await all_delivered(stage)
            await eventually(lambda: runtime.health.ready().ready)


REQUESTS = ("externalId=", "status=closed", "/incidents$")
"""Find, watch, and create."""


async def test_a_paused_side_tries_one_request_at_a_time_and_resumes_by_itself(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "100ms", "max": "100ms"}) as stage:
        for _ in range(20):
            stage.kuma.raise_alert()
        stage.irp.faults.add("delay", seconds=0.05)
        # The probe is refused to the end: accepted right after a refusal it would park that job, and rightly.
        stage.irp.faults.add("unauthorized", match="?limit=1")
        refusals = [stage.irp.faults.add("unauthorized", match=match) for match in REQUESTS]
        async with stage.working() as runtime:
            await eventually(lambda: runtime.gates["irp"].paused)
            await eventually(lambda: not any(request.status == 0 for request in stage.irp.requests))
            before, most = sum(refusal.fired for refusal in refusals), 0

            async def tried_three_times() -> bool:
                nonlocal most
                most = max(most, sum(request.status == 0 for request in stage.irp.requests))
                return sum(refusal.fired for refusal in refusals) >= before + 3

            await eventually(tried_three_times)
            for refusal in refusals:
                stage.irp.faults.remove(refusal)
            await all_delivered(stage)
            assert await nothing_parked(runtime)

    assert most == 1


async def test_a_refused_close_in_kuma_keeps_the_closing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(lambda: stage.incidents(alert_id))
            stage.kuma.knobs.expired = True
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await eventually(lambda: runtime.gates["kuma"].paused)
            assert await nothing_parked(runtime)
            stage.kuma.knobs.expired = False

            await eventually(lambda: stage.kuma.closes)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_a_token_without_the_right_to_close_parks_the_closing_and_reading_goes_on(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.knobs.denied_operations.add("POST /alerts/close")
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await once(runtime)
            jobs, paused = await parked(runtime), runtime.gates["kuma"].paused
            other = stage.kuma.raise_alert()
            await once(runtime)

    assert [job.subject for job in jobs] == [alert_id]
    assert paused is None
    assert stage.incident(other)


async def test_a_wrong_create_path_pauses_creates_alone_and_parks_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        old = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(lambda: stage.incidents(old))
            wrong = stage.irp.faults.add("status", code=404, method="POST", match=CREATE)
            news = [stage.kuma.raise_alert() for _ in range(3)]
            await eventually(lambda: wrong.fired)
            stage.kuma.grow(old)
            await eventually(lambda: stage.wrote("update"))
            assert await nothing_parked(runtime)
            assert not runtime.health.ready().ready
            stage.irp.faults.clear()

            await all_delivered(stage)
            await eventually(lambda: runtime.health.ready().ready)

    assert all(stage.incident(alert_id) for alert_id in news)


async def test_a_deleted_incident_is_parked_and_made_anew_only_when_told(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert(events=4)
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.delete(stage.incident(alert_id).id)
            stage.kuma.grow(alert_id)
            await once(runtime)
            await until_rest(runtime)
            jobs, between = await parked(runtime), list(stage.incidents(alert_id))

            done = await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
            await until_rest(runtime)

    assert [job.reason for job in jobs] == ["incident deleted"]
    assert between == []
    assert done == [alert_id]
    assert len(stage.incident(alert_id).events) == 5
    assert stage.agrees(), stage.verdict()


async def test_an_incident_that_moved_to_another_id_is_found_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            old = stage.incident(alert_id)
            stage.irp.delete(old.id)
            moved = stage.irp.create({"externalId": old.external_id, "title": "moved"})
            stage.kuma.grow(alert_id)
            await once(runtime)
            await until_rest(runtime)

    assert stage.incident(alert_id) is moved
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize(
    ("operation", "method", "path"), [("update", "PATCH", "/incidents/"), ("add_events", "POST", "/events$")]
)
async def test_an_incident_found_at_an_address_that_answers_404_is_parked(
    tmp_path: Path, sqlite_url: str, operation: str, method: str, path: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace("batch = 500", "batch = 2"))
        alert_id, other = stage.kuma.raise_alert(events=1), stage.kuma.raise_alert(events=1)
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.kuma.grow(other, 9)
            await once(runtime)  # so that the address is known to be right
            stage.irp.faults.add("status", code=404, method=method, match=path)
            stage.kuma.grow(alert_id, 9)
            before = len(stage.irp.requests)
            await once(runtime)
            jobs, asked = await parked(runtime), len(stage.irp.requests) - before

            stage.irp.faults.clear()
            stage.kuma.grow(alert_id)
            await once(runtime)
            await until_rest(runtime)

    assert [job.reason.split(":")[0] for job in jobs] == [
        f"the incident was found, but {operation} answered 404 Not Found"
    ]
    assert asked < 10
    assert stage.agrees(), stage.verdict()


async def test_an_incident_that_was_missing_for_a_moment_keeps_what_analysts_wrote(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low")
        await once(runtime)
        stage.irp.analyst_edit(stage.incident(alert_id).id, title="what an analyst wrote")
        away = stage.irp.faults.add("status", code=404, method="PATCH", match="/incidents/", times=1)
        stage.kuma.edit(alert_id, priority="critical")
        await once(runtime)
        await until_rest(runtime)

    assert away.fired
    incident = stage.incident(alert_id)
    assert (incident.fields["title"], incident.fields["severity"]) == ("what an analyst wrote", "Critical")


# Waiting


async def test_a_wait_that_the_irp_asked_for_is_kept_by_every_request_to_it(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.working():
        await eventually(lambda: stage.irp.requests)
        rule = stage.irp.faults.add("status", code=429, headers={"Retry-After": "1"}, times=1)
        for _ in range(3):
            stage.kuma.raise_alert()
        await eventually(lambda: rule.fired)
        asked, sent = time.monotonic(), len(stage.irp.requests)
        await eventually(lambda: len(stage.irp.requests) > sent + 3)
        waited = time.monotonic() - asked
        late = len(stage.irp.requests) - sent
        await all_delivered(stage)

    assert waited > 0.8, f"{late} requests came {waited:.2f} s after the wish to be left alone for 1 s"


async def test_a_wait_that_kuma_asked_for_is_kept_by_reads_and_closings(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.working():
            await eventually(lambda: stage.incidents(alert_id))
            rule = stage.kuma.faults.add("status", code=429, headers={"Retry-After": "1"}, times=1)
            await eventually(lambda: rule.fired)
            asked, sent = time.monotonic(), len(stage.kuma.requests)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await eventually(lambda: len(stage.kuma.requests) > sent)
            waited = time.monotonic() - asked
            await eventually(lambda: stage.kuma.closes)

    assert waited > 0.8


async def test_what_waited_for_an_irp_that_was_down_is_delivered_once(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        ids = [stage.kuma.raise_alert() for _ in range(5)]
        async with stage.working() as runtime:
            await eventually(lambda: len(stage.irp.incidents) == 5)
            await stage.irp_server.stop()
            for _ in range(5):
                stage.kuma.raise_alert()
            stage.kuma.grow(ids[0])
            stage.kuma.close(ids[1])
            await eventually(lambda: _waiting(runtime, 7))
            assert runtime.health.live()
            await stage.irp_server.start()

            await all_delivered(stage)
            assert await nothing_parked(runtime)

    assert len(stage.irp.incidents) == 10
    assert len(stage.wrote("close")) == 1


async def _waiting(runtime: Runtime, number: int) -> bool:
    depths = await ask(runtime, lambda tx: tx.delivery.depths())
    return depths.get(Depth.BACKOFF, 0) + depths.get(Depth.PENDING, 0) + depths.get(Depth.RUNNING, 0) == number


# KUMA misbehaves

MISHAPS: dict[str, tuple[str, dict[str, Any]]] = {
    "500": ("status", {"code": 500}),
    "a balancer's page": ("html", {}),
    "a cut body": ("cut", {"after": 600}),
    "a hang": ("hang", {}),
    "no JSON": ("status", {"code": 200, "body": "oops"}),
}


@pytest.mark.parametrize("mishap", MISHAPS)
async def test_a_kuma_that_answers_badly_loses_nothing_and_the_poll_recovers(
    tmp_path: Path, sqlite_url: str, mishap: str
) -> None:
    async with staged(tmp_path, sqlite_url, kuma={"read_timeout": "200ms"}) as stage:
        kept, grown = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(lambda: len(stage.irp.incidents) == 2)
            kind, arguments = MISHAPS[mishap]
            rule = stage.kuma.faults.add(kind, match=LISTING, **arguments)
            await eventually(lambda: rule.fired >= 2)
            stage.kuma.raise_alert()
            stage.kuma.grow(grown)
            await eventually(lambda: runtime.health.ready().parts["poll"].state is State.FAILING)
            assert runtime.health.live()
            stage.kuma.faults.clear()

            await all_delivered(stage)
            await eventually(lambda: runtime.health.ready().ready)

    assert stage.incident(kept).status == "open"
    assert stage.wrote("close") == []


async def test_a_role_that_was_lost_closes_nothing_and_its_return_is_noticed(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        ids = [stage.kuma.raise_alert() for _ in range(12)]
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.kuma.knobs.tenants = []
            await once(runtime)
            await once(runtime)
            counts = await ask(runtime, lambda tx: tx.overview.counts())
            stage.kuma.knobs.tenants = None
            stage.kuma.grow(ids[0])
            await once(runtime)
            after = await ask(runtime, lambda tx: tx.overview.counts())

    assert counts["gone"] == 12
    assert after["open"] == 12
    assert stage.wrote("close") == []
    assert len(stage.irp.incidents) == 12
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize("grown", [False, True], ids=["as it was", "grown"])
async def test_a_gone_alert_that_is_shown_again_is_seen_and_gone_again_is_news(
    tmp_path: Path, sqlite_url: str, grown: bool
) -> None:
    async with staged(tmp_path, sqlite_url, poll={"sweep_interval": "1h"}) as stage, stage.runtime() as runtime:
        lost, states = stage.kuma.raise_alert(), []
        await once(runtime)
        await until_rest(runtime)
        with capture_logs() as logs:
            for _ in range(2):
                as_it_was = stage.kuma.alerts[lost]
                stage.kuma.delete(lost)
                await runtime.poller.poll_once(sweep=True)
                await runtime.poller.poll_once(sweep=True)
                states.append(await state_of(runtime, lost))
                stage.kuma.alerts[lost] = as_it_was
                if grown:
                    stage.kuma.grow(lost)
                await runtime.poller.poll_once()
                await until_rest(runtime)
                states.append(await state_of(runtime, lost))

    assert states == ["gone", "open", "gone", "open"]
    told = [line["alert_ids"] for line in logs if line["event"] == "alert_gone"]
    assert told == [[lost]] * 2, "once each time"
    assert stage.wrote("close") == []
    assert stage.agrees(), stage.verdict()


async def test_a_null_answer_is_an_empty_one_and_closes_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        for _ in range(3):
            stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.kuma.faults.add("status", code=200, body="null", match=LISTING)
            troubles = await once(runtime)
            passes = await ask(runtime, lambda tx: tx.audit.last_passes(20))
            counts = await ask(runtime, lambda tx: tx.overview.counts())

    assert troubles == []
    assert counts["gone"] == 3, "null is an empty answer"
    assert any(read.kind == ReadKind.STATUS.value and read.left == 3 for read in passes)
    assert stage.wrote("close") == []


async def test_without_a_probe_a_refusal_pauses_the_side(tmp_path: Path, sqlite_url: str) -> None:
    body: Json = {"message": "who are you?"}
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, without("probe"))
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("status", code=401, body=body, method="POST", match=CREATE, times=1)
        async with stage.working() as runtime:
            await eventually(lambda: stage.incidents(alert_id))
            assert await nothing_parked(runtime)

    assert _posts(stage) == 2
