"""What is asked of KUMA when, and what a window may hide: late, tied, shifting, huge and strange alerts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from stage import ago, ask, metric, parked, polled, staged, state_of

from kuma_sync.sim.values import whole_second
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.metrics import Metrics

SWEEPLESS = {"sweep_interval": "1h"}


# Which request when


async def test_each_read_asks_exactly_what_the_contract_says(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        first_seen = ago(hours=1)
        alert_id = stage.kuma.raise_alert(seen=first_seen)
        asked = list[list[str]]()
        async with stage.runtime() as runtime:
            for _ in range(3):
                await polled(runtime)
                asked.append(stage.queries()[sum(map(len, asked)) :])
            await polled(runtime, sweep=True)
            asked.append(stage.queries()[sum(map(len, asked)) :])
            stage.kuma.edit(alert_id, name="Another name")
            await polled(runtime)
            asked.append(stage.queries()[sum(map(len, asked)) :])
            stage.kuma.assign(alert_id)
            await polled(runtime, sweep=True)
            asked.append(stage.queries()[sum(map(len, asked)) :])
        async with stage.runtime() as runtime:
            await polled(runtime)
            asked.append(stage.queries()[sum(map(len, asked)) :])

    flags = "withEvents&withAffected"
    window = f"{flags}&status=new&timestampField=lastSeen&from={whole_second(first_seen)}&page=1"
    late = f"timestampField=lastSeen&from={whole_second(first_seen - timedelta(minutes=30))}&page=1"
    sweep = "status=new&timestampField=firstSeen&page=1"
    contents, status = f"{flags}&id={alert_id}&page=1", f"id={alert_id}&page=1"

    def both(query: str) -> list[str]:
        return [query, query.replace("page=1", "page=2")]

    assert asked[0] == both(f"{flags}&status=new&page=1"), "the first read of a store"
    assert asked[1] == [*both(window), *both(late)], "no page was larger so far: is there another one?"
    assert asked[2] == [window, late], "a quiet poll"
    assert asked[3] == [window, late, *both(sweep)], "a poll with a sweep, which ends at an empty page"
    assert asked[4] == [*both(window), *both(late)], "the window showed the edit with its contents"
    assert asked[5] == [window, *both(late), sweep, contents], "the late listing shows what left, whatever its status"
    assert asked[6] == [window, *both(late), sweep, status], "what a sweep did not show is asked for by id"


async def test_tenants_go_along_with_every_read_and_affected_only_where_wanted(tmp_path: Path, sqlite_url: str) -> None:
    tenants = ["t-1", "tenant two"]
    kuma = {"tenants": tenants, "with_affected": False, "statuses": ["new", "assigned"], "api_version": "v3"}
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS, kuma=kuma) as stage:
        alert_id = stage.kuma.raise_alert(seen=ago(hours=1))
        stage.kuma.edit(alert_id, tenantID="t-1")
        async with stage.runtime() as runtime:
            await polled(runtime)
            stage.kuma.close(alert_id)
            await polled(runtime, sweep=True)

    scope = "status=new&status=assigned&tenantID=t-1&tenantID=tenant%20two"
    tenant = "tenantID=t-1&tenantID=tenant%20two"
    assert stage.queries()[0] == f"withEvents&{scope}&page=1"
    assert f"{scope}&timestampField=firstSeen&page=1" in stage.queries()
    assert any(query.startswith(f"{tenant}&timestampField=lastSeen&from=") for query in stage.queries())
    assert f"withEvents&{tenant}&id={quote(alert_id)}&page=1" in stage.queries()
    assert not any("withAffected" in query for query in stage.queries())
    assert {request.path for request in stage.kuma.requests} == {"/api/v3/alerts/"}
    assert "assets" not in stage.incident(alert_id).fields


async def test_the_full_strategy_lists_everything_with_its_contents_at_every_poll(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll={"strategy": "full"}) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            for _ in range(3):
                await polled(runtime)
            quiet = list(stage.queries())
            stage.kuma.close(alert_id)
            await polled(runtime)

    full = [f"withEvents&withAffected&status=new&page={page}" for page in (1, 2)]
    assert [query for query in quiet if "lastSeen" not in query] == full * 3
    assert len(quiet) == 6 + 2 + 1, "and the late listing: what left before any read showed it"
    assert stage.incident(alert_id).status == "closed", "a full read is a complete sweep"
    assert len(stage.wrote("create")) == 1


@pytest.mark.parametrize("order", ["earlier, later", "later, earlier, later"])
async def test_of_two_copies_in_one_page_the_later_one_wins_at_every_read(
    order: str, tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll={"strategy": "full"}) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(name="as it was")
        copies = {"earlier": dict(stage.kuma.alerts[alert_id])}
        stage.kuma.edit(alert_id, name="as it is")
        copies["later"] = stage.kuma.alerts[alert_id]
        page = json.dumps([copies[name] for name in order.split(", ")])
        stage.kuma.faults.add("status", code=200, match="/alerts/?", body=page)
        for _ in range(3):
            await polled(runtime)
            await runtime.targets["irp"].deliveries.drain()

    assert "as it is" in stage.incident(alert_id).fields["title"]
    assert len(stage.wrote()) == len(stage.wrote("create")) == 1


async def test_no_more_than_fifty_ids_are_asked_for_at_once(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS, brake={"max_new": 1}) as stage, stage.runtime() as runtime:
        await polled(runtime)
        stage.kuma.raise_alert()
        await polled(runtime)
        for _ in range(120):
            stage.kuma.raise_alert(seen=ago(minutes=10), events=1)
        before = len(stage.queries())
        await polled(runtime)
        counts = await ask(runtime, lambda tx: tx.overview.counts())

    by_id = [
        query.count("id=") for query in stage.queries()[before:] if query.startswith("withEvents&withAffected&id=")
    ]
    assert by_id == [50, 50, 20]
    assert (counts["open"], counts["held"]) == (2, 119)


# What a window hides


async def test_an_alert_published_late_arrives_at_the_next_poll_and_is_counted(tmp_path: Path, sqlite_url: str) -> None:
    metrics = Metrics()
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        stage.kuma.raise_alert()
        async with stage.runtime(metrics) as runtime:
            await polled(runtime)
            late = stage.kuma.raise_alert(seen=ago(minutes=25))
            await polled(runtime)
            counted = metric(metrics, "late_alerts_total")
            stage.kuma.raise_alert()
            await polled(runtime)

    assert len(stage.incident(late).events) == 3
    assert (counted, metric(metrics, "late_alerts_total")) == (1, 1)


async def test_an_alert_published_later_than_the_overlap_is_found_by_the_sweep(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await polled(runtime)
            late = stage.kuma.raise_alert(seen=ago(hours=5))
            await polled(runtime)
            before = stage.incidents(late)
            await polled(runtime, sweep=True)

    assert before == []
    assert len(stage.incident(late).events) == 3


async def test_growth_within_the_watermarks_second_is_seen_at_once(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        second = ago(minutes=1)
        ids = [stage.kuma.raise_alert(seen=second, events=1) for _ in range(10)]
        async with stage.runtime() as runtime:
            await polled(runtime)
            grown = stage.kuma.grow(ids[3], 2, move_last_seen=False)
            await polled(runtime)

    ((incident_id, body),) = stage.wrote("update")
    assert incident_id == stage.incident(ids[3]).id
    assert [event["ID"] for event in body["events"]] == grown


async def test_sixty_alerts_of_one_second_are_listed_first_and_read_only_where_they_differ(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll={**SWEEPLESS, "overlap": "5m"}) as stage:
        second = ago(minutes=3)
        ids = [stage.kuma.raise_alert(seen=second, events=1, priority="low") for _ in range(60)]
        async with stage.runtime() as runtime:
            await polled(runtime)
            await polled(runtime)
            before = len(stage.queries())
            await polled(runtime)
            quiet = stage.queries()[before:]
            grown = stage.kuma.grow(ids[7], 2, move_last_seen=False)
            stage.kuma.edit(ids[8], priority="critical")
            late_to_the_party = stage.kuma.raise_alert(seen=second)
            await polled(runtime)
            edits = stage.wrote("update")
            stage.kuma.clock = lambda: datetime.now(UTC) + timedelta(minutes=3)
            stage.kuma.raise_alert()
            await polled(runtime)

    assert [query.split("&from")[0] for query in quiet] == ["timestampField=lastSeen"], "without events"
    assert [id_ for id_, _ in edits] == [stage.incident(ids[8]).id]
    assert stage.incident(late_to_the_party)
    bodies = [body for id_, body in stage.wrote("update") if id_ == stage.incident(ids[7]).id]
    assert [[event["ID"] for event in body["events"]] for body in bodies] == [grown], "seen when it left the overlap"
    assert stage.agrees(), stage.verdict()


async def test_an_alert_dated_tomorrow_does_not_hide_todays(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        tomorrow = stage.kuma.raise_alert(seen=ago(days=-1))
        async with stage.runtime() as runtime:
            await polled(runtime)
            today = stage.kuma.raise_alert()
            await polled(runtime)
            cursor = await ask(runtime, lambda tx: tx.cursor.read())
            grown = stage.kuma.grow(tomorrow)
            await polled(runtime)

    assert stage.incident(today)
    assert cursor.watermark is not None
    assert cursor.watermark <= datetime.now(UTC) + timedelta(seconds=2)
    assert [event["ID"] for event in stage.incident(tomorrow).events][-1:] == grown


async def test_a_clock_of_ours_that_is_wrong_by_hours_changes_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        stage.kuma.clock = lambda: datetime.now(UTC) - timedelta(hours=7)
        stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await polled(runtime)
            second = stage.kuma.raise_alert()
            await polled(runtime)

    assert stage.incident(second)
    assert stage.agrees(), stage.verdict()


async def test_pages_that_shift_while_they_are_read_lose_and_double_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        ids = [stage.kuma.raise_alert(seen=ago(minutes=number), events=1) for number in range(252)]

        def shift(page: int) -> None:
            if page == 1:
                for alert_id in ids[249:]:
                    stage.kuma.grow(alert_id)
                for alert_id in ids[:3]:
                    stage.kuma.assign(alert_id)

        stage.kuma.knobs.after_page = shift
        async with stage.runtime() as runtime:
            await polled(runtime)
            stage.kuma.knobs.after_page = None
            await polled(runtime, sweep=True)
            await polled(runtime, sweep=True)

    assert len(stage.irp.incidents) == len(stage.wrote("create")) == 252
    assert stage.wrote("close") == []
    assert stage.agrees(), stage.verdict()


async def test_a_kuma_that_ignores_page_ends_and_is_reported_as_not_complete(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, brake={"max_new": 1}) as stage:
        for _ in range(251):
            stage.kuma.raise_alert(events=0)
        stage.kuma.knobs.clamp_page = True
        async with stage.runtime() as runtime:
            round_ = await runtime.poller.poll_once()
            passes = await ask(runtime, lambda tx: tx.audit.last_passes(5))
            cursor = await ask(runtime, lambda tx: tx.cursor.read())
            counts = await ask(runtime, lambda tx: tx.overview.counts())
            troubles = await once(runtime)

    assert "repeated" in round_.incomplete
    assert [read.complete for read in passes] == [False]
    assert (cursor.swept_at, cursor.sweep) == (None, 0)
    assert counts["gone"] == 0
    assert len(troubles) == 1
    assert troubles[0].startswith("kuma: ")


async def test_an_alert_that_leaves_new_and_comes_back_is_the_same_alert(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await polled(runtime)
            stage.kuma.escalate(alert_id)
            await polled(runtime, sweep=True)
            away = dict(stage.incident(alert_id).fields)
            stage.kuma.unescalate(alert_id)
            await polled(runtime, sweep=True)
            state = await state_of(runtime, alert_id)

    assert away["alertStatus"] == "escalated"
    assert stage.incident(alert_id).fields["alertStatus"] == "new"
    assert stage.incident(alert_id).status == "open"
    assert state == "open"


async def test_a_gone_alert_that_is_closed_when_it_comes_back_closes_its_incident(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await polled(runtime)
            kept = stage.kuma.alerts[alert_id]
            stage.kuma.delete(alert_id)
            await polled(runtime, sweep=True)
            gone = await state_of(runtime, alert_id)
            stage.kuma.load([{**kept, "status": "closed", "closingReason": "responded"}])
            await polled(runtime, sweep=True)
            state = await state_of(runtime, alert_id)

    assert (gone, state) == ("gone", "closed")
    assert stage.incident(alert_id).status == "closed"


# What is too large or too strange


async def test_an_oversize_alert_goes_without_events_and_its_neighbours_with_theirs(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll={**SWEEPLESS, "max_alert_size": "20KB"}) as stage:
        small, large = stage.kuma.raise_alert(events=2), stage.kuma.raise_alert(events=60)
        async with stage.runtime() as runtime:
            await polled(runtime)
            between = stage.kuma.raise_alert(events=60)
            await polled(runtime)
            await polled(runtime, sweep=True)

    for alert_id in (large, between):
        incident = stage.incident(alert_id)
        assert incident.events == []
        assert "eventsTotal" not in incident.fields
        assert "larger than the size limit" in incident.fields["description"]
        assert incident.fields["title"] == stage.kuma.alerts[alert_id]["name"]
    assert len(stage.incident(small).events) == 2
    assert len(stage.irp.writes) == 3


async def test_with_a_limit_that_no_alert_keeps_all_go_without_events_and_none_is_gone(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll={"max_alert_size": "300B"}) as stage, stage.runtime() as runtime:
        first = stage.kuma.raise_alert()
        await polled(runtime)
        second = stage.kuma.raise_alert()
        for _ in range(2):
            await polled(runtime, sweep=True)
        states = [await state_of(runtime, alert_id) for alert_id in (first, second)]

    assert states == ["open", "open"]
    assert [stage.incident(alert_id).events for alert_id in (first, second)] == [[], []]


async def test_what_is_too_large_even_in_a_listing_is_parked_and_not_gone(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"max_alert_size": "20KB"}) as stage, stage.runtime() as runtime:
        grown = stage.kuma.raise_alert()
        await polled(runtime)
        stage.kuma.edit(grown, name="x" * 2_000_000)
        stage.kuma.raise_alert(name="y" * 2_000_000)
        neighbour = stage.kuma.raise_alert()
        for _ in range(2):
            await polled(runtime, sweep=True)
        pieces = await ask(runtime, lambda tx: tx.rejects.waiting())
        state = await state_of(runtime, grown)

    assert [piece.reason.split(":")[0] for piece in pieces] == ["too large even without events"] * 2
    assert state == "open"
    assert len(stage.incident(neighbour).events) == 3


async def test_twelve_hundred_events_travel_as_a_create_and_two_batches(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"max_events": 0}) as stage:
        alert_id = stage.kuma.raise_alert(events=1200)
        async with stage.runtime() as runtime:
            await polled(runtime)
            await polled(runtime, sweep=True)

    assert [(deed, len(body["events"])) for deed, _, body in stage.irp.writes] == [
        ("create", 500),
        ("add_events", 500),
        ("add_events", 200),
    ]
    assert stage.incident(alert_id).events == stage.kuma.alerts[alert_id]["events"]


async def test_of_many_events_the_newest_are_passed_on_and_the_rest_is_counted(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"max_events": 10}) as stage:
        alert_id = stage.kuma.raise_alert(events=25)
        async with stage.runtime() as runtime:
            await polled(runtime)

    incident = stage.incident(alert_id)
    assert len(incident.events) == 10
    assert incident.fields["eventsTotal"] == 25


async def test_a_body_that_is_too_large_is_halved_until_it_fits(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"max_events": 0}) as stage:
        alert_id = stage.kuma.raise_alert(events=300)
        stage.irp.knobs.max_body = 150_000
        async with stage.runtime() as runtime:
            await polled(runtime)
            jobs = await parked(runtime)

    assert jobs == []
    assert stage.incident(alert_id).events == stage.kuma.alerts[alert_id]["events"]
    assert any(request.status == 413 for request in stage.irp.requests)
    assert len(stage.incidents(alert_id)) == 1


async def test_what_is_no_alert_is_parked_once_and_the_others_are_delivered(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        ids = [stage.kuma.raise_alert() for _ in range(3)]
        stage.kuma.knobs.strays = [None, 5, {"name": "without an id"}, {"id": None}, {"id": ""}, "text"]
        metrics = Metrics()
        async with stage.runtime(metrics) as runtime:
            for _ in range(3):
                await polled(runtime, sweep=True)
            pieces = await ask(runtime, lambda tx: tx.rejects.waiting())
        await stage.passes()
        async with stage.runtime() as runtime:
            after = await ask(runtime, lambda tx: tx.rejects.waiting())

    assert len(pieces) == len({piece.digest for piece in pieces}) == 6
    assert [piece.digest for piece in after] == [piece.digest for piece in pieces]
    assert metric(metrics, "alerts_total", change="rejected") == 6
    assert all(stage.incident(alert_id) for alert_id in ids)


@pytest.mark.parametrize(
    "quirks",
    [
        {"numeric_priority": True, "fraction_seconds": True, "without_events": "null", "gzip": True},
        {"flat_events": True, "fqdn_array": True, "without_events": "absent", "html_escape": True},
        {"rfc3339_event_time": True, "past_end_null": True, "piece": 700, "content_type": "text/plain"},
    ],
    ids=", ".join,
)
async def test_a_kuma_with_quirks_is_understood_and_not_taken_for_changed(
    tmp_path: Path, sqlite_url: str, quirks: dict[str, object]
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        for name, value in quirks.items():
            setattr(stage.kuma.knobs, name, value)
        ids = [stage.kuma.raise_alert(priority=priority) for priority in ("low", "critical")]
        for _ in range(3):
            await polled(runtime, sweep=True)
        stage.kuma.grow(ids[0])
        await polled(runtime)
        jobs = await parked(runtime)

    assert jobs == []
    assert [deed for deed, _, _ in stage.irp.writes] == ["create", "create", "update"]
    assert stage.agrees(), stage.verdict()


async def test_odd_values_are_left_out_and_the_rest_of_the_alert_is_delivered(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.edit(alert_id, assignee=7, lastSeen="yesterday", affectedAssets="none", overflow="maybe")
        stage.kuma.alerts[alert_id]["events"] += [5, None, "text"]
        async with stage.runtime() as runtime:
            await polled(runtime)
            await polled(runtime, sweep=True)
            jobs = await parked(runtime)

    assert jobs == []
    assert len(stage.incident(alert_id).events) == 3
    assert "lastSeenAt" not in stage.incident(alert_id).fields
    assert stage.incident(alert_id).fields["title"] == stage.kuma.alerts[alert_id]["name"]


async def test_ids_that_are_numbers_become_text(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        template = stage.kuma.alerts[stage.kuma.raise_alert()]
        stage.kuma.knobs.strays = [{**template, "id": 4711}]
        async with stage.runtime() as runtime:
            await polled(runtime)
            pieces = await ask(runtime, lambda tx: tx.rejects.waiting())

    assert pieces == []
    assert stage.incident("4711")
