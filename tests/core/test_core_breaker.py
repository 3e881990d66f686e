"""Facts about the circuit breaker: when it opens, for how long, and what closes it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from builders import NOW, seconds

from kuma_sync.core import breaker
from kuma_sync.core.breaker import Breaker, Closed, Ends, HalfOpen, Open, Waits
from kuma_sync.core.retry import RetryPolicy

HOUR = timedelta(hours=1)
WAITS = Waits(policy=RetryPolicy(base=seconds(10), max=seconds(600)), outage=seconds(30))
OPEN = Open(reason="why", ends=Ends.ANY, trials=1, trial_at=NOW + seconds(10))


def opened(known: Breaker, *, ends: Ends = Ends.ANY, reason: str = "why") -> Breaker:
    return breaker.opened(known, reason=reason, ends=ends, now=NOW, waits=WAITS, jitter=0.0)


def test_a_closed_breaker_counts_failures_and_trips_at_its_limit() -> None:
    first, trips_first = breaker.failed(Closed(), trips_after=2)
    second, trips_second = breaker.failed(first, trips_after=2)

    assert (trips_first, trips_second, second) == (False, True, Closed(failures=2))
    assert breaker.failed(Closed(failures=99), trips_after=None) == (Closed(failures=100), False)


@pytest.mark.parametrize("known", [OPEN, HalfOpen(open=OPEN)])
def test_an_open_breaker_counts_no_failures(known: Breaker) -> None:
    assert breaker.failed(known, trips_after=1) == (known, False)


def test_a_breaker_that_opens_waits_for_its_first_trial() -> None:
    assert opened(Closed(failures=5)) == OPEN


def test_a_failed_trial_doubles_the_wait_up_to_the_longest() -> None:
    waits, known = [], opened(Closed())
    for _ in range(8):
        current = breaker.pause_of(known)
        assert current is not None
        waits.append((current.trial_at - NOW).total_seconds())
        known = breaker.trial_over(opened(breaker.trial_begun(known)))

    assert waits == [10, 20, 40, 80, 160, 320, 600, 600]


def test_in_an_outage_a_trial_comes_at_least_every_outage_wait() -> None:
    known = opened(HalfOpen(open=Open(reason="why", ends=Ends.OUTAGE, trials=5, trial_at=NOW)), ends=Ends.OUTAGE)

    assert known == HalfOpen(open=Open(reason="why", ends=Ends.OUTAGE, trials=6, trial_at=NOW + seconds(30)))


def test_a_request_that_was_in_flight_when_it_opened_does_not_lengthen_the_wait() -> None:
    late = breaker.opened(OPEN, reason="another", ends=Ends.WRITE, now=NOW + seconds(5), waits=WAITS, jitter=0.0)

    assert late == Open(reason="another", ends=Ends.WRITE, trials=1, trial_at=OPEN.trial_at)


@pytest.mark.parametrize(
    ("ends", "reads", "stops"),
    [(Ends.ANY, True, True), (Ends.ANY, False, True), (Ends.WRITE, True, False), (Ends.WRITE, False, True)],
)
def test_while_writes_alone_are_redirected_reads_go_through(ends: Ends, *, reads: bool, stops: bool) -> None:
    known = Open(reason="why", ends=ends, trials=1, trial_at=NOW)

    assert breaker.stops(known, reads=reads) is stops
    assert breaker.stops(HalfOpen(open=known), reads=reads) is stops
    assert not breaker.stops(Closed(), reads=reads)


def test_one_trial_goes_out_when_its_time_has_come_and_no_second_one_meanwhile() -> None:
    before, wait = breaker.trial_due(OPEN, NOW, HOUR)
    due, none = breaker.trial_due(before, NOW + seconds(10), HOUR)
    trying = breaker.trial_begun(due)

    assert (wait, none) == (NOW + seconds(10), None)
    assert breaker.trial_due(trying, NOW + seconds(10), HOUR) == (trying, NOW + seconds(11))
    assert breaker.trial_over(trying) == OPEN


def test_no_second_trial_goes_out_before_the_first_ended_whatever_the_breaker_did() -> None:
    trying = breaker.trial_begun(OPEN)

    again = opened(breaker.closed(trying))
    _same, due = breaker.trial_due(again, NOW + HOUR, HOUR)
    failed = opened(again)

    assert due == NOW + HOUR + seconds(1)
    assert breaker.trial_over(failed) == Open(reason="why", ends=Ends.ANY, trials=2, trial_at=NOW + seconds(20))


@pytest.mark.parametrize("known", [Closed(failures=3), OPEN])
def test_a_breaker_that_closes_forgets_its_failures_and_a_trial_that_ended(known: Breaker) -> None:
    assert breaker.closed(known) == Closed()
    assert breaker.trial_over(breaker.closed(breaker.trial_begun(OPEN))) == Closed()


def test_after_the_clock_was_set_back_a_trial_is_due_at_once() -> None:
    earlier = NOW - timedelta(days=1)

    known, due = breaker.trial_due(OPEN, earlier, HOUR)

    assert due is None
    assert breaker.pause_of(known) == Open(reason="why", ends=Ends.ANY, trials=1, trial_at=earlier)


@pytest.mark.parametrize("known", [OPEN, HalfOpen(open=OPEN)])
def test_a_breaker_that_is_woken_tries_at_once_and_begins_with_the_shortest_wait(known: Breaker) -> None:
    woken = breaker.pause_of(breaker.woken(known, NOW))

    assert woken == Open(reason="why", ends=Ends.ANY, trials=0, trial_at=NOW)
    assert breaker.woken(Closed(), NOW) == Closed()
