"""Facts about alerts that left the statuses asked for before they were ever read."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from builders import NOW

from kuma_sync.core.alert import Alert, AlertId
from kuma_sync.core.comparison import Fate, Unseen, Wanted

EARLIER, LATER = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
TAKEN, MISSED, LEFT_ALONE = Fate.TAKEN, Fate.MISSED, Fate.LEFT_ALONE


def an_alert(status: str, first_seen: datetime | None = LATER, last_seen: datetime | None = LATER) -> Alert:
    return Alert(id=AlertId("a"), status=status, first_seen=first_seen, last_seen=last_seen)


def wanted(*statuses: str, unseen: Unseen = Unseen.OPEN) -> Wanted:
    return Wanted(statuses=frozenset(statuses or ["new"]), unseen=unseen)


@pytest.mark.parametrize(
    ("unseen", "status", "fate"),
    [
        (Unseen.OPEN, "assigned", TAKEN),
        (Unseen.OPEN, "escalated", TAKEN),
        (Unseen.OPEN, "", TAKEN),  # what KUMA says is not understood: better an incident too many
        (Unseen.OPEN, "closed", MISSED),
        (Unseen.ALL, "assigned", TAKEN),
        (Unseen.ALL, "closed", TAKEN),
        (Unseen.NONE, "assigned", MISSED),
        (Unseen.NONE, "closed", MISSED),
    ],
)
def test_what_left_the_statuses_unread_is_taken_or_missed(unseen: Unseen, status: str, fate: Fate) -> None:
    assert wanted(unseen=unseen).fate(an_alert(status), NOW) is fate


@pytest.mark.parametrize("unseen", list(Unseen))
@pytest.mark.parametrize("first_read", [None, NOW])
def test_an_alert_whose_status_is_asked_for_is_taken_whenever_it_appeared(
    unseen: Unseen, first_read: datetime | None
) -> None:
    asked = wanted("new", "closed", unseen=unseen)

    assert asked.fate(an_alert("closed", EARLIER), first_read) is TAKEN
    assert asked.fate(an_alert("new", EARLIER), first_read) is TAKEN


@pytest.mark.parametrize(
    ("first_seen", "last_seen", "fate"),
    [
        (EARLIER, EARLIER, LEFT_ALONE),
        (EARLIER, LATER, LEFT_ALONE),  # it was there, and grew since
        (NOW, NOW, TAKEN),  # of the same second: better an incident too many
        (LATER, LATER, TAKEN),
        (None, EARLIER, LEFT_ALONE),
        (None, LATER, TAKEN),
        (None, None, TAKEN),
    ],
)
@pytest.mark.parametrize("unseen", [Unseen.OPEN, Unseen.ALL])
def test_what_was_there_before_the_first_read_is_left_alone(
    first_seen: datetime | None, last_seen: datetime | None, fate: Fate, unseen: Unseen
) -> None:
    assert wanted(unseen=unseen).fate(an_alert("assigned", first_seen, last_seen), NOW) is fate


def test_before_any_read_nothing_can_have_been_missed() -> None:
    assert wanted(unseen=Unseen.ALL).fate(an_alert("closed"), None) is LEFT_ALONE


@pytest.mark.parametrize("status", ["new", "assigned", "closed"])
@pytest.mark.parametrize("unseen", list(Unseen))
def test_where_new_ones_are_not_asked_for_nothing_counts_as_having_left(status: str, unseen: Unseen) -> None:
    assert wanted("escalated", unseen=unseen).fate(an_alert(status), NOW) is LEFT_ALONE


@pytest.mark.parametrize(
    ("unseen", "status", "wants"),
    [
        (Unseen.NONE, "new", True),
        (Unseen.NONE, "assigned", False),
        (Unseen.OPEN, "assigned", True),
        (Unseen.OPEN, "closed", False),
        (Unseen.ALL, "closed", True),
    ],
)
def test_an_ignored_alert_is_taken_up_by_what_it_is_now(unseen: Unseen, status: str, wants: bool) -> None:
    assert wanted(unseen=unseen).wants(an_alert(status)) is wants
