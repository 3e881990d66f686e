"""Create once: whatever happens to a create or its answer, an alert has one incident in the end."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from stage import change_profile, eventually, link_of, metric, parked, staged, until_rest, without

from kuma_sync.sim.values import Json
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.metrics import Metrics

CREATE = "/api/v1/incidents$"
FIND = "externalId="


def finds(requests: list[str]) -> int:
    return sum(FIND in query for query in requests)


def creating(alert_id: str, **fields: object) -> Json:
    return {"externalId": f"kuma:kuma:{alert_id}", "title": "made by somebody else", **fields}


async def test_a_create_whose_answer_was_lost_is_found_and_not_doubled(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("reset_after", method="POST", match=CREATE, times=1)
        metrics = Metrics()

        async with stage.runtime(metrics) as runtime:
            await once(runtime)
            await until_rest(runtime)
            link = await link_of(runtime, alert_id)

    assert len(stage.incidents(alert_id)) == 1
    assert link.incident is not None
    assert link.incident.id == stage.incident(alert_id).id
    assert metric(metrics, "ambiguous_total") == 1
    assert len(stage.irp.writes) == 1, "what our own intent held counts as sent"


async def test_a_create_that_never_arrived_is_sent_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("reset_before", method="POST", match=CREATE, times=1)

        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)

    assert len(stage.incidents(alert_id)) == 1
    assert finds([request.query for request in stage.irp.requests]) >= 3, "at first, and twice after the break"


async def test_a_server_error_after_the_effect_is_found_and_not_doubled(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("status", code=502, method="POST", match=CREATE, times=1)

        async with stage.runtime() as runtime:
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()
            stage.irp.create(creating(alert_id, title=stage.kuma.alerts[alert_id]["name"]))
            await until_rest(runtime)
            link = await link_of(runtime, alert_id)

    assert len(stage.incidents(alert_id)) == 1
    assert link.incident is not None


async def test_an_incident_made_without_an_id_is_found(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.irp.knobs.no_id = True

        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)
            link = await link_of(runtime, alert_id)

    assert link.incident is not None
    assert link.incident.id == stage.incident(alert_id).id


async def test_an_incident_made_without_an_id_and_never_found_is_parked_and_not_made_again(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.irp.knobs.no_id = True
        stage.irp.knobs.find_lag = 3600

        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)
            (job,) = await parked(runtime)

    assert len(stage.incidents(alert_id)) == 1
    assert job.reason == "created without an id, and not found"


@pytest.mark.parametrize("made", [True, False])
async def test_a_create_answered_with_a_page_for_people_is_not_sent_again(
    tmp_path: Path, sqlite_url: str, made: bool
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        page = stage.irp.faults.add("html", method="POST", match=CREATE)

        async with stage.runtime() as runtime:
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()
            if made:
                stage.irp.create(creating(alert_id, title=stage.kuma.alerts[alert_id]["name"]))
            await until_rest(runtime)
            link, jobs = await link_of(runtime, alert_id), await parked(runtime)

    assert page.fired == 1
    assert (link.incident is not None) == made
    assert [job.reason for job in jobs] == ([] if made else ["created without an id, and not found"])


async def test_a_slow_find_does_not_count_as_the_time_an_irp_has_to_show_an_incident(
    tmp_path: Path, sqlite_url: str
) -> None:
    """The create arrives while the first find is under way, and is shown a moment after that one was answered."""
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace('settle = "200ms"', 'settle = "1s"'))
        async with stage.runtime() as runtime:
            await once(runtime)
            alert_id = stage.kuma.raise_alert()
            stage.irp.faults.add("reset_before", method="POST", match=CREATE, times=1)
            slow = stage.irp.faults.add("delay", match=FIND, times=1, seconds=1.5)
            stage.irp.knobs.find_lag = 0.9

            async def arrives() -> None:
                await eventually(lambda: slow.fired)
                incident = stage.irp.create(creating(alert_id))
                incident.created_at += timedelta(seconds=0.8)

            arriving = asyncio.ensure_future(arrives())
            await once(runtime)
            await until_rest(runtime)
            await arriving

    assert len(stage.incidents(alert_id)) == 1


async def test_an_irp_that_shows_a_fresh_incident_late_gets_no_second_one(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace('settle = "200ms"', 'settle = "1s"'))
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("reset_after", method="POST", match=CREATE, times=1)
        stage.irp.knobs.find_lag = 0.5

        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)

    assert len(stage.incidents(alert_id)) == 1
    assert len(stage.wrote("create")) == 1


async def test_a_restart_between_two_looks_does_not_start_over(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("reset_before", method="POST", match=CREATE, times=1)

        async with stage.runtime() as runtime:
            await runtime.poller.poll_once()
            while (await link_of(runtime, alert_id)).not_found_at is None:
                await runtime.targets["irp"].deliveries.drain()
            first_look = (await link_of(runtime, alert_id)).not_found_at
        async with stage.runtime() as runtime:
            noted = (await link_of(runtime, alert_id)).not_found_at
            await until_rest(runtime)

    assert noted == first_look
    assert len(stage.incidents(alert_id)) == 1


async def test_a_second_look_that_is_hours_away_is_not_taken_for_due(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace('settle = "200ms"', 'settle = "2h"'))
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("reset_before", method="POST", match=CREATE, times=1)

        async with stage.runtime() as runtime, asyncio.timeout(10):
            await runtime.poller.poll_once()
            while (await link_of(runtime, alert_id)).not_found_at is None:
                await runtime.targets["irp"].deliveries.drain()
            looks = finds([request.query for request in stage.irp.requests])
            taken = await runtime.targets["irp"].deliveries.drain()

    assert looks == 2, "before the create, and after it was lost"
    assert taken == 0


async def test_a_refused_duplicate_is_found_linked_and_brought_up_to_date(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.irp.knobs.unique_key = True
        async with stage.runtime() as runtime:
            await once(runtime)
            alert_id = stage.kuma.raise_alert(priority="critical")
            stage.irp.create(creating(alert_id))
            await runtime.poller.poll_once()
            await until_rest(runtime)

    assert len(stage.incidents(alert_id)) == 1
    assert stage.incident(alert_id).fields["title"] == stage.kuma.alerts[alert_id]["name"]
    assert stage.agrees(), stage.verdict()


async def test_of_several_incidents_the_first_open_one_is_linked(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        closed, first, second = (stage.irp.create(creating(alert_id)) for _ in range(3))
        stage.irp.analyst_close(closed.id, "False positive")

        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)
            link = await link_of(runtime, alert_id)

    assert link.incident is not None
    assert link.incident.id == first.id
    assert {id_ for id_, _ in stage.wrote("update")} == {first.id}
    assert len(stage.incidents(alert_id)) == 3
    assert second.history == [("create", creating(alert_id))]
    assert stage.kuma.closes == []


async def test_an_incident_found_closed_closes_its_alert_with_the_mapped_reason(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage:
        alert_id = stage.kuma.raise_alert()
        incident = stage.irp.create(creating(alert_id))
        stage.irp.analyst_close(incident.id, "false POSITIVE")

        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert stage.irp.incidents == {incident.id: incident}
    assert stage.wrote("update") == []
    assert stage.wrote("close") == []


async def test_a_find_comes_first_only_until_the_first_complete_sweep(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert()

        async with stage.runtime() as runtime:
            await once(runtime)
            before = finds([request.query for request in stage.irp.requests])
            stage.kuma.raise_alert()
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()
            after = finds([request.query for request in stage.irp.requests])

    assert (before, after) == (2, 2), "before the create, and once to see whether it shows what was made"
    assert len(stage.irp.incidents) == 2


async def test_always_means_a_find_before_every_create(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, irp={"find_first": "always"}) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert()
        await once(runtime)
        before = finds([request.query for request in stage.irp.requests])
        alert_id = stage.kuma.raise_alert()
        await runtime.poller.poll_once()
        await runtime.targets["irp"].deliveries.drain()

    assert finds([request.query for request in stage.irp.requests]) == before + 1
    assert stage.incident(alert_id)


async def test_always_means_a_find_before_a_create_that_is_tried_again_too(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, irp={"find_first": "always"}) as stage, stage.runtime() as runtime:
        await once(runtime)
        alert_id = stage.kuma.raise_alert()
        away = stage.irp.faults.add("status", code=503, method="POST", match=CREATE, times=1)
        await runtime.poller.poll_once()
        await runtime.targets["irp"].deliveries.drain()
        assert away.fired
        stage.irp.create(creating(alert_id))
        await until_rest(runtime)

    assert len(stage.incidents(alert_id)) == 1


async def test_an_older_copy_of_the_store_doubles_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        for _ in range(4):
            stage.kuma.raise_alert()
        await stage.passes()
        shutil.copy(tmp_path / "store.db", tmp_path / "backup.db")
        for _ in range(4):
            stage.kuma.raise_alert()
        stage.kuma.grow(next(iter(stage.kuma.alerts)))
        await stage.passes()

        for left_over in ("store.db-wal", "store.db-shm"):
            (tmp_path / left_over).unlink(missing_ok=True)
        shutil.copy(tmp_path / "backup.db", tmp_path / "store.db")
        stage.kuma.raise_alert()
        await stage.passes(2)

    assert len(stage.irp.incidents) == len(stage.wrote("create")) == 9
    assert stage.agrees(), stage.verdict()


async def test_a_lost_store_doubles_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        for _ in range(4):
            stage.kuma.raise_alert()
        await stage.passes()

        stage.configure(store={"url": f"sqlite:///{tmp_path}/fresh.db"})
        await stage.passes()

    assert len(stage.irp.incidents) == len(stage.wrote("create")) == 4


@pytest.mark.parametrize(("upsert", "reason"), [(False, "a create may have happened"), (True, "")])
async def test_without_a_find_an_ambiguous_create_is_parked_unless_the_create_is_an_upsert(
    tmp_path: Path, sqlite_url: str, upsert: bool, reason: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, without("find"))
        if upsert:
            change_profile(stage, without("update"))
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("reset_after", method="POST", match=CREATE, times=1)

        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)
            reasons = [job.reason for job in await parked(runtime)]

    assert len(stage.incidents(alert_id)) == (2 if upsert else 1), "this IRP does not keep its keys apart"
    assert len(reasons) == (0 if upsert else 1)
    assert all(reason in told for told in reasons)


@pytest.mark.parametrize("fault", [{"code": 429}, {"code": 503}])
async def test_a_create_that_certainly_did_not_happen_needs_no_find(
    tmp_path: Path, sqlite_url: str, fault: Json
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert()
        await once(runtime)
        before = finds([request.query for request in stage.irp.requests])
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("status", method="POST", match=CREATE, times=1, **fault)
        await runtime.poller.poll_once()
        await until_rest(runtime)

    assert stage.incident(alert_id)
    assert finds([request.query for request in stage.irp.requests]) == before


async def test_an_irp_whose_find_shows_everything_joins_nothing_wrongly(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.irp.knobs.ignore_external_id = True
        stranger = stage.irp.create({"externalId": "somebody else's", "title": "not ours"})
        ids = [stage.kuma.raise_alert() for _ in range(3)]
        stage.irp.faults.add("reset_after", method="POST", match=CREATE, times=1)
        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)

    assert [len(stage.incidents(alert_id)) for alert_id in ids] == [1, 1, 1]
    assert len(stranger.history) == 1
    assert stage.agrees(), stage.verdict()


async def test_what_grows_while_its_create_is_in_flight_follows_as_an_update(tmp_path: Path, either_url: str) -> None:
    async with staged(tmp_path, either_url) as stage:
        alert_id = stage.kuma.raise_alert()
        late = stage.irp.faults.add("delay", method="POST", match=CREATE, seconds=0.6)
        async with stage.working():
            await eventually(lambda: late.fired)
            grown = stage.kuma.grow(alert_id, 2)
            await eventually(lambda: stage.wrote("update"))
            await eventually(stage.agrees)

    assert [deed for deed, _, _ in stage.irp.writes] == ["create", "update"]
    assert [event["ID"] for event in stage.wrote("update")[0][1]["events"]] == grown


@pytest.mark.parametrize("fault", ["reset_after", "reset_before"])
async def test_an_update_whose_answer_was_lost_is_sent_again(tmp_path: Path, sqlite_url: str, fault: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        stage.kuma.grow(alert_id, 2)
        stage.irp.faults.add(fault, method="PATCH", times=1)
        await once(runtime)
        await until_rest(runtime)

    assert len(stage.wrote("update")) == (2 if fault == "reset_after" else 1)
    assert len({event["ID"] for event in stage.incident(alert_id).events}) == 5
    assert stage.agrees(), stage.verdict()
