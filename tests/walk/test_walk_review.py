"""What reads and writes once got wrong: edits taken back, odd text, events a body does not carry, unreadable alerts."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from stage import Stage, ask, change_profile, link_of, parked, staged, state_of, tell, until_rest, without
from structlog.testing import capture_logs

from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import Permanent, StoreUnavailable, Transient
from kuma_sync.daemon import operator
from kuma_sync.daemon.run import Crew, once
from kuma_sync.sim.faults import Rule
from kuma_sync.sim.values import Json
from kuma_sync.store import Store

CREATE = "/api/v1/incidents$"
ODD = "bad \x00 and \ud800 text"
FIT = "bad \ufffd and \ufffd text"


def ago(**by: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(**by)


async def polled(crew: Crew, *, sweep: bool) -> None:
    """Poll once as the daemon does, and deliver what follows."""
    await crew.poller.poll_once(sweep=sweep)
    await until_rest(crew)


def event_ids(events: list[Json] | None) -> list[str]:
    return sorted(str(each["ID"]) for each in events or [])


# Edits taken back


@pytest.mark.parametrize("sweep", [False, True])
async def test_an_edit_that_is_taken_back_is_seen_again(tmp_path: Path, sqlite_url: str, sweep: bool) -> None:
    told = list[object]()
    async with staged(tmp_path, sqlite_url) as stage, stage.crew() as crew:
        alert_id = stage.kuma.raise_alert(seen=ago(minutes=10), priority="low")
        stage.kuma.raise_alert()
        for _ in range(2):
            await polled(crew, sweep=sweep)

        for priority in ("critical", "low", "critical", "low"):
            stage.kuma.edit(alert_id, priority=priority)
            await polled(crew, sweep=sweep)
            told.append(stage.incident(alert_id).fields["severity"])

    assert told == ["Critical", "Low", "Critical", "Low"]
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize("deed", ["assign", "escalate"])
async def test_an_alert_that_comes_back_to_new_as_it_was_is_seen_again(
    tmp_path: Path, sqlite_url: str, deed: str
) -> None:
    told = list[object]()
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert(seen=ago(minutes=10))
        stage.kuma.raise_alert()
        await stage.passes(2)

        for act in (getattr(stage.kuma, deed), stage.kuma.unescalate):
            act(alert_id)
            await stage.passes()
            told.append(stage.incident(alert_id).fields["alertStatus"])

    assert told == ["assigned" if deed == "assign" else "escalated", "new"]
    assert not stage.incident(alert_id).fields.get("assignee")
    assert stage.agrees(), stage.verdict()


# Odd text from the IRP


async def test_a_refusal_in_odd_words_parks_its_job_and_no_other(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage, stage.crew() as crew:
        stage.irp.faults.add("status", code=400, method="POST", match=CREATE, times=1, body={"message": ODD})
        ids = [stage.kuma.raise_alert() for _ in range(2)]

        troubles = await once(crew)
        (job,) = await parked(crew)
        history = await ask(crew, lambda tx: tx.records.history(AlertId(job.subject)))

    assert troubles == []
    assert FIT in job.reason
    assert [entry.detail for entry in history if entry.action == "parked"] == [job.reason]
    assert [len(stage.incidents(alert_id)) for alert_id in ids if alert_id != job.subject] == [1]


async def test_an_incident_with_an_odd_number_is_linked(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage, stage.crew() as crew:
        alert_id = stage.kuma.raise_alert()
        answer: Json = {"id": "77", "number": ODD, "url": ODD}
        stage.irp.faults.add("status", code=201, method="POST", match=CREATE, body=answer)

        await once(crew)
        link, jobs = await link_of(crew, alert_id), await parked(crew)

    assert jobs == []
    assert link.incident is not None
    assert (link.incident.id, link.incident.number, link.incident.url) == ("77", FIT, FIT)


async def test_a_closing_with_an_odd_resolution_is_carried(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage, stage.crew() as crew:
        alert_id = stage.kuma.raise_alert()
        await once(crew)
        item = {"id": stage.incident(alert_id).id, "externalId": f"kuma:kuma:{alert_id}", "status": "closed"}
        item |= {"resolution": ODD, "updatedAt": datetime.now(UTC).isoformat()}
        stage.irp.faults.add("status", code=200, match="status=closed", body={"items": [item], "total": 1})

        troubles = [*await once(crew), *await once(crew)]
        link, jobs = await link_of(crew, alert_id), await parked(crew)

    assert (troubles, jobs) == ([], [])
    assert stage.kuma.closes == [(alert_id, "responded")]
    assert link.incident_closed


# Events that a body does not carry


def without_events(*operations: str) -> Callable[[str], str]:
    """Return a change of the profile's text: these operations' bodies have no field for events."""

    def change(text: str) -> str:
        parts = re.split(r"(?m)^(?=\[)", text)
        bodies = tuple(f"[{operation}.body]" for operation in operations)
        return "".join(re.sub(r"(?m)^events = .*\n", "", part) if part.startswith(bodies) else part for part in parts)

    return change


async def test_events_that_no_body_carries_all_arrive_by_add_events(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, without_events("create", "update"))
        alert_id = stage.kuma.raise_alert(events=40)
        await stage.passes()
        first = event_ids(stage.incident(alert_id).events)
        born_with = event_ids(stage.kuma.alerts[alert_id]["events"])

        stage.kuma.grow(alert_id, 3)
        await stage.passes()

    assert first == born_with
    assert event_ids(stage.incident(alert_id).events) == event_ids(stage.kuma.alerts[alert_id]["events"])
    assert not any("events" in body for operation in ("create", "update") for _, body in stage.wrote(operation))
    assert [len(body["events"]) for _, body in stage.wrote("add_events")] == [40, 3]


async def test_a_body_too_large_is_parked_where_nothing_can_follow_it(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, without("add_events"))
        stage.irp.knobs.max_body = 20_000
        alert_id, small = stage.kuma.raise_alert(events=40), stage.kuma.raise_alert(events=1)
        async with stage.crew() as crew:
            await once(crew)
            (job,) = await parked(crew)
            state = await state_of(crew, alert_id)
            created, few = stage.incidents(alert_id), stage.incident(small).events
            stage.irp.knobs.max_body = 0
            await tell(crew, lambda tx: operator.retry(tx, [alert_id], by="cli", max_events=1000))
            await until_rest(crew)

    assert (job.subject, state) == (alert_id, "parked")
    assert "413" in job.reason
    assert (created, len(few)) == ([], 1)
    assert event_ids(stage.incident(alert_id).events) == event_ids(stage.kuma.alerts[alert_id]["events"])


async def test_a_body_too_large_is_halved_where_the_rest_can_follow(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.irp.knobs.max_body = 20_000
        alert_id = stage.kuma.raise_alert(events=40)
        async with stage.crew() as crew:
            await once(crew)
            jobs = await parked(crew)

    assert jobs == []
    assert event_ids(stage.incident(alert_id).events) == event_ids(stage.kuma.alerts[alert_id]["events"])
    assert len(stage.wrote("create")) == 1
    assert stage.wrote("add_events")


async def test_an_upsert_sends_all_kept_events_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, without("update"))
        alert_id = stage.kuma.raise_alert(events=3, priority="low")
        await stage.passes()
        stage.kuma.grow(alert_id, 2)
        await stage.passes()
        stage.kuma.edit(alert_id, priority="critical")
        await stage.passes()

    sent = [event_ids(body.get("events")) for _, body in stage.wrote("create")]
    now = event_ids(stage.kuma.alerts[alert_id]["events"])
    assert [len(events) for events in sent] == [3, 5, 5]
    assert sent[1:] == [now, now]


# Contents that KUMA cannot give


async def test_a_late_alert_whose_contents_could_not_be_read_is_not_lost_when_it_is_closed_meanwhile(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.crew() as crew:
        stage.kuma.raise_alert()
        await once(crew)
        late = [stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(4)]
        stage.kuma.faults.add("status", code=500, match="&id=")
        with pytest.raises(Transient):
            await polled(crew, sweep=False)
        before = [len(stage.incidents(alert_id)) for alert_id in late]
        stage.kuma.faults.clear()
        stage.kuma.close(late[0], "incorrect data")

        for _ in range(2):
            await once(crew)
            await until_rest(crew)
        states = [await state_of(crew, alert_id) for alert_id in late]

    assert before == [0, 0, 0, 0]
    assert states == ["closed", "open", "open", "open"]
    assert [stage.incident(alert_id).status for alert_id in late] == states
    assert [len(stage.incident(alert_id).events) for alert_id in late] == [3, 3, 3, 3]
    assert stage.agrees(), stage.verdict()


async def test_an_alert_that_kuma_cannot_show_stops_nothing_else(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.crew() as crew:
        closed = stage.kuma.raise_alert()
        stage.kuma.raise_alert()
        await once(crew)
        bad, neighbour = (stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(2))
        rule = stage.kuma.faults.add("status", code=500, match=f"id={bad}")
        stage.kuma.close(closed, "incorrect data")

        troubles = [trouble for _ in range(2) for trouble in await once(crew)]
        await until_rest(crew)
        bare = [len(stage.incident(alert_id).events) for alert_id in (bad, neighbour)]
        status = stage.incident(closed).status
        swept = await ask(crew, lambda tx: tx.records.last_passes(40))
        stage.kuma.faults.remove(rule)
        await polled(crew, sweep=False)

    assert troubles == [f"kuma: {bad} cannot be had by its id"] * 2
    assert bare == [0, 3], "delivered without its events; its neighbour has all"
    assert status == "closed"
    assert [read.complete for read in swept if read.kind == "sweep"] == [True] * 2
    assert len(stage.incident(bad).events) == 3, "they follow when KUMA can show it again"
    assert stage.agrees(), stage.verdict()


def refuse(stage: Stage, about: str) -> Rule:
    """Let KUMA answer 400 to questions by id about one alert, or (an empty id) about any."""
    body = '{"message":"invalid query parameter value","details":"id"}'
    return stage.kuma.faults.add("status", code=400, match=f"id={about}", body=body)


async def test_alerts_that_kuma_refuses_by_id_are_delivered_as_listed_and_stop_nothing_else(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url) as stage, stage.crew() as crew:
        closed, known = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        await once(crew)
        *odd, neighbour = (stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(5))
        stage.kuma.edit(known, priority="critical")
        rules = [refuse(stage, alert_id) for alert_id in (known, *odd)]
        stage.kuma.close(closed, "incorrect data")

        troubles = [trouble for _ in range(2) for trouble in await once(crew)]
        await until_rest(crew)
        bare = [len(stage.incident(alert_id).events) for alert_id in (*odd, neighbour)]
        status, severity = stage.incident(closed).status, stage.incident(known).fields["severity"]
        left = await parked(crew)
        for rule in rules:
            stage.kuma.faults.remove(rule)
        await polled(crew, sweep=False)

    assert set(troubles) == {f"kuma: {alert_id} cannot be had by its id" for alert_id in odd}
    assert left == []
    assert bare == [0, 0, 0, 0, 3]
    assert (status, severity) == ("closed", "Critical")
    assert [len(stage.incident(alert_id).events) for alert_id in odd] == [3, 3, 3, 3]
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize("code", [400, 500])
async def test_a_refused_create_is_not_tried_at_every_poll_because_kuma_cannot_show_its_alert(
    tmp_path: Path, database_url: str, code: int
) -> None:
    async with staged(tmp_path, database_url) as stage, stage.crew() as crew:
        stage.kuma.raise_alert()
        await once(crew)
        odd = stage.kuma.raise_alert(seen=ago(minutes=5))
        refuse(stage, odd).args["code"] = code
        creates = stage.irp.faults.add("status", code=422, method="POST", match=CREATE)
        for sweep in (False, False, True):
            await polled(crew, sweep=sweep)
        tries, left = creates.fired, await parked(crew)
        stage.irp.faults.remove(creates)
        stage.kuma.edit(odd, priority="critical")
        await polled(crew, sweep=False)

    assert (tries, len(left)) == (1, 1)
    assert stage.incident(odd).fields["severity"] == "Critical", "a change is tried once more"


async def test_what_kuma_refuses_a_second_time_is_told_a_second_time(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.crew() as crew:
        stage.kuma.raise_alert()
        await once(crew)
        odd, _neighbour = (stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(2))
        with capture_logs() as logs:
            rule = refuse(stage, odd)
            await crew.poller.poll_once()
            await crew.poller.poll_once()
            stage.kuma.faults.remove(rule)
            stage.kuma.raise_alert(seen=ago(minutes=5))  # both are asked for at once, and both are had
            await crew.poller.poll_once()
            refuse(stage, odd)
            stage.kuma.edit(odd, priority="critical")
            await crew.poller.poll_once()

    told = [line["alert_id"] for line in logs if line["event"] == "contents_unreadable"]
    assert told == [odd, odd]


@pytest.mark.parametrize("code", [400, 500])
async def test_an_alert_whose_status_kuma_does_not_tell_is_not_gone_and_hides_no_other(
    tmp_path: Path, database_url: str, code: int
) -> None:
    async with staged(tmp_path, database_url) as stage, stage.crew() as crew:
        odd, closed, gone = sorted(stage.kuma.raise_alert() for _ in range(3))
        await once(crew)
        rule = refuse(stage, odd)
        rule.args["code"] = code
        stage.kuma.assign(odd)
        stage.kuma.close(closed, "responded")
        stage.kuma.delete(gone)

        troubles = await once(crew)
        await until_rest(crew)
        before = [await state_of(crew, alert_id) for alert_id in (odd, closed, gone)]
        stage.kuma.faults.remove(rule)
        stage.kuma.close(odd, "responded")
        await once(crew)
        await until_rest(crew)

    assert troubles == [f"kuma: {odd} cannot be had by its id"]
    assert before == ["open", "closed", "gone"]
    assert stage.incident(odd).status == stage.incident(closed).status == "closed"


@pytest.mark.parametrize("code", [400, 500])
async def test_an_alert_too_large_to_take_and_refused_by_id_is_delivered_as_listed(
    tmp_path: Path, database_url: str, code: int
) -> None:
    poll = {"max_alert_size": "20KB", "strategy": "full"}
    async with staged(tmp_path, database_url, poll=poll) as stage, stage.crew() as crew:
        await once(crew)
        large, neighbour = stage.kuma.raise_alert(events=60), stage.kuma.raise_alert()
        refuse(stage, large).args["code"] = code
        await once(crew)
        await until_rest(crew)

    assert "events" not in stage.incident(large).fields
    assert len(stage.incident(neighbour).events) == 3


async def test_a_resync_is_parked_while_kuma_refuses_every_question_by_id(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage, stage.crew() as crew:
        alert_id = stage.kuma.raise_alert(events=5)
        await once(crew)
        rule = refuse(stage, "")
        await tell(crew, lambda tx: operator.resync(tx, [alert_id], by="cli"))
        await until_rest(crew)
        left = await parked(crew)
        stage.kuma.faults.remove(rule)
        await tell(crew, lambda tx: operator.retry(tx, [alert_id], by="cli", max_events=0))
        await until_rest(crew)

    assert len(left) == 1, "not done, with nothing to tell of the events"
    assert [len(body["events"]) for _, body in stage.wrote("update")] == [5]
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize("sweep", [False, True])
async def test_a_kuma_that_refuses_whatever_is_asked_by_id_fails_the_poll(
    tmp_path: Path, sqlite_url: str, sweep: bool
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.crew() as crew:
        first = stage.kuma.raise_alert()
        await once(crew)
        refuse(stage, "")
        if sweep:
            stage.kuma.assign(first)
        else:
            stage.kuma.raise_alert(seen=ago(minutes=5))
        swept = (await ask(crew, lambda tx: tx.records.cursor())).sweep

        with pytest.raises(Permanent, match="invalid query parameter value"):
            await crew.poller.poll_once(sweep=sweep)

        assert (await ask(crew, lambda tx: tx.records.cursor())).sweep == swept
        assert await state_of(crew, first) == "open"


# The store fails once


@contextmanager
def failing_once(store: Store, statement: str) -> Iterator[list[str]]:
    """Let the first statement that begins so fail as on a full disk; yield what failed."""
    failed = list[str]()

    def strike(_connection: Any, _cursor: Any, text: str, *_others: Any) -> None:
        if text.startswith(statement) and not failed:
            failed.append(text)
            raise OperationalError("insert", {}, Exception("database or disk is full"))

    event.listen(store.engine.sync_engine, "before_cursor_execute", strike)
    try:
        yield failed
    finally:
        event.remove(store.engine.sync_engine, "before_cursor_execute", strike)


async def test_a_rejected_piece_whose_transaction_failed_is_parked_at_the_next_read(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.crew() as crew:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.knobs.strays = [{"name": "no id"}]
        with failing_once(crew.store, "INSERT INTO alerts") as failed, pytest.raises(StoreUnavailable):
            await crew.poller.poll_once()
        between = await ask(crew, lambda tx: tx.records.parked_count())

        for _ in range(2):
            await polled(crew, sweep=False)
        after = await ask(crew, lambda tx: tx.records.parked_count())

    assert len(failed) == 1
    assert (between, after) == (0, 1)
    assert stage.incident(alert_id)


# What an operator or a restored store must not double


async def test_a_retry_after_a_parked_resync_keeps_the_incident(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.crew() as crew:
        alert_id = stage.kuma.raise_alert()
        await once(crew)
        stage.irp.faults.add("status", code=400, match="externalId=")
        await tell(crew, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))
        await until_rest(crew)
        (job,) = await parked(crew)
        stage.irp.faults.clear()
        stage.irp.knobs.find_lag = 3600

        await tell(crew, lambda tx: operator.retry(tx, [alert_id], by="cli", max_events=1000))
        await until_rest(crew)
        link, jobs = await link_of(crew, alert_id), await parked(crew)

    assert "400" in job.reason
    assert jobs == []
    assert link.incident is not None
    assert link.incident.id == stage.incident(alert_id).id
    assert len(stage.wrote("update")) == 1, "the resync's full update"


async def test_a_restored_store_doubles_no_alert_that_it_knows_as_ignored(tmp_path: Path, sqlite_url: str) -> None:
    limit = datetime.now(UTC) - timedelta(days=1)
    async with staged(tmp_path, sqlite_url, poll={"ignore_before": limit.isoformat()}) as stage:
        async with stage.crew() as crew:
            await once(crew)  # what appears after the first complete sweep is not in doubt by itself
            old = stage.kuma.raise_alert(seen=limit - timedelta(hours=1))
            await once(crew)
            born = await link_of(crew, old)
        shutil.copy(tmp_path / "store.db", tmp_path / "backup.db")
        ignored = list(stage.incidents(old))
        stage.kuma.grow(old)
        await stage.passes()

        for left_over in ("store.db-wal", "store.db-shm"):
            (tmp_path / left_over).unlink(missing_ok=True)
        shutil.copy(tmp_path / "backup.db", tmp_path / "store.db")
        await stage.passes(2)

    assert (born.ignored, born.doubt, ignored) == (True, None, [])
    assert len(stage.incidents(old)) == len(stage.wrote("create")) == 1
    assert stage.agrees(), stage.verdict()


async def test_a_read_by_id_that_did_not_end_marks_nothing_gone(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.crew() as crew:
        kept, assigned = stage.kuma.raise_alert(), [stage.kuma.raise_alert() for _ in range(3)]
        await once(crew)
        for alert_id in assigned:
            stage.kuma.assign(alert_id)
        page = [{**stage.kuma.alerts[kept], "events": []}] * 250
        rule = stage.kuma.faults.add("status", code=200, match="?id=", body=json.dumps(page))
        troubles = await once(crew)
        await until_rest(crew)
        marked, fired = [await state_of(crew, alert_id) for alert_id in assigned], rule.fired

        stage.kuma.faults.clear()
        await once(crew)
        await until_rest(crew)

    assert fired == 2, "the second page repeats the first"
    assert marked == ["open"] * 3
    assert len(troubles) == 1
    assert [stage.incident(alert_id).fields["alertStatus"] for alert_id in assigned] == ["assigned"] * 3
