"""Alerts that an analyst took, or closed, before any read showed them; and those that are none of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from forked import command, fork
from stage import Stage, ago, ask, link_of, metric, polled, staged, state_of, until_rest
from structlog.testing import capture_logs

from kuma_sync.core.alert import AlertId
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sync import operator
from kuma_sync.sync.polling import recorder
from kuma_sync.sync.runtime.housekeeping import prune
from kuma_sync.telemetry.metrics import Metrics

SWEEPLESS = {"sweep_interval": "1h"}
TAKEN: dict[str, Callable[[KumaSim, str], object]] = {"assigned": KumaSim.assign, "escalated": KumaSim.escalate}


def let_time_pass(stage: Stage, **by: float) -> None:
    """Let KUMA's clock go on."""
    before = stage.kuma.clock
    stage.kuma.clock = lambda: before() + timedelta(**by)


def it_was_yesterday(stage: Stage) -> None:
    """Let KUMA live in the past, so that whatever happens next is later than what a read saw."""
    stage.kuma.clock = lambda: datetime.now(UTC) - timedelta(days=1)


@asynccontextmanager
async def read_once(folder: Path, database: str, **sections: dict[str, Any]) -> AsyncIterator[Stage]:
    """Open a stage whose store has read KUMA, a day before."""
    async with staged(folder, database, **sections) as stage:
        it_was_yesterday(stage)
        stage.kuma.raise_alert()
        await stage.passes()
        yield stage


# While the daemon was away


@pytest.mark.parametrize("status", list(TAKEN))
async def test_an_alert_raised_and_taken_while_the_daemon_is_off_becomes_an_incident(
    tmp_path: Path, sqlite_url: str, status: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert(seen=ago(hours=9))
        assert await stage.run_once() == 0
        stage.kuma.clock = lambda: datetime.now(UTC) + timedelta(seconds=3)
        alert_id = stage.kuma.raise_alert(events=4)
        TAKEN[status](stage.kuma, alert_id)
        code = await stage.run_once()
        stage.kuma.grow(alert_id, 2)
        stage.kuma.close(alert_id)
        assert await stage.run_once() == 0

    assert code == 0
    assert [body["alertStatus"] for _, body in stage.wrote("create") if body["alertStatus"] != "new"] == [status]
    assert len(stage.incident(alert_id).events) == 6
    assert stage.incident(alert_id).status == "closed"
    assert stage.agrees(), stage.verdict()


async def test_an_outage_of_eight_hours_loses_nothing_that_was_raised_and_taken(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with read_once(tmp_path, sqlite_url) as stage:
        stage.kuma.knobs.page_size = 20
        taken, closed, new = list[str](), list[str](), list[str]()
        for number in range(96):
            let_time_pass(stage, minutes=5)
            alert_id = stage.kuma.raise_alert(events=1)
            (taken, closed, new)[number % 3].append(alert_id)
            if number % 3 == 0:
                stage.kuma.assign(alert_id)
            elif number % 3 == 1:
                stage.kuma.close(alert_id)
        assert await stage.run_once() == 0
        async with stage.runtime() as runtime:
            states = {await state_of(runtime, alert_id) for alert_id in closed}

    assert [len(stage.incidents(alert_id)) for alert_id in (*taken, *new)] == [1] * 64
    assert [len(stage.incidents(alert_id)) for alert_id in closed] == [0] * 32
    assert states == {"missed"}


def pages_grow(stage: Stage, _ids: list[str]) -> None:
    """Cut the pages that follow so that rows in between are on none."""
    stage.kuma.knobs.page_size = 40


def a_row_goes(stage: Stage, ids: list[str]) -> None:
    """Take a row of the first page away, so that those behind it move up by one."""
    stage.kuma.delete(ids[-1])


MOVED: dict[str, Callable[[Stage, list[str]], None]] = {"pages grow": pages_grow, "a row goes": a_row_goes}


def late_listings(stage: Stage) -> list[str]:
    return [query for query in stage.queries() if "lastSeen" in query and "status=" not in query]


@pytest.mark.parametrize("how", list(MOVED))
async def test_what_an_outage_left_is_found_though_the_listing_moves_while_it_is_read(
    tmp_path: Path, sqlite_url: str, how: str
) -> None:
    async with read_once(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime() as runtime:
        stage.kuma.knobs.page_size = 10
        ids = list[str]()
        for _ in range(60):
            let_time_pass(stage, minutes=5)
            ids.append(stage.kuma.raise_alert(events=1))
        for alert_id in ids:
            stage.kuma.close(alert_id)
        moved = list[str]()

        def move(_page: int) -> None:
            if late_listings(stage) and not moved:
                moved.append(how)
                MOVED[how](stage, ids)

        stage.kuma.knobs.after_page = move
        await polled(runtime)
        states = {alert_id: await state_of(runtime, alert_id) for alert_id in ids}

    assert moved == [how]
    assert [alert_id for alert_id, state in states.items() if state != "missed"] == []


async def test_a_listing_that_shows_others_each_time_leaves_the_watermark_and_says_so(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with read_once(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime() as runtime:
        stage.kuma.knobs.page_size = 10
        began = (await ask(runtime, lambda tx: tx.cursor.read())).watermark
        let_time_pass(stage, hours=8)
        stage.kuma.raise_alert()

        def one_more(_page: int) -> None:
            if len(late_listings(stage)) < 40:
                long_ago = stage.kuma.clock() - timedelta(hours=2)
                stage.kuma.close(stage.kuma.raise_alert(events=1, seen=long_ago))

        stage.kuma.knobs.after_page = one_more
        with capture_logs() as logged:
            await runtime.poller.poll_once()
        stands = (await ask(runtime, lambda tx: tx.cursor.read())).watermark
        stage.kuma.knobs.after_page = lambda _page: None
        await polled(runtime)
        moved = (await ask(runtime, lambda tx: tx.cursor.read())).watermark

    assert [line["times"] for line in logged if line["event"] == "late_listing_unsettled"] == [5]
    assert stands == began
    assert began is not None
    assert moved is not None
    assert moved > began


async def test_what_was_closed_unread_is_recorded_counted_and_listed(tmp_path: Path, sqlite_url: str) -> None:
    metrics = Metrics()
    async with read_once(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        async with stage.runtime(metrics) as runtime:
            let_time_pass(stage, minutes=1)
            alert_id = stage.kuma.raise_alert()
            stage.kuma.close(alert_id, "incorrect data")
            before = len(stage.queries())
            for _ in range(3):
                await polled(runtime)
            by_id = [query for query in stage.queries()[before:] if "id=" in query]
            counted = metric(metrics, "alerts_total", change="missed")
            state = await state_of(runtime, alert_id)
            history = await ask(runtime, lambda tx: tx.audit.history(alert_id))
            watermark = (await ask(runtime, lambda tx: tx.cursor.read())).watermark
        listed = await _command(stage, "alerts", "--state", "missed")
        status = await _command(stage, "status")
        shown = await _command(stage, "show", alert_id)

    assert (stage.incidents(alert_id), by_id) == ([], [])
    assert (counted, metric(metrics, "alerts_total", change="new")) == (1, 0)
    assert state == "missed"
    assert [(entry.actor, entry.action, entry.detail) for entry in history] == [("kuma", "missed", "incorrect data")]
    assert watermark is not None
    assert watermark >= stage.kuma.clock() - timedelta(minutes=1)
    assert alert_id in listed
    assert "missed" in status
    assert "missed" in shown


async def test_with_unseen_all_what_was_closed_unread_is_created_and_closed(tmp_path: Path, sqlite_url: str) -> None:
    async with read_once(tmp_path, sqlite_url, poll={"unseen": "all"}) as stage:
        let_time_pass(stage, minutes=1)
        alert_id = stage.kuma.raise_alert(events=3)
        stage.kuma.close(alert_id, "incorrect data")
        before = len(stage.irp.writes)
        assert await stage.run_once() == 0
        assert await stage.run_once() == 0

    assert [(deed, body.get("reason")) for deed, _, body in stage.irp.writes[before:]] == [
        ("create", None),
        ("close", "incorrect data"),
    ]
    assert len(stage.incident(alert_id).events) == 3
    assert stage.kuma.close_calls == []
    assert stage.agrees(), stage.verdict()


async def test_with_unseen_all_and_no_closings_towards_the_irp_nothing_is_closed(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with read_once(tmp_path, sqlite_url, poll={"unseen": "all"}, close={"to_irp": False}) as stage:
        let_time_pass(stage, minutes=1)
        alert_id = stage.kuma.raise_alert()
        stage.kuma.close(alert_id)
        await stage.passes(2)

    assert stage.incident(alert_id).status == "open"
    assert stage.wrote("close") == []


async def test_with_unseen_none_what_was_taken_unread_waits_until_it_is_new_again(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with (
        read_once(tmp_path, sqlite_url, poll={**SWEEPLESS, "unseen": "none"}) as stage,
        stage.runtime() as runtime,
    ):
        let_time_pass(stage, minutes=1)
        back, away = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        for alert_id in (back, away):
            stage.kuma.assign(alert_id)
        await polled(runtime)
        for alert_id in (back, away):
            stage.kuma.grow(alert_id)
        await polled(runtime, sweep=True)
        waiting = [await state_of(runtime, alert_id) for alert_id in (back, away)]
        made = [*stage.incidents(back), *stage.incidents(away)]
        stage.kuma.unescalate(back)
        stage.kuma.close(away)
        await polled(runtime)
        await polled(runtime, sweep=True)
        states = [await state_of(runtime, alert_id) for alert_id in (back, away)]

    assert (waiting, made) == (["missed"] * 2, [])
    assert states == ["open", "missed"]
    assert len(stage.incident(back).events) == 4
    assert stage.incidents(away) == []


async def test_a_missed_alert_that_a_new_configuration_wants_comes_when_it_changes(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with read_once(tmp_path, sqlite_url, poll={**SWEEPLESS, "unseen": "none"}) as stage:
        let_time_pass(stage, minutes=1)
        alert_id = stage.kuma.raise_alert()
        stage.kuma.assign(alert_id)
        await stage.passes()
        stage.configure(poll={"unseen": "open"})
        await stage.passes()
        before = stage.incidents(alert_id)
        let_time_pass(stage, minutes=1)
        stage.kuma.grow(alert_id)
        await stage.passes()

    assert before == []
    assert len(stage.incident(alert_id).events) == 4


async def test_an_alert_taken_before_it_was_read_is_told_of_until_it_is_closed(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        read_once(tmp_path, sqlite_url, poll={**SWEEPLESS, "overlap": "5m"}) as stage,
        stage.runtime() as runtime,
    ):
        let_time_pass(stage, minutes=1)
        alert_id = stage.kuma.raise_alert()
        stage.kuma.assign(alert_id, "a.first")
        await polled(runtime)
        assignees = [stage.incident(alert_id).fields["assignee"]]
        for hour, who in enumerate(["b.second", "c.third"]):
            let_time_pass(stage, hours=1 + hour)
            stage.kuma.raise_alert()
            stage.kuma.edit(alert_id, assignee=who)
            await polled(runtime)
            await polled(runtime, sweep=True)
            assignees.append(stage.incident(alert_id).fields["assignee"])
        let_time_pass(stage, hours=1)
        stage.kuma.close(alert_id)
        await polled(runtime, sweep=True)

    assert assignees == ["a.first", "b.second", "c.third"]
    assert stage.incident(alert_id).status == "closed"


async def test_with_the_full_strategy_too_what_left_unread_becomes_an_incident(tmp_path: Path, sqlite_url: str) -> None:
    async with read_once(tmp_path, sqlite_url, poll={"strategy": "full"}) as stage:
        let_time_pass(stage, minutes=1)
        taken, closed = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        stage.kuma.escalate(taken)
        stage.kuma.close(closed)
        await stage.passes()
        async with stage.runtime() as runtime:
            state = await state_of(runtime, closed)

    assert len(stage.incident(taken).events) == 3
    assert (stage.incidents(closed), state) == ([], "missed")


async def test_where_many_share_the_newest_second_what_left_unread_is_seen_too(tmp_path: Path, sqlite_url: str) -> None:
    async with read_once(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime() as runtime:
        let_time_pass(stage, minutes=1)
        second = stage.kuma.clock().replace(microsecond=0)
        for _ in range(60):
            stage.kuma.raise_alert(seen=second, events=0)
        await polled(runtime)
        before = len(stage.queries())
        taken = stage.kuma.raise_alert(seen=second)
        stage.kuma.assign(taken)
        await polled(runtime)

    assert stage.queries()[before].startswith("timestampField=lastSeen"), "there is no window"
    assert len(stage.incident(taken).events) == 3


# The first read


async def test_what_was_there_before_the_first_read_is_left_alone_and_costs_nothing(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = list[bytes]()
    parse = recorder.parse_in_turns

    async def counted(raw: bytes, **how: Any) -> Any:
        parsed.append(raw)
        return await parse(raw, **how)

    monkeypatch.setattr(recorder, "parse_in_turns", counted)
    async with staged(tmp_path, sqlite_url, poll={**SWEEPLESS, "unseen": "all"}) as stage:
        ids = [stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(4)]
        new, back, assigned, closed = ids
        for alert_id in (back, assigned):
            stage.kuma.assign(alert_id)
        stage.kuma.close(closed)
        await stage.passes(2)
        async with stage.runtime() as runtime:
            await polled(runtime, sweep=True)
            stage.kuma.grow(assigned)
            await polled(runtime)
            del parsed[:]
            before = len(stage.queries())
            for sweep in (False, True, False):
                await polled(runtime, sweep=sweep)
            quiet, asked = list(parsed), stage.queries()[before:]
            known = await ask(runtime, lambda tx: tx.links.all_ids())
            stage.kuma.unescalate(back)
            await polled(runtime)

    assert quiet == []
    assert not any("id=" in query for query in asked)
    assert known == [new]
    assert stage.incident(back)
    assert stage.incidents(assigned) == stage.incidents(closed) == []


async def test_an_alert_taken_while_the_first_read_runs_becomes_an_incident(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime() as runtime:
        stage.kuma.knobs.page_size = 2
        for minutes in range(5):
            stage.kuma.raise_alert(seen=ago(minutes=minutes))
        taken = list[str]()

        def take_one(page: int) -> None:
            if page == 2 and not taken:
                taken.append(stage.kuma.raise_alert(seen=stage.kuma.clock() + timedelta(seconds=1)))
                stage.kuma.assign(taken[0])

        stage.kuma.knobs.after_page = take_one
        await polled(runtime)
        at_once = stage.incidents(taken[0])
        await polled(runtime)

    assert at_once == []
    assert len(stage.incident(taken[0]).events) == 3


async def test_a_first_read_that_broke_off_is_when_the_store_was_first_read(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        it_was_yesterday(stage)
        stage.kuma.knobs.page_size = 2
        for _ in range(5):
            stage.kuma.raise_alert()
        stage.kuma.faults.add("status", code=500, match="page=2", times=3)
        troubles = await stage.passes()
        let_time_pass(stage, hours=5)
        taken = stage.kuma.raise_alert()
        stage.kuma.assign(taken)
        let_time_pass(stage, hours=5)
        stage.kuma.raise_alert()
        await stage.passes()

    assert len(troubles) == 1
    assert len(stage.incident(taken).events) == 3
    assert len(stage.irp.incidents) == 7


async def test_a_kuma_that_was_empty_at_first_loses_nothing_afterwards(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        it_was_yesterday(stage)
        await stage.passes()
        let_time_pass(stage, hours=3)
        taken = stage.kuma.raise_alert()
        stage.kuma.assign(taken)
        let_time_pass(stage, hours=3)
        await stage.passes()

    assert len(stage.incident(taken).events) == 3


async def test_the_first_read_is_told_by_kumas_clock_and_not_by_ours(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.clock = lambda: datetime.now(UTC) - timedelta(hours=7)
        there = stage.kuma.raise_alert(seen=stage.kuma.clock() - timedelta(minutes=5))
        stage.kuma.assign(there)
        await stage.passes()
        let_time_pass(stage, seconds=1)
        after = stage.kuma.raise_alert()
        stage.kuma.assign(after)
        await stage.passes()

    assert stage.incidents(there) == []
    assert stage.incident(after)


async def test_a_first_read_that_lies_ahead_of_kumas_clock_is_taken_back(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert(seen=ago(minutes=10))
        stage.kuma.knobs.clock_skew = 86_400 * 365
        await stage.passes()
        stage.kuma.knobs.clock_skew = 0
        await stage.passes()
        stage.kuma.clock = lambda: datetime.now(UTC) + timedelta(seconds=3)
        taken = stage.kuma.raise_alert()
        stage.kuma.assign(taken)
        await stage.passes()

    assert stage.incident(taken)


# What is asked for, now and then


async def test_statuses_that_are_asked_for_later_bring_what_was_left_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        there, closed = stage.kuma.raise_alert(seen=ago(days=3)), stage.kuma.raise_alert(seen=ago(days=3))
        stage.kuma.assign(there)
        stage.kuma.close(closed)
        await stage.passes()
        before = stage.incidents(there)
        stage.configure(kuma={"statuses": ["new", "assigned"]})
        await stage.passes()

    assert before == []
    assert len(stage.incident(there).events) == 3
    assert stage.incidents(closed) == []


async def test_statuses_that_are_no_longer_asked_for_lose_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with read_once(tmp_path, sqlite_url, kuma={"statuses": ["new", "assigned"]}) as stage:
        let_time_pass(stage, minutes=1)
        known = stage.kuma.raise_alert()
        stage.kuma.assign(known)
        await stage.passes()
        stage.configure(kuma={"statuses": ["new"]})
        unknown = stage.kuma.raise_alert()
        stage.kuma.assign(unknown)
        stage.kuma.edit(known, name="Another name")
        await stage.passes()

    assert stage.incident(known).fields["title"] == "Another name"
    assert stage.incident(unknown)
    assert stage.agrees(), stage.verdict()


async def test_where_new_alerts_are_not_asked_for_nobody_makes_incidents_of_them(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with read_once(tmp_path, sqlite_url, kuma={"statuses": ["escalated"]}, poll={"unseen": "all"}) as stage:
        let_time_pass(stage, minutes=1)
        new, assigned, escalated, closed = (stage.kuma.raise_alert() for _ in range(4))
        stage.kuma.assign(assigned)
        stage.kuma.escalate(escalated)
        stage.kuma.close(closed)
        await stage.passes(2)
        async with stage.runtime() as runtime:
            states = [await state_of(runtime, alert_id) for alert_id in (new, assigned, escalated, closed)]

    assert states == [None, None, "open", None]


async def test_a_tenant_that_is_asked_for_later_counts_from_the_stores_first_read(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        it_was_yesterday(stage)
        main = stage.kuma.alerts[stage.kuma.raise_alert(tenant="Main")]["tenantID"]
        stage.configure(kuma={"tenants": [main]})
        await stage.passes()
        let_time_pass(stage, minutes=1)
        other = stage.kuma.raise_alert(tenant="Branch")
        stage.kuma.assign(other)
        await stage.passes()
        before = stage.incidents(other)
        stage.configure(kuma={"tenants": [main, stage.kuma.alerts[other]["tenantID"]]})
        await stage.passes()

    assert before == []
    assert stage.incident(other)


async def test_what_is_older_than_ignore_before_is_ignored_unread_or_not(tmp_path: Path, sqlite_url: str) -> None:
    async with read_once(tmp_path, sqlite_url) as stage:
        let_time_pass(stage, minutes=1)
        limit = stage.kuma.clock() + timedelta(minutes=1)
        stage.configure(poll={"ignore_before": limit.isoformat()})
        taken, closed, seen = (stage.kuma.raise_alert() for _ in range(3))
        stage.kuma.assign(taken)
        stage.kuma.close(closed)
        await stage.passes()
        async with stage.runtime() as runtime:
            ignored = [await state_of(runtime, alert_id) for alert_id in (taken, closed, seen)]
        stage.kuma.close(seen)
        let_time_pass(stage, minutes=2)
        stage.kuma.grow(taken)
        await stage.passes()
        async with stage.runtime() as runtime:
            states = [await state_of(runtime, alert_id) for alert_id in (taken, closed, seen)]

    assert ignored == ["ignored"] * 3
    assert states == ["open", "ignored", "ignored"]
    assert len(stage.incident(taken).events) == 4


# The usual rules


async def test_the_brake_holds_what_left_unread_as_it_holds_everything(tmp_path: Path, sqlite_url: str) -> None:
    brake = {"max_new": 5, "min_alerts": 3}
    async with read_once(tmp_path, sqlite_url, poll={"unseen": "all"}, brake=brake) as stage:
        let_time_pass(stage, minutes=1)
        ids = [stage.kuma.raise_alert() for _ in range(9)]
        for alert_id in ids:
            stage.kuma.close(alert_id)
        await stage.passes()
        made = [alert_id for alert_id in ids if stage.incidents(alert_id)]
        closings = stage.wrote("close")
        async with stage.runtime() as runtime:
            with runtime.store.writing() as tx:
                operator.release(tx, by="test")
        await stage.passes()

    assert (len(made), closings) == (5, [])
    assert [stage.incident(alert_id).status for alert_id in ids] == ["closed"] * 9


async def test_what_left_unread_is_looked_for_before_it_is_created(tmp_path: Path, sqlite_url: str) -> None:
    """It may have been known, and forgotten after `store.retention`."""
    async with read_once(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime() as runtime:
        await polled(runtime, sweep=True)
        let_time_pass(stage, minutes=1)
        alert_id = stage.kuma.raise_alert()
        stage.kuma.assign(alert_id)
        stage.irp.create({"externalId": f"kuma:kuma:{alert_id}", "title": "made before"})
        await polled(runtime)

    assert len(stage.incidents(alert_id)) == 1
    assert stage.incident(alert_id).fields["title"] == stage.kuma.alerts[alert_id]["name"]


async def test_a_missed_alert_is_made_and_closed_where_an_operator_wants_it(tmp_path: Path, sqlite_url: str) -> None:
    async with read_once(tmp_path, sqlite_url) as stage:
        let_time_pass(stage, minutes=1)
        alert_id, dropped = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        for one in (alert_id, dropped):
            stage.kuma.close(one)
        await stage.passes()
        async with stage.runtime() as runtime:
            everything = await ask(runtime, lambda tx: tx.links.all_ids())
            with runtime.store.writing() as tx:
                operator.resync(tx, [AlertId(alert_id)], by="test")
                operator.drop(tx, dropped, by="test")
            await runtime.targets["irp"].deliveries.drain()
            states = [await state_of(runtime, one) for one in (alert_id, dropped)]
        await stage.passes()

    assert AlertId(alert_id) not in everything, "`resync --all` leaves it alone"
    assert states == ["open", "ignored"]
    assert stage.incident(alert_id).status == "closed"
    assert stage.incidents(dropped) == []


async def test_missed_alerts_are_pruned_when_no_listing_shows_them(tmp_path: Path, sqlite_url: str) -> None:
    metrics = Metrics()
    async with read_once(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime(metrics) as runtime:
        let_time_pass(stage, minutes=1)
        alert_id = stage.kuma.raise_alert()
        stage.kuma.close(alert_id)
        await polled(runtime, sweep=True)

        async def pruned() -> int:
            return await prune(runtime.store, timedelta(), overlap=timedelta(minutes=30))

        listed = await pruned()
        await polled(runtime, sweep=True)
        let_time_pass(stage, hours=1)
        stage.kuma.raise_alert()
        await polled(runtime, sweep=True)
        later = await pruned()
        state = await state_of(runtime, alert_id)
        await polled(runtime)

    assert (listed, later) == (0, 1)
    assert state is None
    assert metric(metrics, "alerts_total", change="missed") == 1


async def test_a_settled_alert_that_the_late_listing_shows_is_not_forgotten(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        read_once(tmp_path, sqlite_url, poll={**SWEEPLESS, "unseen": "all"}) as stage,
        stage.runtime() as runtime,
    ):
        let_time_pass(stage, minutes=1)
        alert_id = stage.kuma.raise_alert()
        await polled(runtime)
        stage.kuma.close(alert_id)
        await polled(runtime, sweep=True)
        removed = await prune(runtime.store, timedelta(), overlap=timedelta(minutes=30))
        await polled(runtime, sweep=True)
        link = await link_of(runtime, alert_id)

    assert removed == 0
    assert (link.alert_closed, link.incident_closed) == (True, True)
    assert len(stage.wrote("create")) == 2


async def test_what_left_unread_is_told_though_the_process_died_before_it_had_its_contents(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with read_once(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        let_time_pass(stage, minutes=1)
        alert_id = stage.kuma.raise_alert()
        stage.kuma.assign(alert_id)
        stage.kuma.faults.add("status", code=500, match="id=")
        async with stage.runtime() as runtime:
            with pytest.raises(Exception, match="500"):
                await runtime.poller.poll_once()
        stage.kuma.faults.clear()
        async with stage.runtime() as runtime:
            await runtime.poller.poll_once()
            await until_rest(runtime)

    assert len(stage.incident(alert_id).events) == 3


async def _command(stage: Stage, *words: str) -> str:
    said = stage.folder / f"{words[0]}.txt"
    assert await fork(said, command, *words, "-c", str(stage.config)).wait() == 0, said.read_text()
    return said.read_text()
