"""What a body says and what it carries: edits taken back, events that do not fit, and what a failed write leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from stage import ago, ask, change_profile, link_of, metric, parked, polled, staged, state_of, tell, until_rest, without
from stores import engines_of

from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.sim.values import Json
from kuma_sync.store import Store
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.metrics import Metrics

CREATE = "/api/v1/incidents$"


def event_ids(events: list[Json] | None) -> list[str]:
    return sorted(str(each["ID"]) for each in events or [])


# Edits taken back


@pytest.mark.parametrize("sweep", [False, True])
async def test_an_edit_that_is_taken_back_is_seen_again(tmp_path: Path, sqlite_url: str, sweep: bool) -> None:
    told = list[object]()
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(seen=ago(minutes=10), priority="low")
        stage.kuma.raise_alert()
        for _ in range(2):
            await polled(runtime, sweep=sweep)

        for priority in ("critical", "low", "critical", "low"):
            stage.kuma.edit(alert_id, priority=priority)
            await polled(runtime, sweep=sweep)
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
        async with stage.runtime() as runtime:
            await once(runtime)
            (job,) = await parked(runtime)
            state = await state_of(runtime, alert_id)
            created, few = stage.incidents(alert_id), stage.incident(small).events
            stage.irp.knobs.max_body = 0
            await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
            await until_rest(runtime)

    assert (job.subject, state) == (alert_id, "parked")
    assert "413" in job.reason
    assert (created, len(few)) == ([], 1)
    assert event_ids(stage.incident(alert_id).events) == event_ids(stage.kuma.alerts[alert_id]["events"])


async def test_a_body_too_large_is_halved_where_the_rest_can_follow(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.irp.knobs.max_body = 20_000
        alert_id = stage.kuma.raise_alert(events=40)
        async with stage.runtime() as runtime:
            await once(runtime)
            jobs = await parked(runtime)

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


# The store fails once


@contextmanager
def failing_once(store: Store, statement: str) -> Iterator[list[str]]:
    """Let the first statement that begins so fail as on a full disk; yield what failed."""
    failed = list[str]()

    def strike(_connection: Any, _cursor: Any, text: str, *_others: Any) -> None:
        if text.startswith(statement) and not failed:
            failed.append(text)
            raise OperationalError("insert", {}, Exception("database or disk is full"))

    for engine in engines_of(store):
        event.listen(engine, "before_cursor_execute", strike)
    try:
        yield failed
    finally:
        for engine in engines_of(store):
            event.remove(engine, "before_cursor_execute", strike)


async def test_a_rejected_piece_whose_transaction_failed_is_parked_at_the_next_read(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.knobs.strays = [{"name": "no id"}]
        with failing_once(runtime.store, "INSERT INTO alerts") as failed, pytest.raises(StoreUnavailable):
            await runtime.poller.poll_once()
        between = await ask(runtime, lambda tx: tx.rejects.count())

        for _ in range(2):
            await polled(runtime, sweep=False)
        after = await ask(runtime, lambda tx: tx.rejects.count())

    assert len(failed) == 1
    assert (between, after) == (0, 1)
    assert stage.incident(alert_id)


# What an operator or a restored store must not double


async def test_a_retry_after_a_parked_resync_keeps_the_incident(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        stage.irp.faults.add("status", code=400, match="externalId=")
        await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))
        await until_rest(runtime)
        (job,) = await parked(runtime)
        stage.irp.faults.clear()
        stage.irp.knobs.find_lag = 3600

        await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
        await until_rest(runtime)
        link, jobs = await link_of(runtime, alert_id), await parked(runtime)

    assert "400" in job.reason
    assert jobs == []
    assert link.incident is not None
    assert link.incident.id == stage.incident(alert_id).id
    assert len(stage.wrote("update")) == 1, "the resync's full update"


async def test_a_read_by_id_that_did_not_end_marks_nothing_gone(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        kept, assigned = stage.kuma.raise_alert(), [stage.kuma.raise_alert(seen=ago(hours=2)) for _ in range(3)]
        await once(runtime)
        for alert_id in assigned:
            stage.kuma.assign(alert_id)
        page = [{**stage.kuma.alerts[kept], "events": []}] * 250
        rule = stage.kuma.faults.add("status", code=200, match="?id=", body=json.dumps(page))
        troubles = await once(runtime)
        await until_rest(runtime)
        marked, fired = [await state_of(runtime, alert_id) for alert_id in assigned], rule.fired

        stage.kuma.faults.clear()
        await once(runtime)
        await until_rest(runtime)

    assert fired == 2 + 2, "the second page repeats the first, for one alert alone, too"
    assert marked == ["open"] * 3
    assert len(troubles) == 1
    assert [stage.incident(alert_id).fields["alertStatus"] for alert_id in assigned] == ["assigned"] * 3


async def test_a_delivery_that_asks_nothing_of_the_irp_is_not_timed(tmp_path: Path, sqlite_url: str) -> None:
    metrics = Metrics()
    async with staged(tmp_path, sqlite_url, close={"to_kuma": False}) as stage, stage.runtime(metrics) as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        stage.irp.analyst_close(stage.incident(alert_id).id, "Solved")
        await once(runtime)
        stage.kuma.grow(alert_id)
        await once(runtime)
        depths = await ask(runtime, lambda tx: tx.delivery.depths())

    assert depths == {}
    assert metric(metrics, "end_to_end_seconds_count") == 1
