"""Facts about differences: what appeared, what changed, what must be read, and what a complete pass proves."""

from __future__ import annotations

import pytest
from builders import NOW, an_alert, events, seconds, seen
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import AlertId, AlertSnapshot, Observation, first_snapshot
from kuma_sync.core.comparison import Appeared, Changed, CompletePass, Left, diff, left, to_read

A, B, C = AlertId("a"), AlertId("b"), AlertId("c")


def known(*shown: Observation) -> dict[AlertId, AlertSnapshot]:
    return {item.alert.id: first_snapshot(item) for item in shown}


# Seen against known


def test_an_alert_never_seen_before_appeared() -> None:
    item = seen(id=A, events=events("x"))

    assert diff([item], {}) == [Appeared(seen=item, snapshot=first_snapshot(item))]


def test_an_alert_seen_as_it_was_known_is_no_change() -> None:
    item = seen(id=A, events=events("x"))

    assert diff([item], known(item)) == []


def test_an_alert_that_grew_changed_and_keeps_what_it_had() -> None:
    before, after = seen(id=A, events=events("x")), seen(id=A, events=events("y"))

    (change,) = diff([after], known(before))

    assert isinstance(change, Changed)
    assert change.seen is after
    assert len(change.snapshot.event_ids) == 2


def test_a_listing_does_not_take_the_contents_away() -> None:
    before = known(seen(id=A, events=events("x")))

    (change,) = diff([seen(id=A, status="assigned")], before)

    assert diff([seen(id=A)], before) == []
    assert change.snapshot.event_ids == before[A].event_ids


def test_within_one_read_the_later_copy_wins() -> None:
    earlier, later = seen(id=A, status="new", events=events("x")), seen(id=A, status="assigned", events=events("x"))

    (change,) = diff([earlier, later], {})

    assert change.seen is later


def test_a_later_copy_that_is_as_known_undoes_an_earlier_one() -> None:
    as_known, other = seen(id=A, events=events("x")), seen(id=A, status="assigned", events=events("x"))

    assert diff([other, as_known], known(as_known)) == []


def test_changes_come_in_the_order_of_the_read() -> None:
    before = known(seen(id=B, events=events("x")))

    changes = diff([seen(id=C), seen(id=B, priority="low"), seen(id=A)], before)

    assert [(type(change), change.seen.alert.id) for change in changes] == [(Appeared, C), (Changed, B), (Appeared, A)]


def test_an_alert_above_the_size_limit_changes_once_not_at_every_read() -> None:
    huge = seen(id=A, oversize=True)
    (change,) = diff([huge], known(seen(id=A, events=events("x"))))

    assert change.snapshot.oversize
    assert diff([huge], {A: change.snapshot}) == []
    assert diff([seen(id=A)], {A: change.snapshot}) == []


@pytest.mark.parametrize(
    ("before", "after", "first_read"),
    [
        (seen(id=A), seen(id=A, events=events("x")), True),
        (seen(id=A), seen(id=A, oversize=True), True),
        (seen(id=A, oversize=True), seen(id=A, events=events("x")), True),  # the limit was raised
        (seen(id=A), seen(id=A, events=events("x"), assignee="ivanov"), False),
        (seen(id=A), seen(id=A, last_seen=NOW + seconds(1)), False),
        (seen(id=A, events=[]), seen(id=A, events=events("x")), False),
        (seen(id=A, events=events("x")), seen(id=A, oversize=True), False),
    ],
    ids=["read", "too large", "no longer too large", "read and edited", "listed as grown", "grown", "grown too large"],
)
def test_contents_that_nobody_had_read_before_are_no_change_of_the_alert(
    before: Observation, after: Observation, first_read: bool
) -> None:
    (change,) = diff([after], known(before))

    assert isinstance(change, Changed)
    assert change.first_read is first_read


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from(["new", "assigned"]), st.booleans()), max_size=8))
def test_a_read_applied_twice_changes_nothing_the_second_time(rows: list[tuple[AlertId, str, bool]]) -> None:
    read = [seen(id=alert_id, status=status, events=events("x") if full else None) for alert_id, status, full in rows]

    after = {change.seen.alert.id: change.snapshot for change in diff(read, {})}

    assert diff(read, after) == []


# What a listing leaves to be read


@pytest.mark.parametrize(
    ("before", "listed", "wanted"),
    [
        (None, seen(id=A), [A]),
        (seen(id=A, events=[]), seen(id=A), []),
        (seen(id=A, events=[]), seen(id=A, last_seen=NOW + seconds(1)), [A]),
        (seen(id=A, events=[]), seen(id=A, assignee="ivanov"), [A]),
        (seen(id=A), seen(id=A), [A]),  # its contents were never read
        (seen(id=A, oversize=True), seen(id=A), []),  # would be too large again
        (seen(id=A, oversize=True), seen(id=A, last_seen=NOW + seconds(1)), [A]),
    ],
    ids=["new", "as known", "grown", "edited", "unread", "oversize as known", "oversize and grown"],
)
def test_contents_are_read_of_what_a_listing_shows_as_new_or_changed(
    before: Observation | None, listed: Observation, wanted: list[AlertId]
) -> None:
    assert to_read([listed.alert], known(before) if before else {}) == wanted


def test_an_alert_listed_twice_is_read_once_and_judged_by_its_later_copy() -> None:
    before = known(seen(id=A, events=[]))
    other, as_known = an_alert(id=A, status="assigned"), an_alert(id=A)

    assert to_read([an_alert(id=B), an_alert(id=B)], before) == [B]
    assert to_read([other, as_known], before) == []


# What a complete pass did not show


@pytest.mark.parametrize(
    ("asked", "answered", "expected"),
    [
        ([], [], Left(elsewhere=frozenset(), gone=frozenset())),
        ([A, B, C], [A, B], Left(elsewhere=frozenset({A, B}), gone=frozenset({C}))),
        ([A], [], Left(elsewhere=frozenset(), gone=frozenset({A}))),
        ([A], [A, B], Left(elsewhere=frozenset({A}), gone=frozenset())),  # an answer nobody asked for
    ],
)
def test_what_kuma_does_not_know_by_id_is_gone(asked: list[AlertId], answered: list[AlertId], expected: Left) -> None:
    assert left(CompletePass(sweep=7), asked, answered) == expected
