"""How a process is, in few words: what is news, and since when something is not well."""

from __future__ import annotations

from datetime import timedelta

from builders import NOW

from kuma_sync.core.condition import Trouble, same, went_on

LATER = NOW + timedelta(minutes=5)


def paused(part: str = "irp", reason: str = "token refused", state: str = "paused") -> Trouble:
    return Trouble(part=part, state=state, reason=reason, since=LATER)


def test_a_trouble_that_goes_on_keeps_the_time_since_when() -> None:
    before = (Trouble(part="irp", state="paused", reason="token refused", since=NOW),)

    found = went_on(before, [paused(reason="out of service"), paused("kuma")])

    assert [(one.part, one.reason, one.since) for one in found] == [
        ("irp", "out of service", NOW),
        ("kuma", "token refused", LATER),
    ]


def test_a_part_in_another_state_is_in_it_since_now() -> None:
    before = (Trouble(part="irp", state="starting", reason="", since=NOW),)

    assert went_on(before, [paused()])[0].since == LATER


def test_a_side_that_failed_and_is_then_asked_no_more_keeps_the_time_since_when() -> None:
    before = (Trouble(part="irp", state="failing", reason="connection refused", since=NOW),)

    assert went_on(before, [paused(reason="out of service: connection refused")])[0].since == NOW


def test_what_is_over_is_gone() -> None:
    assert went_on((paused(),), []) == ()


def test_only_a_number_that_went_up_is_no_news() -> None:
    for_47 = (paused(reason="no success for 47 s"),)

    assert same(for_47, (paused(reason="no success for 52 s"),))
    assert not same(for_47, (paused(reason="connection refused"),))
    assert not same(for_47, ())
    assert not same(for_47, (paused(reason="no success for 47 s", state="failing"),))
