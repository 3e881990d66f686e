"""What a human is told, and when: once at its begin, once at its end, and not when it flaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kuma_sync.core.notices import (
    Event,
    Key,
    Notice,
    Patience,
    Severity,
    Sighting,
    Told,
    after_telling,
    remembered,
    sighted,
    taken_up,
    untold,
)

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
PATIENCE = Patience()


def trouble(event: Event = Event.PARKED, target: str = "irp", *, since: datetime = NOON) -> Notice:
    return Notice(event=event, severity=Severity.WARNING, text=f"{event} {target}", target=target, since=since)


class Watcher:
    """Looks at given moments and has a receiver that takes everything, or nothing."""

    def __init__(self, *, told: dict[Key, Told] | None = None) -> None:
        self.takes = True
        self.told = dict(told or {})
        self.lasting: dict[Key, Sighting] = taken_up({}, self.told, now=NOON)

    def look(self, seconds: float, *seen: Notice) -> list[tuple[str, str, str]]:
        now = NOON + timedelta(seconds=seconds)
        self.lasting = sighted(self.lasting, seen, self.told, now=now, patience=PATIENCE)
        wanted = untold(self.lasting, self.told, now=now, patience=PATIENCE)
        for notice in wanted if self.takes else []:
            self.told[notice.key] = after_telling(self.told, notice, now=now, patience=PATIENCE)
        self.told = remembered(self.told, now=now, patience=PATIENCE)
        return [(notice.event.value, notice.severity.value, notice.target) for notice in wanted]

    def looks(self, begin: float, end: float, *seen: Notice) -> list[tuple[str, str, str]]:
        return [one for second in range(int(begin), int(end), 5) for one in self.look(second, *seen)]


PARKED, OVER = ("parked", "warning", "irp"), ("parked", "ok", "irp")


def test_what_is_parked_is_told_at_once_and_once() -> None:
    watcher = Watcher()

    assert watcher.looks(0, 3600, trouble()) == [PARKED]


def test_its_end_is_told_once_when_it_has_been_gone_for_a_while() -> None:
    watcher = Watcher()
    watcher.look(0, trouble())

    assert watcher.looks(5, 120) == []
    assert watcher.looks(120, 3600) == [OVER]


def test_an_outage_that_ends_within_five_minutes_is_not_told() -> None:
    watcher = Watcher()
    stuck = trouble(Event.STUCK)

    assert watcher.looks(0, 295, stuck) + watcher.looks(295, 3600) == []
    assert watcher.looks(4000, 4300, stuck) == []
    assert watcher.looks(4300, 4310, stuck) == [("stuck", "warning", "irp")]


def test_an_outage_with_a_short_gap_is_one_outage() -> None:
    watcher = Watcher()
    stuck = trouble(Event.STUCK)

    told = watcher.looks(0, 200, stuck) + watcher.looks(200, 260) + watcher.looks(260, 400, stuck)

    assert told == [("stuck", "warning", "irp")]


def test_a_trouble_that_comes_and_goes_all_night_is_told_a_few_times() -> None:
    watcher = Watcher()
    told = []
    for minute in range(0, 480, 4):
        told += watcher.looks(minute * 60, minute * 60 + 60, trouble())
        told += watcher.looks(minute * 60 + 60, minute * 60 + 240)

    assert told == [PARKED, OVER, PARKED]


def test_a_trouble_that_comes_again_the_next_day_is_a_new_one() -> None:
    watcher = Watcher()
    watcher.look(0, trouble())
    watcher.looks(5, 200)
    day = 86400
    watcher.look(day, trouble())

    assert watcher.told[trouble().key].times == 1
    assert watcher.looks(day + 5, day + 200) == [OVER]


def test_who_begins_anew_does_not_tell_again_what_was_told() -> None:
    told = {trouble().key: Told(notice=trouble())}

    assert Watcher(told=told).looks(0, 3600, trouble()) == []


def test_who_begins_anew_waits_before_it_calls_over_what_was_told() -> None:
    watcher = Watcher(told={trouble().key: Told(notice=trouble())})

    assert watcher.looks(0, 120) == []
    assert watcher.looks(120, 600) == [OVER]


def test_what_is_not_taken_is_offered_again_and_its_end_instead_of_it() -> None:
    watcher = Watcher()
    watcher.takes = False
    offered = watcher.look(0, trouble()) + watcher.look(5, trouble())
    gone = watcher.looks(10, 600)
    watcher.takes = True

    assert offered == [PARKED, PARKED]
    assert gone == []
    assert watcher.looks(600, 700) == []  # nobody was told that it began


def test_an_end_that_is_not_taken_is_offered_until_it_is() -> None:
    watcher = Watcher()
    watcher.look(0, trouble())
    watcher.takes = False
    assert watcher.looks(5, 200) == [OVER] * 16
    watcher.takes = True

    assert watcher.looks(200, 600) == [OVER]


def test_a_trouble_that_is_back_before_its_end_was_taken_goes_on() -> None:
    watcher = Watcher()
    watcher.look(0, trouble())
    watcher.takes = False
    watcher.looks(5, 200)
    watcher.takes = True

    assert watcher.looks(200, 600, trouble()) == []


def test_troubles_of_two_targets_are_two() -> None:
    watcher = Watcher()

    assert watcher.look(0, trouble(), trouble(target="north")) == [PARKED, ("parked", "warning", "north")]
    assert watcher.looks(5, 600, trouble()) == [("parked", "ok", "north")]


def test_the_earliest_begin_is_told() -> None:
    later = NOON + timedelta(seconds=10)
    lasting = seen_at(0, trouble(Event.STUCK)) | {}
    lasting = sighted(lasting, [trouble(Event.STUCK, since=later)], {}, now=later, patience=PATIENCE)

    assert lasting[Event.STUCK, "irp"].notice.since == NOON


def seen_at(seconds: float, *seen: Notice) -> dict[Key, Sighting]:
    return sighted({}, seen, {}, now=NOON + timedelta(seconds=seconds), patience=PATIENCE)


def test_a_clock_that_is_set_back_holds_up_nothing_for_long() -> None:
    watcher = Watcher()
    stuck = trouble(Event.STUCK)
    watcher.looks(0, 100, stuck)

    back = -86400
    assert watcher.looks(back, back + 310, stuck) == [("stuck", "warning", "irp")]


def test_the_worst_is_told_first() -> None:
    worst = Notice(event=Event.NOBODY_ASKS, severity=Severity.CRITICAL, text="", target="south", since=NOON)
    wanted: Sequence[Notice] = untold(seen_at(0, trouble(), worst), {}, now=NOON, patience=PATIENCE)

    assert [notice.target for notice in wanted] == ["south", "irp"]
