"""The budget of updates: a handful at once, then few; nothing that matters waits, and no wait is long."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import NOW, a_link, an_incident, seconds
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import Fingerprint
from kuma_sync.core.budget import BURST, INTERVALS, LONGEST, charged, put_off_until, spacing
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import DeliveredState, Link
from kuma_sync.core.steps import TargetCapabilities

SPACING = seconds(600)
TARGET = TargetCapabilities(spacing=SPACING)

pauses = st.lists(st.integers(0, 2000).map(seconds), min_size=1, max_size=80)


def told(**fields: Any) -> Link:
    """A link whose incident was told something."""
    return a_link(**{"incident": an_incident(), "sent": DeliveredState(fingerprint=Fingerprint("1:told"))} | fields)


def spent(link: Link, now: datetime = NOW, *, times: int = BURST) -> Link:
    """The link after so many updates at once."""
    for _ in range(times):
        link = charged(link, unsent=0, capabilities=TARGET, now=now)
    return link


def updates(waits: list[timedelta], link: Link) -> list[datetime]:
    """Change the alert after each of these waits, and return when an update goes out."""
    now, sent = NOW, []
    for wait in waits:
        now += wait
        if put_off_until(link, unsent=0, capabilities=TARGET, now=now) is None:
            link = charged(link, unsent=0, capabilities=TARGET, now=now)
            sent.append(now)
    return sent


# How many, and when


def test_the_first_few_go_at_once_the_next_one_later() -> None:
    link, waits = told(), []

    for _ in range(BURST + 1):
        waits.append(put_off_until(link, unsent=0, capabilities=TARGET, now=NOW))
        link = charged(link, unsent=0, capabilities=TARGET, now=NOW)

    assert waits == [None] * BURST + [NOW + SPACING]


def test_an_alert_that_toggles_fifty_times_in_ten_minutes_costs_three_updates() -> None:
    assert len(updates([seconds(12)] * 50, told())) == BURST


@given(pauses)
def test_in_any_stretch_of_time_there_are_few(waits: list[timedelta]) -> None:
    sent = updates(waits, told())

    for first, begin in enumerate(sent):
        for last, end in enumerate(sent[first:], start=1):
            assert last <= BURST + (end - begin) / SPACING


@given(pauses)
def test_what_is_put_off_goes_out_when_its_time_has_come_and_soon_enough(waits: list[timedelta]) -> None:
    now, link = NOW, told()
    for wait in waits:
        now += wait
        due = put_off_until(link, unsent=0, capabilities=TARGET, now=now)
        if due is not None:
            assert now < due <= now + SPACING
            assert put_off_until(link, unsent=0, capabilities=TARGET, now=due) is None
            assert put_off_until(link, unsent=0, capabilities=TARGET, now=due - timedelta(microseconds=1)) == due
            now = due
        link = charged(link, unsent=0, capabilities=TARGET, now=now)


def test_who_changes_seldom_never_waits() -> None:
    assert len(updates([SPACING] * 40, told())) == 40


# What never waits, and costs nothing


@pytest.mark.parametrize(
    ("link", "unsent", "capabilities"),
    [
        pytest.param(told(), 1, TARGET, id="new events"),
        pytest.param(
            told(sent=DeliveredState()), 0, TARGET, id="nothing is known to be sent: found, or an operator's resync"
        ),
        pytest.param(told(alert_closed=True, close_origin=Origin.KUMA), 0, TARGET, id="a closing waits for it"),
        pytest.param(told(close_origin=Origin.OPERATOR), 0, TARGET, id="an operator's closing waits for it"),
        pytest.param(told(), 0, TargetCapabilities(), id="no limit"),
    ],
)
def test_what_matters_goes_at_once_however_much_is_spent(
    link: Link, unsent: int, capabilities: TargetCapabilities
) -> None:
    link = replace(link, spent_until=spent(told()).spent_until)

    assert put_off_until(link, unsent=unsent, capabilities=capabilities, now=NOW) is None
    assert (
        put_off_until(replace(told(), spent_until=link.spent_until), unsent=0, capabilities=TARGET, now=NOW) is not None
    )


@pytest.mark.parametrize(
    ("link", "capabilities"),
    [
        pytest.param(told(alert_closed=True, held_close=True), TARGET, id="the brake holds the closing"),
        pytest.param(told(alert_closed=True), replace(TARGET, may_close=False), id="closing is switched off"),
        pytest.param(told(alert_closed=True, close_origin=Origin.IRP), TARGET, id="the closing came from the IRP"),
    ],
)
def test_a_closing_that_does_not_follow_hurries_nothing(link: Link, capabilities: TargetCapabilities) -> None:
    link = replace(link, spent_until=spent(told()).spent_until)

    assert put_off_until(link, unsent=0, capabilities=capabilities, now=NOW) == NOW + SPACING


@pytest.mark.parametrize(("link", "unsent"), [(told(), 2), (told(sent=DeliveredState()), 0)])
def test_what_is_free_is_not_charged(link: Link, unsent: int) -> None:
    assert charged(link, unsent=unsent, capabilities=TARGET, now=NOW) == link


def test_a_pass_without_a_limit_neither_charges_nor_forgives() -> None:
    link = spent(told())

    assert charged(link, unsent=0, capabilities=TargetCapabilities(), now=NOW) == link


# Clocks and settings


@given(st.integers(1, 10_000).map(lambda hours: timedelta(hours=hours)))
def test_what_was_put_off_goes_out_in_time_though_the_clock_was_set_back(back: timedelta) -> None:
    link, begun = spent(told()), NOW - back

    now = begun
    while (due := put_off_until(link, unsent=0, capabilities=TARGET, now=now)) is not None:
        now = due
        assert now <= begun + SPACING * BURST


def test_quicker_polls_shorten_a_wait_that_slower_ones_began() -> None:
    link, quicker = spent(told()), TargetCapabilities(spacing=seconds(4))

    due = put_off_until(link, unsent=0, capabilities=quicker, now=NOW) or NOW

    assert due <= NOW + seconds(4)
    assert put_off_until(link, unsent=0, capabilities=quicker, now=due) is None


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (seconds(0.2), seconds(4)),
        (seconds(30), seconds(600)),
        (timedelta(hours=1), LONGEST),
        (timedelta(), timedelta()),
    ],
)
def test_the_wait_follows_the_poll_up_to_half_an_hour(interval: timedelta, expected: timedelta) -> None:
    assert spacing(interval) == expected
    assert INTERVALS * seconds(30) == seconds(600)
