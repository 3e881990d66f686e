"""The brake: what looks like an accident is held for a human, and updates go on meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from stage import Stage, ask, sample, staged, state_of, tell, until_rest
from structlog.testing import capture_logs

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.monitor import look
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once


async def many(stage: Stage, runtime: Runtime, number: int) -> list[str]:
    """Have so many alerts delivered."""
    ids = [stage.kuma.raise_alert(events=1) for _ in range(number)]
    await carried(runtime)
    assert len(stage.irp.incidents) == number
    return ids


async def carried(runtime: Runtime) -> None:
    await once(runtime)
    await until_rest(runtime)


async def release(runtime: Runtime) -> list[str]:
    released = await tell(runtime, lambda tx: operator.release(tx, by="cli"))
    await until_rest(runtime)
    return released


async def held_in_metrics(runtime: Runtime) -> tuple[float | None, ...]:
    """Return what the gauges say is held: of deliveries, of closings towards KUMA, and in all."""
    await look(runtime.store, health=runtime.health, metrics=runtime.metrics)
    value = partial(sample, runtime.metrics)
    queues = [value("queue_depth", queue=name, state="held") for name in ("delivery", "close")]
    return *queues, value("brake_held")


async def test_a_round_that_would_close_too_many_incidents_holds_them_all_until_released(
    tmp_path: Path, either_url: str
) -> None:
    async with staged(tmp_path, either_url) as stage, stage.runtime() as runtime:
        ids = await many(stage, runtime, 20)
        for alert_id in ids[:10]:
            stage.kuma.close(alert_id, "responded")
        stage.kuma.grow(ids[15])
        await carried(runtime)
        await carried(runtime)
        held = [await state_of(runtime, alert_id) for alert_id in ids[:10]]
        measured = await held_in_metrics(runtime)
        closed_while_held, updated = len(stage.wrote("close")), len(stage.incident(ids[15]).events)
        stage.kuma.close(ids[11], "responded")
        await carried(runtime)
        single = stage.incident(ids[11]).status

        released = await release(runtime)
        after = await held_in_metrics(runtime)

    assert held == ["held"] * 10
    assert (measured, after) == ((10, 0, 10), (0, 0, 0))
    assert (closed_while_held, updated, single) == (0, 2, "closed")
    assert sorted(released) == sorted(ids[:10])
    assert len(stage.wrote("close")) == 11
    assert stage.kuma.close_calls == []
    assert stage.agrees(), stage.verdict()


async def test_a_watch_round_that_would_close_too_many_alerts_holds_them_all(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        ids = await many(stage, runtime, 20)
        for alert_id in ids[:10]:
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        stage.kuma.grow(ids[15])
        await carried(runtime)
        await carried(runtime)
        held = [await state_of(runtime, alert_id) for alert_id in ids[:10]]
        calls, updated = len(stage.kuma.close_calls), len(stage.incident(ids[15]).events)
        stage.irp.analyst_close(stage.incident(ids[11]).id, "Solved")
        await carried(runtime)
        single = list(stage.kuma.closes)

        released = await release(runtime)

    assert held == ["held"] * 10
    assert (calls, updated) == (0, 2)
    assert single == [(ids[11], "responded")]
    assert sorted(released) == sorted(ids[:10])
    assert sorted(stage.kuma.closes[1:]) == sorted((alert_id, "incorrect data") for alert_id in ids[:10])
    assert stage.wrote("close") == []
    assert stage.agrees(), stage.verdict()


async def test_closings_held_by_mistake_are_taken_back_by_a_resync_of_the_reopened(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        ids = await many(stage, runtime, 20)
        for alert_id in ids[:10]:
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await carried(runtime)
        for alert_id in ids[:9]:
            stage.irp.reopen(stage.incident(alert_id).id)
        by_hand = CloseRequest(alert_id=AlertId(ids[8]), reason=Reason.RESPONDED, origin=Origin.OPERATOR, by="cli")
        await tell(runtime, lambda tx: operator.order_close(tx, by_hand, to_kuma=True))
        await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id) for alert_id in ids[:10]], by="cli"))
        await until_rest(runtime)
        states = [await state_of(runtime, alert_id) for alert_id in ids[:10]]
        stage.irp.reopen(stage.incident(ids[9]).id)
        await tell(runtime, lambda tx: operator.resync(tx, [AlertId(ids[9])], by="cli"))
        await until_rest(runtime)
        (grown,) = stage.kuma.grow(ids[0])
        stage.irp.analyst_close(stage.incident(ids[1]).id, "Solved")
        await carried(runtime)
        single = list(stage.kuma.closes)

        released = await release(runtime)

    assert states == ["open"] * 8 + ["held"] * 2, "what a human ordered as well is not taken back"
    assert grown in [event["ID"] for event in stage.incident(ids[0]).events], "it is kept true again"
    assert single == [(ids[1], "responded")], "what is closed later is not held"
    assert released == [ids[8]], "what find had shown closed meanwhile is nobody's order"
    assert stage.kuma.closes[1:] == [(ids[8], "incorrect data")]


@pytest.mark.parametrize(("alerts", "closed"), [(12, 9), (35, 10)], ids=["fewer than ten", "not above the share"])
async def test_up_to_the_threshold_nothing_is_held(tmp_path: Path, sqlite_url: str, alerts: int, closed: int) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        ids = await many(stage, runtime, alerts)
        for alert_id in ids[:closed]:
            stage.kuma.close(alert_id, "responded")
        await carried(runtime)

    assert len(stage.wrote("close")) == closed
    assert stage.agrees(), stage.verdict()


async def test_exactly_the_share_is_not_more_than_the_share(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, brake={"min_alerts": 3}) as stage, stage.runtime() as runtime:
        ids = await many(stage, runtime, 10)
        for alert_id in ids[:3]:
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await carried(runtime)
        exactly = len(stage.kuma.closes)
        for alert_id in ids[3:6]:
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await carried(runtime)

    assert exactly == 3
    assert len(stage.kuma.closes) == 3, "three of the seven left are more than the share"


async def test_creates_beyond_the_limit_are_held_and_carry_what_happened_meanwhile(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, brake={"max_new": 5}) as stage:
        ids = [stage.kuma.raise_alert(events=1) for _ in range(12)]
        async with stage.runtime() as runtime:
            await carried(runtime)
            held = [alert_id for alert_id in ids if await state_of(runtime, alert_id) == "held"]
            made = len(stage.irp.incidents)
            for alert_id in ids:
                stage.kuma.grow(alert_id)
            await carried(runtime)
            still = [alert_id for alert_id in ids if await state_of(runtime, alert_id) == "held"]
            more = [stage.kuma.raise_alert(events=1) for _ in range(3)]
            await carried(runtime)
            next_round = [bool(stage.incidents(alert_id)) for alert_id in more]

            released = await release(runtime)

    assert (made, len(held)) == (5, 7)
    assert still == held
    assert next_round == [True, True, True], "each round has a limit of its own"
    assert sorted(released) == sorted(held)
    assert len(stage.irp.incidents) == len(stage.wrote("create")) == 15
    assert stage.agrees(), stage.verdict()


async def test_what_the_brake_holds_and_an_operator_drops_is_held_no_longer(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, brake={"max_new": 1}) as stage, stage.runtime() as runtime:
        ids = [stage.kuma.raise_alert(events=1) for _ in range(2)]
        await carried(runtime)
        (held,) = [alert_id for alert_id in ids if await state_of(runtime, alert_id) == "held"]
        await tell(runtime, lambda tx: operator.drop(tx, held, by="cli"))
        state, released = await state_of(runtime, held), await release(runtime)

    assert (state, released) == ("ignored", [])
    assert stage.incidents(held) == []


async def test_ignored_alerts_that_change_count_with_the_new_ones(tmp_path: Path, sqlite_url: str) -> None:
    limit = datetime.now(UTC) - timedelta(days=1)
    sections = {"poll": {"ignore_before": limit.isoformat()}, "brake": {"max_new": 5}}
    async with staged(tmp_path, sqlite_url, **sections) as stage, stage.runtime() as runtime:
        old = [stage.kuma.raise_alert(seen=limit - timedelta(hours=1), events=1) for _ in range(12)]
        await carried(runtime)
        for alert_id in old:
            stage.kuma.edit(alert_id, assignee="i.petrova")
        new = [stage.kuma.raise_alert(events=1) for _ in range(2)]
        with capture_logs() as logs:
            await carried(runtime)
        made = len(stage.irp.incidents)
        held = [alert_id for alert_id in [*old, *new] if await state_of(runtime, alert_id) == "held"]
        for alert_id in held:
            stage.kuma.grow(alert_id)
        await carried(runtime)
        still = [alert_id for alert_id in [*old, *new] if await state_of(runtime, alert_id) == "held"]

        released = await release(runtime)

    assert (made, len(held)) == (5, 9)
    assert sum(line["held"] for line in logs if line["event"] == "brake_holds_creates") == 9
    assert still == held
    assert sorted(released) == sorted(held)
    assert len(stage.irp.incidents) == len(stage.wrote("create")) == 14
    assert stage.agrees(), stage.verdict()


async def test_a_complete_pass_that_leaves_something_held_says_so_by_its_exit_code(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, brake={"max_new": 2}) as stage:
        for _ in range(3):
            stage.kuma.raise_alert()

        codes = [await stage.run_once()]
        async with stage.runtime() as runtime:
            await release(runtime)
            counts = await ask(runtime, lambda tx: tx.overview.counts())
        codes.append(await stage.run_once())

    assert codes == [1, 0]
    assert (counts["held"], counts["open"]) == (0, 3)


async def test_a_held_create_whose_alert_is_closed_meanwhile_makes_nothing_until_released(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, brake={"max_new": 1}) as stage:
        for _ in range(3):
            stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await carried(runtime)
            for alert_id in stage.kuma.alerts:
                stage.kuma.close(alert_id, "responded")
            await carried(runtime)
            made = len(stage.irp.incidents)

            await release(runtime)

    assert made == 1
    assert [incident.status for incident in stage.irp.incidents.values()] == ["closed"] * 3
    assert stage.agrees(), stage.verdict()


async def test_alerts_no_longer_ignored_do_not_make_a_large_closing_look_small(tmp_path: Path, sqlite_url: str) -> None:
    kuma = {"statuses": ["new", "assigned", "closed"]}
    async with staged(tmp_path, sqlite_url, kuma=kuma, poll={"ignore_before": "2100-01-01T00:00:00Z"}) as stage:
        old = [stage.kuma.raise_alert() for _ in range(60)]
        async with stage.runtime() as runtime:
            await once(runtime)
        stage.configure(poll={"ignore_before": ""})
        async with stage.runtime() as runtime:
            ids = [stage.kuma.raise_alert() for _ in range(10)]
            await once(runtime)
            for alert_id in old:
                stage.kuma.assign(alert_id, "i.petrova")
            for alert_id in ids:
                stage.kuma.close(alert_id)

            await runtime.poller.poll_once()
            states = [await state_of(runtime, alert_id) for alert_id in ids]

    assert states == ["held"] * 10
