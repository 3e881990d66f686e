"""Facts about reads: what is asked of KUMA in one round, and how far the watermark moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from builders import NOW, seconds
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import AlertId
from kuma_sync.core.window import (
    IDS_PER_READ,
    Cursor,
    Query,
    ReadKind,
    ReadSchedule,
    by_id,
    next_reads,
    next_watermark,
    sweep_due,
)

OVERLAP = timedelta(minutes=30)
FULL = Query(kind=ReadKind.FULL)
WINDOW = Query(kind=ReadKind.WINDOW, since=NOW)
LATE = Query(kind=ReadKind.LATE, since=NOW - OVERLAP)
SWEEP = Query(kind=ReadKind.SWEEP)


def a_cursor(**fields: Any) -> Cursor:
    usual: dict[str, Any] = {"watermark": NOW, "swept_at": NOW, "sweep": 3, "born_at": NOW - timedelta(days=1)}
    return Cursor(**usual | fields)


def a_rhythm(**fields: Any) -> ReadSchedule:
    usual: dict[str, Any] = {"full_only": False, "overlap": OVERLAP, "sweep_interval": timedelta(minutes=10)}
    return ReadSchedule(**usual | fields)


def reads(
    cursor: Cursor, schedule: ReadSchedule | None = None, *, tied: int = 1, sweep_now: bool = False
) -> list[Query]:
    return next_reads(cursor, NOW, schedule or a_rhythm(), tied=tied, sweep_now=sweep_now)


# Which reads


@pytest.mark.parametrize(
    ("cursor", "options", "expected"),
    [
        (a_cursor(watermark=None, swept_at=None), {}, [FULL]),  # the first read of a store
        (a_cursor(watermark=None, swept_at=None), {"sweep_now": True, "tied": 51}, [FULL]),
        (a_cursor(), {}, [WINDOW, LATE]),
        (a_cursor(), {"sweep_now": True}, [WINDOW, LATE, SWEEP]),  # at start
        (a_cursor(swept_at=NOW - timedelta(minutes=9, seconds=59)), {}, [WINDOW, LATE]),
        (a_cursor(swept_at=NOW - timedelta(minutes=10)), {}, [WINDOW, LATE, SWEEP]),
        (a_cursor(swept_at=None), {}, [WINDOW, LATE, SWEEP]),
        (a_cursor(), {"tied": 50}, [WINDOW, LATE]),
        (a_cursor(), {"tied": 51}, [LATE]),  # too many share the second: listed, read by id where they differ
        (a_cursor(), {"tied": 51, "sweep_now": True}, [LATE, SWEEP]),
    ],
)
def test_a_round_reads_what_the_table_of_reads_says(
    cursor: Cursor, options: dict[str, Any], expected: list[Query]
) -> None:
    assert reads(cursor, **options) == expected


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        (a_cursor(), [FULL, LATE]),
        (a_cursor(watermark=None, swept_at=None), [FULL]),
        (a_cursor(swept_at=None), [FULL, LATE]),
    ],
)
def test_the_full_strategy_asks_for_everything_at_every_poll(cursor: Cursor, expected: list[Query]) -> None:
    assert reads(cursor, a_rhythm(full_only=True), tied=51, sweep_now=True) == expected


@pytest.mark.parametrize("full_only", [False, True])
def test_what_left_unread_is_looked_for_though_nothing_was_received(full_only: bool) -> None:
    cursor = a_cursor(watermark=None, first_read=NOW)

    assert reads(cursor, a_rhythm(full_only=full_only)) == [FULL, Query(kind=ReadKind.LATE, since=NOW)]


def test_the_late_listing_alone_and_reads_by_id_ask_for_every_status() -> None:
    status = Query(kind=ReadKind.STATUS, ids=(AlertId("a"),))

    assert [query.any_status for query in (FULL, WINDOW, LATE, SWEEP, status)] == [False, False, True, False, True]


@pytest.mark.parametrize(("query", "may"), [(FULL, False), (WINDOW, True), (LATE, True), (SWEEP, False)])
def test_only_a_window_may_end_at_a_page_that_is_not_full(query: Query, may: bool) -> None:
    assert query.may_end_short is may


def test_a_full_read_is_the_missions_request_and_nothing_more() -> None:
    assert (FULL.with_events, FULL.dated_by, FULL.since, FULL.ids) == (True, None, None, ())


@pytest.mark.parametrize(("query", "everything"), [(FULL, True), (SWEEP, True), (WINDOW, False), (LATE, False)])
def test_only_a_listing_of_the_whole_set_can_show_that_something_left(query: Query, everything: bool) -> None:
    assert query.lists_everything is everything


def test_reads_by_id_show_nothing_about_the_whole_set() -> None:
    queries = by_id(ReadKind.CONTENTS, [AlertId("a")]) + by_id(ReadKind.STATUS, [AlertId("a")])

    assert [query.lists_everything for query in queries] == [False, False]


def test_an_alert_of_the_year_one_does_not_break_the_overlap() -> None:
    """Go writes a time it does not have as 0001-01-01T00:00:00Z, and nothing comes before that in Python."""
    earliest = datetime(1, 1, 1, tzinfo=UTC)

    window, late = reads(a_cursor(watermark=earliest))

    assert window.since == late.since == earliest


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.timedeltas(timedelta(), timedelta(days=90)),
    st.integers(0, 100),
    st.booleans(),
)
def test_whatever_the_cursor_every_poll_looks_from_the_watermark_or_before(
    watermark: datetime, overlap: timedelta, tied: int, sweep_now: bool
) -> None:
    queries = reads(a_cursor(watermark=watermark), a_rhythm(overlap=overlap), tied=tied, sweep_now=sweep_now)

    assert min(query.since for query in queries if query.since) <= watermark
    assert (SWEEP in queries) is sweep_now


# When a sweep is due


@pytest.mark.parametrize(
    ("swept_at", "interval", "due"),
    [
        (None, seconds(600), True),
        (NOW, seconds(600), False),
        (NOW - seconds(599), seconds(600), False),
        (NOW - seconds(600), seconds(600), True),
        (NOW + seconds(1), seconds(600), True),  # the clock was set back
        (NOW, seconds(0), True),
    ],
)
def test_a_sweep_is_due_when_the_last_complete_one_is_too_old(
    swept_at: datetime | None, interval: timedelta, due: bool
) -> None:
    assert sweep_due(a_cursor(swept_at=swept_at), NOW, interval) is due


# The watermark


@pytest.mark.parametrize(
    ("known", "received", "server_now", "expected"),
    [
        (None, None, None, None),
        (None, None, NOW, None),
        (NOW, None, None, NOW),
        (None, NOW, None, NOW),
        (NOW, NOW + seconds(5), NOW + seconds(60), NOW + seconds(5)),
        (NOW, NOW - seconds(5), NOW + seconds(60), NOW),  # an older answer does not move it back
        (NOW, NOW + timedelta(days=1), NOW + seconds(60), NOW + seconds(60)),  # dated tomorrow
        (NOW, NOW + timedelta(days=1), None, NOW + timedelta(days=1)),  # KUMA told no time: nothing to clamp to
        (NOW, None, NOW - seconds(60), NOW - seconds(60)),  # KUMA's clock was set back
        (NOW, NOW + seconds(5), NOW + seconds(4.9), NOW + seconds(4)),  # whole seconds, as KUMA counts
    ],
)
def test_the_watermark_is_the_newest_received_but_never_beyond_kumas_clock(
    known: datetime | None, received: datetime | None, server_now: datetime | None, expected: datetime | None
) -> None:
    assert next_watermark(known, received, server_now) == expected


# Reads by id


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (50, [50]), (51, [50, 1]), (100, [50, 50]), (120, [50, 50, 20])]
)
def test_ids_are_asked_for_fifty_at_a_time(count: int, sizes: list[int]) -> None:
    ids = [AlertId(str(number)) for number in range(count)]

    queries = by_id(ReadKind.CONTENTS, ids)

    assert [len(query.ids) for query in queries] == sizes
    assert [alert_id for query in queries for alert_id in query.ids] == ids
    assert IDS_PER_READ == 50


@pytest.mark.parametrize(("kind", "with_events"), [(ReadKind.CONTENTS, True), (ReadKind.STATUS, False)])
def test_contents_are_read_with_events_and_status_without(kind: ReadKind, with_events: bool) -> None:
    (query,) = by_id(kind, [AlertId("a")])

    assert (query.with_events, query.dated_by, query.ids) == (with_events, None, (AlertId("a"),))
