"""Liveness and readiness: what each report of the loops makes of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from kuma_sync.telemetry.health import PARTS, Health, Part, State


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def healthy(clock: Clock, *, but: tuple[Part, ...] = ()) -> Health:
    health = Health(monotonic=clock)
    health.fresh_within("poll", timedelta(seconds=60))
    for part in PARTS:
        if part not in but:
            health.succeeded(part)
    return health


def test_at_start_nothing_is_ready_and_everything_is_starting() -> None:
    readiness = Health(monotonic=Clock()).ready()

    assert (readiness.ready, readiness.starting) == (False, True)
    assert {part.state for part in readiness.parts.values()} == {State.STARTING}


@pytest.mark.parametrize("part", PARTS)
def test_one_part_not_heard_from_is_not_ready(part: Part) -> None:
    readiness = healthy(Clock(), but=(part,)).ready()

    assert (readiness.ready, readiness.starting) == (False, True)
    assert readiness.parts[part].age_seconds is None


REPORTS: list[tuple[str, Callable[[Health, Part], None], State, bool]] = [
    ("failing", lambda health, part: health.failed(part, "why"), State.FAILING, False),
    ("paused", lambda health, part: health.paused(part, "why"), State.PAUSED, False),
    ("off", lambda health, part: health.off(part, "why"), State.OFF, True),
    ("standby", lambda health, part: health.standby(part, "why"), State.STANDBY, True),
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("name", "report", "state", "ready"), REPORTS)
def test_a_report_decides_readiness_and_never_liveness(
    part: Part, name: str, report: Callable[[Health, Part], None], state: State, ready: bool
) -> None:
    health = healthy(Clock())

    report(health, part)

    readiness = health.ready()
    assert readiness.ready is ready
    assert not readiness.starting
    assert (readiness.parts[part].state, readiness.parts[part].reason) == (state, "why")
    assert health.live()


@pytest.mark.parametrize(("name", "report", "state", "ready"), REPORTS)
def test_the_next_success_ends_whatever_it_was(
    name: str, report: Callable[[Health, Part], None], state: State, ready: bool
) -> None:
    health = healthy(Clock())
    report(health, "irp")
    if state is State.OFF:
        health.starting("irp")  # what is switched off stays so until it is switched on

    health.succeeded("irp")

    assert health.ready().ready
    assert health.ready().parts["irp"].reason == ""


def test_an_idle_queue_stays_ready_however_long_it_is_idle() -> None:
    clock = Clock()
    health = healthy(clock)

    clock.now += 86_400
    health.succeeded("poll")

    assert health.ready().ready
    assert health.ready().parts["delivery"].age_seconds == 86_400


def test_a_poll_that_hangs_shows_within_two_intervals() -> None:
    clock = Clock()
    health = healthy(clock)

    clock.now += 60
    in_time = health.ready()
    clock.now += 1
    late = health.ready()

    assert in_time.ready
    assert not late.ready
    assert late.parts["poll"].state is State.FAILING
    assert late.parts["poll"].reason == "no success for 61 s"
    assert health.live()


def test_a_long_read_that_moves_on_stays_ready() -> None:
    clock = Clock()
    health = healthy(clock)

    for _ in range(10):
        clock.now += 50
        health.moved_on("poll")

    assert health.ready().ready
    assert health.ready().parts["poll"].age_seconds == 500


def test_moving_on_does_not_hide_a_failure() -> None:
    health = healthy(Clock())
    health.failed("poll", "KUMA answers 500")

    health.moved_on("poll")

    assert not health.ready().ready


def test_a_first_read_that_never_ends_is_no_longer_starting() -> None:
    clock = Clock()
    health = healthy(clock, but=("poll",))

    clock.now += 61

    assert health.ready().parts["poll"].state is State.FAILING
    assert not health.ready().starting


def test_a_part_that_starts_again_has_its_full_time() -> None:
    clock = Clock()
    health = healthy(clock)
    clock.now += 100

    health.starting("poll")

    assert health.ready().starting


def test_a_standby_copy_stays_ready_without_ever_reading() -> None:
    clock = Clock()
    health = healthy(clock, but=("poll",))

    for _ in range(60):
        clock.now += 60
        health.standby("poll")

    assert health.ready().ready


def test_a_standby_copy_that_no_longer_looks_is_not_ready() -> None:
    clock = Clock()
    health = healthy(clock, but=("poll",))
    health.standby("poll")

    clock.now += 61

    assert health.ready().parts["poll"].state is State.FAILING


def test_parked_and_held_jobs_are_counted_and_ready() -> None:
    health = healthy(Clock())

    health.backlog(parked={"irp": 3}, held={"irp": 30, "kuma": 10})

    readiness = health.ready()
    assert (readiness.ready, readiness.parked, readiness.held) == (True, 3, 40)


def test_liveness_falls_when_a_loop_stops_turning_and_comes_back_with_it() -> None:
    clock = Clock()
    health = Health(monotonic=clock)
    health.expects("poller", timedelta(seconds=30))
    health.expects("worker", timedelta(seconds=90))

    clock.now += 31
    stuck = health.stuck()
    health.beat("poller")

    assert stuck == ("poller",)
    assert health.live()


def test_a_loop_that_ended_or_was_never_expected_is_not_missed() -> None:
    clock = Clock()
    health = Health(monotonic=clock)
    health.expects("watch", timedelta(seconds=30))

    health.ended("watch")
    health.beat("stranger")
    clock.now += 3600

    assert health.live()


def test_every_success_is_told_to_the_metric() -> None:
    heard: list[Part] = []
    health = Health(monotonic=Clock(), on_success=heard.append)

    health.succeeded("poll")
    health.failed("irp", "why")

    assert heard == ["poll"]


def test_what_is_switched_off_says_so_whatever_is_reported() -> None:
    health = healthy(Clock())
    health.off("close", "switched off")

    health.succeeded("close")
    health.failed("close", "why")
    health.trouble("close", "watch", "watch: why")

    assert health.ready().parts["close"].state is State.OFF
    assert health.ready().ready


def test_a_duty_that_fails_is_not_hidden_by_the_others_success() -> None:
    health = healthy(Clock())

    health.trouble("close", "watch", "watch: answered 404")
    health.succeeded("close")
    unwell = health.ready()
    health.trouble("close", "watch", "")

    assert (unwell.ready, unwell.parts["close"].reason) == (False, "watch: answered 404")
    assert health.ready().ready


def test_work_that_waits_while_none_is_done_shows_however_well_the_part_looks() -> None:
    clock = Clock()
    health = healthy(clock)
    health.works_within("delivery", timedelta(minutes=15))

    clock.now += 901
    health.succeeded("delivery")
    health.succeeded("poll")
    dry = health.ready()
    health.worked("delivery")

    assert (dry.ready, dry.parts["delivery"].state) == (False, State.FAILING)
    assert dry.parts["delivery"].reason == "nothing done for 901 s, though work waits"
    assert health.ready().ready


def test_a_loop_is_dead_when_it_is_overdue_by_several_times_its_limit() -> None:
    clock = Clock()
    health = Health(monotonic=clock)
    health.expects("poll", timedelta(seconds=30))

    clock.now += 89
    late = (health.live(), health.stuck(3))
    clock.now += 2

    assert late == (False, ())
    assert health.stuck(3) == ("poll",)


def test_a_time_in_which_nothing_could_turn_is_held_against_no_loop() -> None:
    clock = Clock()
    health = Health(monotonic=clock)
    health.expects("poll", timedelta(seconds=30))
    health.expects("watch", timedelta(seconds=30))
    clock.now += 10

    clock.now += 3600
    health.beat("watch")
    health.stood_still(3600)
    clock.now += 19
    forgiven = health.live()
    clock.now += 2
    first = health.stuck()
    clock.now += 10

    assert forgiven
    assert first == ("poll",)
    assert health.stuck() == ("poll", "watch"), "what has beaten since is given no more than its time"


def test_a_paused_part_is_ready_and_has_its_full_time_afterwards() -> None:
    clock = Clock()
    health = healthy(clock)
    health.works_within("delivery", timedelta(seconds=60))
    health.failed("kuma", "away")
    health.trouble("close", "watch", "watch: away")
    health.off("irp")

    health.maintained(dict.fromkeys(("kuma", "poll", "delivery", "close", "irp"), "an operator paused it"))
    clock.now += 3600
    during = health.ready()
    health.trouble("close", "watch", "")
    health.succeeded("kuma")
    health.maintained({})
    clock.now += 50
    after = health.ready()
    clock.now += 20
    late = health.ready()

    assert during.ready
    assert {part: state.state for part, state in during.parts.items() if state.maintenance} == dict.fromkeys(
        ("kuma", "poll", "delivery", "close"), State.PAUSED
    )
    assert during.parts["irp"].state is State.OFF
    assert after.ready
    assert {part for part, state in late.parts.items() if state.state is State.FAILING} == {"poll", "delivery"}


def test_a_report_of_a_target_that_is_not_awaited_yet_or_any_more_changes_nothing() -> None:
    health = Health(monotonic=lambda: 0.0)
    before = health.ready()

    health.succeeded("irp:north")
    health.failed("irp:north", "out of reach")

    assert health.ready() == before
