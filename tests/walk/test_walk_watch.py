"""Watching the IRP's list of closed incidents, however oddly it is dated, cut, moved and filled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from stage import Stage, ago, ask, change_profile, eventually, link_of, staged, state_of, tell, until_rest, without
from structlog.testing import capture_logs

from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.link import Doubt
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

UNBRAKED = {"max_closed_percent": 100}
BY_PAGE = 'offset = "{{ offset }}"', 'page = "{{ page }}"'


async def watched(runtime: Runtime, rounds: int = 1) -> str:
    """Watch so many rounds and carry what follows; return what the last one failed at."""
    trouble = ""
    for _ in range(rounds):
        trouble = ""
        try:
            await runtime.targets["irp"].watch.watch_once()
        except RemoteError as error:
            trouble = error.summary
        await until_rest(runtime)
    return trouble


def asked(stage: Stage) -> list[dict[str, str]]:
    """Return the parameters of every page asked for of the list of closed incidents."""
    lists = [request for request in stage.irp.requests if "status=closed" in request.query]
    return [{name: values[0] for name, values in parse_qs(request.query).items()} for request in lists]


def last_since(stage: Stage) -> datetime:
    """Return from when closed incidents were asked for last."""
    return datetime.fromisoformat(asked(stage)[-1]["updatedSince"])


def strangers(stage: Stage, count: int, *, first: datetime) -> list[str]:
    """Put so many closed incidents of others into the IRP, a second apart; return their ids."""
    ids = []
    for number in range(count):
        incident = stage.irp.create({"externalId": f"elsewhere:{first.timestamp()}:{number}"})
        stage.irp.analyst_close(incident.id, "Solved")
        incident.updated_at = first + timedelta(seconds=number)
        ids.append(incident.id)
    return ids


def close(stage: Stage, alert_id: str, resolution: str = "False positive", *, at: datetime | None = None) -> None:
    """Close an alert's incident at the desk, perhaps at another time than now."""
    incident = stage.incident(alert_id)
    stage.irp.analyst_close(incident.id, resolution)
    incident.updated_at = at or incident.updated_at


# A closing in two steps


async def test_a_resolution_that_comes_in_a_second_step_gives_the_reason(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        close(stage, alert_id, "")
        await watched(runtime)
        between = list(stage.kuma.close_calls)
        stage.irp.resolve(stage.incident(alert_id).id, "False positive")
        await watched(runtime)

    assert between == []
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


@pytest.mark.parametrize("resolution", ["", "  "])
async def test_an_empty_resolution_counts_as_the_default_one_round_later(
    tmp_path: Path, sqlite_url: str, resolution: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        close(stage, alert_id, resolution)
        closes = []
        for _ in range(3):
            await watched(runtime)
            closes.append(list(stage.kuma.closes))
        history = [entry.action for entry in await ask(runtime, lambda tx: tx.audit.history(AlertId(alert_id)))]

    assert closes == [[], [(alert_id, "responded")], [(alert_id, "responded")]]
    assert history.count("resolution_awaited") == history.count("incident_closed") == 1


async def test_an_awaited_resolution_is_remembered_over_restarts(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        close(stage, alert_id, "")
        await stage.passes()
        first = list(stage.kuma.closes)
        await stage.passes()

    assert (first, stage.kuma.closes) == ([], [(alert_id, "responded")])


async def test_an_awaited_closing_is_listed_again_however_long_ago_it_was(tmp_path: Path, sqlite_url: str) -> None:
    """The overlap is ten minutes, and the interval may be an hour."""
    async with staged(tmp_path, sqlite_url, brake=UNBRAKED) as stage, stage.runtime() as runtime:
        waits, decided = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        await once(runtime)
        close(stage, waits, "", at=ago(hours=2))
        close(stage, decided, "False positive")
        await watched(runtime)
        first = list(stage.kuma.closes)
        await watched(runtime)
        await watched(runtime)

    assert first == [(decided, "incorrect data")]
    assert stage.kuma.closes == [(decided, "incorrect data"), (waits, "responded")]


async def test_a_reopened_incident_is_waited_for_anew_when_it_is_closed_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        incident = stage.incident(alert_id)
        close(stage, alert_id, "")
        await watched(runtime)
        stage.irp.reopen(incident.id)
        await watched(runtime)
        close(stage, alert_id, "")
        await watched(runtime)
        between = list(stage.kuma.close_calls)
        stage.irp.resolve(incident.id, "False positive")
        await watched(runtime)

    assert between == []
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_find_looks_once_more_at_an_incident_closed_without_a_resolution(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False, "watch_interval": "1s"}) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("reset_after", method="POST", match="/incidents$", times=1)
        async with stage.runtime() as runtime:
            await once(runtime)
            close(stage, alert_id, "")
            looks = len(stage.irp.requests)
            await eventually(lambda: _worked(runtime, lambda: len(stage.irp.requests) > looks))
            waiting = (await link_of(runtime, alert_id)).doubt
            stage.irp.resolve(stage.incident(alert_id).id, "False positive")
            await until_rest(runtime)
            link = await link_of(runtime, alert_id)

    assert waiting is Doubt.AMBIGUOUS
    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert (link.incident_closed, link.alert_closed, link.unresolved_at) == (True, True, None)


async def _worked(runtime: Runtime, done: Callable[[], bool]) -> bool:
    await runtime.targets["irp"].deliveries.drain()
    return done()


# Dates


@pytest.mark.parametrize("date", ["absent", "soon", ""])
async def test_a_closing_dated_ahead_hides_no_later_one(tmp_path: Path, sqlite_url: str, date: str) -> None:
    async with staged(tmp_path, sqlite_url, brake=UNBRAKED) as stage:
        stage.irp.knobs.date = date
        first, second, third = (stage.kuma.raise_alert() for _ in range(3))
        async with stage.runtime() as runtime:
            await once(runtime)
            close(stage, first, at=datetime(2099, 1, 1, tzinfo=UTC))
            with capture_logs() as logged:
                await watched(runtime)
            close(stage, second)
            await watched(runtime)
            await runtime.leader.give_back()
        async with stage.runtime() as runtime:
            close(stage, third)
            await watched(runtime, 2)

    assert sorted(alert_id for alert_id, _ in stage.kuma.closes) == sorted([first, second, third])
    assert max(datetime.fromisoformat(page["updatedSince"]) for page in asked(stage)) <= datetime.now(UTC)
    assert [line["event"] for line in logged].count("irp_closings_dated_ahead") == 1


async def test_local_times_without_a_zone_three_hours_ahead_hide_no_closing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, brake=UNBRAKED) as stage, stage.runtime() as runtime:
        stage.irp.knobs.date, stage.irp.knobs.updated_form, stage.irp.knobs.updated_shift = "absent", "naive", 3 * 3600
        alerts = [stage.kuma.raise_alert() for _ in range(3)]
        await once(runtime)
        for alert_id in alerts:
            close(stage, alert_id)
            await watched(runtime)

    assert [alert_id for alert_id, _ in stage.kuma.closes] == alerts


@pytest.mark.parametrize("date", ["absent", ""])
async def test_a_stored_watch_mark_that_lies_ahead_is_taken_back_and_said(
    tmp_path: Path, sqlite_url: str, date: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        stage.irp.knobs.date = date
        close(stage, alert_id, at=ago(hours=3))
        async with stage.runtime() as runtime:
            ahead = datetime(2099, 1, 1, tzinfo=UTC)
            await tell(runtime, lambda tx: tx.targets.note_watched("irp", ahead))
            with capture_logs() as logged:
                await watched(runtime, 2)
            until = await ask(runtime, lambda tx: tx.targets.watched_until("irp"))
            audit = await ask(runtime, lambda tx: tx.audit.history(""))

    said = [line for line in logged if line["event"] == "watermark_taken_back"]
    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert until == stage.incident(alert_id).updated_at
    assert [(line["log_level"], line["side"]) for line in said] == [("warning", "irp")]
    assert [entry.action for entry in audit].count("watermark_taken_back") == 1


@pytest.mark.parametrize("date", ["absent", ""])
async def test_a_stored_watermark_of_kuma_that_lies_ahead_is_taken_back_and_said(
    tmp_path: Path, sqlite_url: str, date: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll={"sweep_interval": "1h"}) as stage:
        await stage.passes()
        stage.kuma.knobs.date = date
        ahead = datetime(2099, 1, 1, tzinfo=UTC)
        async with stage.runtime() as runtime:
            await tell(runtime, lambda tx: tx.cursor.move(watermark=ahead))
            with capture_logs() as logged:
                await runtime.poller.poll_once()
                await runtime.poller.poll_once()
            alert_id = stage.kuma.raise_alert()
            await runtime.poller.poll_once()
            state = await state_of(runtime, alert_id)
            audit = await ask(runtime, lambda tx: tx.audit.history(""))

    said = [line for line in logged if line["event"] == "watermark_taken_back"]
    assert state == "pending"
    assert [(line["log_level"], line["side"]) for line in said] == [("warning", "kuma")]
    assert [entry.action for entry in audit].count("watermark_taken_back") == 1


async def test_a_kuma_without_a_date_is_not_led_astray_by_an_alert_dated_ahead(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"sweep_interval": "1h"}) as stage, stage.runtime() as runtime:
        stage.kuma.knobs.date = "absent"
        stage.kuma.raise_alert(seen=datetime(2099, 1, 1, tzinfo=UTC))
        await runtime.poller.poll_once()
        alert_id = stage.kuma.raise_alert()
        await runtime.poller.poll_once()
        state = await state_of(runtime, alert_id)
        cursor = await ask(runtime, lambda tx: tx.cursor.read())

    assert state == "pending"
    assert cursor.watermark is not None
    assert cursor.watermark <= datetime.now(UTC)


@pytest.mark.parametrize("form", ["seconds", "seconds_text", "milliseconds", "milliseconds_text", "naive", "points"])
async def test_times_in_many_forms_keep_the_watch_from_reading_the_whole_history(
    tmp_path: Path, sqlite_url: str, form: Any
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.irp.knobs.updated_form = form
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        close(stage, alert_id)
        await watched(runtime, 2)

    told = stage.incident(alert_id).updated_at - timedelta(minutes=10)
    assert abs(last_since(stage) - told) <= timedelta(seconds=1)
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_times_that_nobody_reads_are_said_once_and_a_day_is_read_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, brake=UNBRAKED) as stage, stage.runtime() as runtime:
        stage.irp.knobs.updated_form = "slashes"
        alerts = [stage.kuma.raise_alert() for _ in range(2)]
        await once(runtime)
        with capture_logs() as logged:
            await tell(runtime, lambda tx: tx.targets.note_watched("irp", ago(days=40)))
            for alert_id in alerts:
                close(stage, alert_id)
                await watched(runtime, 2)

    said = [line for line in logged if line["event"] == "irp_closings_undated"]
    day_ago = datetime.now(UTC) - timedelta(days=1, minutes=10)
    assert abs(last_since(stage) - day_ago) < timedelta(minutes=1)
    assert [alert_id for alert_id, _ in stage.kuma.closes] == alerts
    assert [(line["log_level"], line["form"]) for line in said] == [("warning", "99/99/9999 99:99 AA")]


# Pages


@pytest.mark.parametrize("status", [404, 416])
@pytest.mark.parametrize("paged", ["by offset", "by page"])
async def test_a_page_behind_the_end_that_is_refused_is_the_end(
    tmp_path: Path, sqlite_url: str, status: int, paged: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        if paged == "by page":
            change_profile(stage, lambda text: text.replace(*BY_PAGE))
        stage.irp.knobs.past_end = status
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            strangers(stage, 99, first=ago(minutes=5))
            close(stage, alert_id)
            trouble = await watched(runtime)
            until = await ask(runtime, lambda tx: tx.targets.watched_until("irp"))

    assert trouble == ""
    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert until is not None


@pytest.mark.parametrize("fault", [{"code": 500}, {"code": 400}, {"code": 429, "headers": {"Retry-After": "1"}}])
async def test_what_was_read_is_applied_whatever_a_later_page_says(
    tmp_path: Path, sqlite_url: str, fault: dict[str, Any]
) -> None:
    async with staged(tmp_path, sqlite_url, brake=UNBRAKED) as stage, stage.runtime() as runtime:
        early, late = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        await once(runtime)
        close(stage, early, at=ago(hours=2))
        strangers(stage, 110, first=ago(hours=1))
        close(stage, late)
        stage.irp.faults.add("status", match="offset=100", **fault)
        trouble = await watched(runtime)
        between, until = list(stage.kuma.closes), await ask(runtime, lambda tx: tx.targets.watched_until("irp"))
        (told,) = [row for row in await ask(runtime, lambda tx: tx.audit.last_pass_by_kind()) if row.kind == "watch"]
        stage.irp.faults.clear()
        await eventually(lambda: _all_watched(runtime))

    assert str(fault["code"]) in trouble
    assert between == [(early, "incorrect data")]
    assert until is None
    assert (told.complete, told.seen, told.left, told.error) == (False, 100, 1, trouble)
    assert stage.kuma.closes == [(early, "incorrect data"), (late, "incorrect data")]


async def _all_watched(runtime: Runtime) -> bool:
    with suppress(Exception):
        return await watched(runtime) == ""
    return False


@pytest.mark.parametrize("paged", ["by offset", "by page"])
async def test_a_list_that_moves_while_it_is_paged_loses_no_closing(
    tmp_path: Path, sqlite_url: str, paged: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        if paged == "by page":
            change_profile(stage, lambda text: text.replace(*BY_PAGE))
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            listed = strangers(stage, 100, first=ago(hours=2))
            close(stage, alert_id, at=ago(hours=1))
            strangers(stage, 49, first=ago(minutes=50))
            stage.irp.knobs.reopened_between_pages = [listed[17]]
            trouble = await watched(runtime)

    assert trouble == ""
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_a_row_that_moves_from_behind_a_full_only_page_is_not_lost(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        listed = strangers(stage, 100, first=ago(hours=2))
        close(stage, alert_id, at=ago(hours=1))
        stage.irp.knobs.reopened_between_pages = [listed[17]]
        await watched(runtime)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_a_list_that_never_rests_ends_and_is_said(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        strangers(stage, 20, first=ago(hours=1))
        close(stage, alert_id)
        stage.irp.knobs.largest_page, stage.irp.knobs.joining = 10, 1
        trouble = await watched(runtime)
        until = await ask(runtime, lambda tx: tx.targets.watched_until("irp"))

    assert "kept moving" in trouble
    assert until is None
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


@pytest.mark.parametrize("paged", ["by offset", "by page"])
async def test_pages_cut_shorter_than_asked_for_are_read_to_the_end(
    tmp_path: Path, sqlite_url: str, paged: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        if paged == "by page":
            change_profile(stage, lambda text: text.replace(*BY_PAGE))
        stage.irp.knobs.largest_page = 20
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            strangers(stage, 47, first=ago(minutes=5))
            close(stage, alert_id)
            trouble = await watched(runtime)

    assert trouble == ""
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_a_row_hidden_after_the_cut_ends_no_list(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        listed = strangers(stage, 130, first=ago(minutes=5))
        stage.irp.knobs.hidden = {listed[5]}
        close(stage, alert_id)
        await watched(runtime)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_a_quiet_watch_costs_one_request_a_round_and_one_more_now_and_then(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        empty = len(asked(stage))
        await watched(runtime, 5)
        empty = len(asked(stage)) - empty
        close(stage, alert_id)
        news = len(asked(stage))
        await watched(runtime)
        news = len(asked(stage)) - news
        quiet = len(asked(stage))
        await watched(runtime, 100)
        quiet = len(asked(stage)) - quiet

    assert (empty, news) == (5, 2)
    assert quiet <= 110


# Whose closing it is


@pytest.mark.parametrize("profile", ["with find", "without find"])
async def test_a_moved_incidents_closing_is_carried_and_its_new_id_is_learnt(
    tmp_path: Path, sqlite_url: str, profile: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        if profile == "without find":
            change_profile(stage, without("find"))
        async with stage.runtime() as runtime:
            await once(runtime)
            moved = stage.irp.move(stage.incident(alert_id).id)
            close(stage, alert_id)
            await watched(runtime, 2)
            link = await link_of(runtime, alert_id)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert link.incident is not None
    assert (link.incident.id, link.incident_closed) == (moved, True)
    assert stage.wrote("close") == []


async def test_a_closed_duplicate_does_not_close_the_alert_of_an_open_incident(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        ours = stage.incident(alert_id).id
        duplicate = stage.irp.create({"externalId": f"kuma:kuma:{alert_id}"})
        stage.irp.analyst_close(duplicate.id, "Duplicate")
        await watched(runtime)
        finds = sum("externalId" in request.query for request in stage.irp.requests)
        await watched(runtime, 5)
        link = await link_of(runtime, alert_id)

    assert stage.kuma.close_calls == []
    assert link.incident is not None
    assert (link.incident.id, link.doubt) == (ours, None)
    assert sum("externalId" in request.query for request in stage.irp.requests) == finds, "what is decided is not asked"


async def test_where_key_and_id_name_two_alerts_find_decides(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, brake=UNBRAKED) as stage, stage.runtime() as runtime:
        closed, other = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        await once(runtime)
        taken = stage.incident(other).id
        elsewhere = stage.irp.move(taken)
        stage.irp.move(stage.incident(closed).id, to=taken)
        close(stage, closed)
        await watched(runtime, 2)
        links = [await link_of(runtime, each) for each in (closed, other)]

    assert stage.kuma.closes == [(closed, "incorrect data")]
    assert [link.incident.id for link in links if link.incident] == [taken, elsewhere]
    assert [link.incident_closed for link in links] == [True, False]


async def test_a_find_that_fails_leaves_the_closing_for_the_next_round(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, brake=UNBRAKED) as stage, stage.runtime() as runtime:
        moved, plain = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        await once(runtime)
        stage.irp.move(stage.incident(moved).id)
        for alert_id in (moved, plain):
            close(stage, alert_id)
        stage.irp.faults.add("status", code=500, match="externalId")
        trouble = await watched(runtime)
        first = list(stage.kuma.closes)
        until = await ask(runtime, lambda tx: tx.targets.watched_until("irp"))
        stage.irp.faults.clear()
        await watched(runtime)

    assert "500" in trouble
    assert first == [(plain, "incorrect data")]
    assert until is None
    assert sorted(stage.kuma.closes) == sorted([(moved, "incorrect data"), (plain, "incorrect data")])
