"""The list of closed incidents: whose closing a row is, and up to when the list is known after it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from builders import ALERT_ID, NOW, a_link, an_incident, seconds
from hypothesis import given, settings
from hypothesis import strategies as st

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import Claim, ClosedIncident, claim_of, lies_ahead, made_out, next_watched
from kuma_sync.core.incident import Found, Incident, Origin, Resolution
from kuma_sync.core.link import Doubt
from kuma_sync.core.transitions import after_found, closing_named, incident_closed, moved, resolution_awaited

A, B = AlertId("a"), AlertId("b")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
OURS = an_incident(id="17")


def a_row(**fields: object) -> Resolution:
    return Resolution(**{"incident_id": "17", "key": "kuma:kuma:a", "resolution": "Done", "updated": NOW} | fields)  # type: ignore[arg-type]  # as named


# Up to when the list is known


@pytest.mark.parametrize(
    ("known", "times", "expected"),
    [
        (None, [], None),
        (NOW - DAY, [], NOW - DAY),
        (None, [NOW - MINUTE, NOW - DAY], NOW - MINUTE),
        (NOW - MINUTE, [NOW - DAY], NOW - MINUTE),
        (None, [NOW + DAY], NOW),  # dated ahead
        (NOW - MINUTE, [NOW + timedelta(days=30_000), NOW - DAY], NOW),
        (NOW + seconds(5), [], NOW),  # the clock was set back a little
        (None, [None, NOW - MINUTE], NOW - MINUTE),
        (None, [None, None], NOW - DAY),  # nobody reads its times: a day is read again
        (NOW - MINUTE, [None], NOW - MINUTE),
        (NOW - 40 * DAY, [None], NOW - DAY),
    ],
)
def test_the_list_is_known_up_to_its_newest_row_clamped_to_the_clock(
    known: datetime | None, times: list[datetime | None], expected: datetime | None
) -> None:
    rows = [a_row(incident_id=str(number), updated=moment) for number, moment in enumerate(times)]

    assert next_watched(known, rows, [], now=NOW) == expected


@pytest.mark.parametrize(
    ("known", "waits", "expected"),
    [
        (None, NOW - 3 * DAY, NOW - 3 * DAY),
        (NOW - 4 * DAY, NOW - 3 * DAY, NOW - 3 * DAY),
        (NOW - DAY, NOW - DAY - MINUTE, NOW - DAY),  # within the overlap: it is shown again all the same
        (NOW - DAY, None, NOW - DAY),
        (None, None, None),
    ],
)
def test_what_is_awaited_is_shown_again_by_the_next_round(
    known: datetime | None, waits: datetime | None, expected: datetime | None
) -> None:
    awaited = a_row(resolution="", updated=waits)

    assert next_watched(known, [awaited, a_row(incident_id="18")], [awaited], now=NOW) == expected


RELAXED = settings(deadline=None)  # timings on a shared machine prove nothing
TIMES = st.none() | st.integers(-(10**9), 10**9).map(lambda number: NOW + seconds(number))


@RELAXED
@given(TIMES, st.lists(TIMES, max_size=5), st.integers(0, 5))
def test_the_mark_never_lies_ahead_and_never_behind_what_was_known(
    known: datetime | None, times: list[datetime | None], waiting: int
) -> None:
    rows = [a_row(incident_id=str(number), updated=moment) for number, moment in enumerate(times)]
    reached = next_watched(known, rows, rows[:waiting], now=NOW)

    assert reached is None or reached <= NOW
    assert known is None or reached is not None
    assert known is None or reached is None or reached >= min(known, NOW)


@pytest.mark.parametrize(
    ("moment", "ahead"), [(None, False), (NOW, False), (NOW + 10 * MINUTE, False), (NOW + 11 * MINUTE, True)]
)
def test_a_mark_lies_ahead_beyond_the_overlap(moment: datetime | None, ahead: bool) -> None:
    assert lies_ahead(moment, NOW) is ahead


# Whose closing it is


@pytest.mark.parametrize(
    ("row", "by_id", "by_key", "claim"),
    [
        ({}, A, A, Claim(alert_id=A)),
        ({"key": ""}, A, None, Claim(alert_id=A)),
        ({"incident_id": ""}, None, A, Claim(alert_id=A)),
        ({}, None, None, None),
        ({}, None, A, Claim(alert_id=A, sure=False)),  # moved, or a second incident with our key
        ({}, B, A, Claim(alert_id=A, sure=False, doubted=B)),
        ({"key": "elsewhere:5"}, A, None, Claim(alert_id=A, sure=False)),
    ],
)
def test_the_key_counts_and_what_does_not_agree_is_not_sure(
    row: dict[str, str], by_id: AlertId | None, by_key: AlertId | None, claim: Claim | None
) -> None:
    assert claim_of(a_row(**row), by_id=by_id, by_key=by_key) == claim


def test_where_find_shows_nothing_the_row_counts_and_the_link_learns_its_id() -> None:
    row = a_row(incident_id="99")

    assert made_out(row, [], OURS) == ClosedIncident(row=row, incident=an_incident(id="99"))


def test_an_incident_that_find_shows_closed_is_closed_as_find_says() -> None:
    there = Incident(id="99", number="N-99")

    told = made_out(a_row(incident_id="99"), [Found(incident=there, closed=True, resolution="Duplicate")], OURS)
    silent = made_out(a_row(incident_id="99"), [Found(incident=there, closed=True)], OURS)
    another = made_out(a_row(incident_id="98"), [Found(incident=there, closed=True)], OURS)

    assert [one.row.resolution for one in (told, silent, another) if isinstance(one, ClosedIncident)] == [
        "Duplicate",
        "Done",
        "",
    ]
    assert [one.incident for one in (told, silent, another) if isinstance(one, ClosedIncident)] == [there] * 3


@pytest.mark.parametrize(("shown", "made"), [("17", None), ("99", Incident(id="99"))])
def test_an_open_incident_is_no_closing_and_told_where_it_is_another(shown: str, made: Incident | None) -> None:
    found = [Found(incident=Incident(id="98"), closed=True), Found(incident=Incident(id=shown))]

    assert made_out(a_row(incident_id="98"), found, OURS) == made


# What a link becomes


def test_the_first_look_at_an_unresolved_closing_is_kept_until_it_is_decided() -> None:
    link = resolution_awaited(a_link(incident=OURS), NOW)

    assert resolution_awaited(link, NOW + MINUTE).unresolved_at == NOW
    assert incident_closed(link, Origin.IRP).unresolved_at is None
    assert after_found(resolution_awaited(a_link(doubt=Doubt.UNKNOWN), NOW), Found(incident=OURS)).unresolved_at is None


def test_a_moved_incident_holds_what_it_held() -> None:
    link = a_link(incident=OURS)

    assert moved(link, an_incident(id="99")) == a_link(incident=an_incident(id="99"))


def test_who_names_an_incident_we_do_not_know_yet_is_the_closings_origin() -> None:
    named = closing_named(a_link(), "responded", "noise")

    assert (named.close_origin, named.close_reason, named.close_comment) == (Origin.IRP, "responded", "noise")
    assert not named.incident_closed
    assert closing_named(a_link(close_origin=Origin.KUMA)) == a_link(close_origin=Origin.KUMA)
    assert named.alert_id == ALERT_ID
