"""Late, tied and moving alerts, each told as a story of its own; what the histories found is among them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages import Eye, Pages, paging
from stage import metric
from structlog.testing import capture_logs

from kuma_sync.sim.values import Json

# Some of these are many requests: on a busy machine they take their time.
pytestmark = pytest.mark.timeout(300)

MANY = 150
FULL = "withEvents&withAffected&status=new&page="


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """One house for all stories: what is costly to make is made once."""
    with paging(tmp_path_factory.mktemp("pages")) as house:
        yield house


@pytest.fixture
def wide_house(tmp_path: Path) -> Iterator[Pages]:
    """One with room for many deliveries at once."""
    with paging(tmp_path, concurrency=20) as house:
        yield house


def world(house: Pages, size: int, *, skew: float = 0, page_cap: int = 4000) -> Eye:
    return Eye(house=house, stage=house.paged(size, skew=timedelta(seconds=skew), page_cap=page_cap))


def appear(eye: Eye, number: int, *, age: float = 0, events: int = 1) -> list[Json]:
    seen = eye.stage.kuma.clock() - timedelta(seconds=age)
    return [eye.stage.kuma.alerts[eye.stage.kuma.raise_alert(seen=seen, events=events)] for _ in range(number)]


def asked(eye: Eye, since: int = 0) -> list[str]:
    return eye.stage.queries()[since:]


# Tied


@pytest.mark.parametrize(("size", "number"), [(2, 52), (50, MANY)])
def test_all_alerts_of_one_second_arrive_once_and_grow_within_that_second(
    wide_house: Pages, size: int, number: int
) -> None:
    eye = world(wide_house, size)
    ids = [alert["id"] for alert in appear(eye, 1)]
    eye.poll()
    ids += [alert["id"] for alert in appear(eye, number - 2, events=0)]
    eye.poll()

    ids += [alert["id"] for alert in appear(eye, 1)]
    eye.stage.kuma.edit(ids[number // 2], name="Another name")
    eye.grow(eye.stage.kuma.alerts[ids[0]], 1, moves=False)
    eye.poll()
    told = len(eye.stage.wrote("update"))
    before = len(asked(eye))
    eye.poll()
    quiet = asked(eye, before)
    eye.comes_to_rest()

    assert len(eye.stage.wrote("create")) == len(eye.stage.irp.incidents) == number
    assert told == 1
    assert not any("withEvents" in query for query in quiet)
    assert len(quiet) == number // size, "its pages, and no empty one behind them while nothing changes"


@given(
    size=st.integers(1, 50),
    number=st.integers(48, 52),
    page=st.integers(1, 3),
    how=st.sampled_from(["reset_after", "cut", "status", "html"]),
    steps=st.one_of(st.none(), st.integers(0, 30)),
)
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_about_fifty_alerts_of_one_second_are_all_seen_however_the_first_reads_end(
    house: Pages, size: int, number: int, page: int, how: str, steps: int | None
) -> None:
    eye = world(house, size)
    alerts = appear(eye, number)
    eye.stage.kuma.faults.add(how, match=f"page={page}$", times=3, **({"after": 3000} if how == "cut" else {}))
    eye.poll()
    eye.poll(steps=steps)
    appear(eye, 3)
    for alert in alerts[:3]:
        eye.grow(alert, 2, moves=False)
    eye.poll(steps=steps)
    eye.poll()

    eye.comes_to_rest()


# Broken off


def test_a_first_read_that_dies_anywhere_is_not_repeated_for_ever(house: Pages) -> None:
    """All that it showed is recorded: nothing is new the second time, yet the watermark has to come so far."""
    for steps in range(3, 11):
        eye = world(house, 2)
        appear(eye, 5)
        eye.poll(steps=steps)

        eye.poll()
        before = len(asked(eye))
        eye.poll()

        assert asked(eye, before), f"steps: {steps}"
        assert not any(query.startswith(FULL) for query in asked(eye, before)), f"steps: {steps}"


def test_a_read_that_fails_behind_what_is_new_does_not_leave_the_watermark_behind(house: Pages) -> None:
    eye = world(house, 50)
    appear(eye, 1)
    eye.poll()
    eye.time_passes(seconds=60)
    appear(eye, 1)
    eye.stage.kuma.faults.add("status", match="firstSeen", code=500, times=3)
    failed = eye.poll(sweep=True)

    # The eye sees to it that an undisturbed poll brings the watermark to the newest alert.
    eye.poll()

    assert "500" in failed.trouble


@pytest.mark.parametrize(("sweep", "times"), [(False, 6), (True, 3), (True, 6)])
def test_growth_is_told_though_the_last_look_at_it_fails(house: Pages, sweep: bool, times: int) -> None:
    """The batch fails, then the alert alone, while its neighbour can be read: it is still to be looked at."""
    eye = world(house, 50)
    grown, _neighbour = appear(eye, 2)
    eye.poll()
    eye.time_passes(minutes=1)
    appear(eye, 1)
    eye.poll()
    eye.grow(grown, 1, moves=False)
    eye.time_passes(minutes=31)
    fault = eye.stage.kuma.faults.add("status", match=f"id={grown['id']}", code=500, times=times)
    eye.poll(sweep=sweep)

    eye.comes_to_rest()

    assert fault.fired == times
    assert len(eye.stage.incident(grown["id"]).events) == 2


def test_what_was_late_while_reads_failed_is_seen_later_without_a_sweep(house: Pages) -> None:
    eye = world(house, 50)
    appear(eye, 1)
    eye.poll()
    (late,) = appear(eye, 1, age=1700)
    eye.stage.kuma.faults.add("status", match="?timestampField=lastSeen", code=500)
    for _ in range(3):
        eye.time_passes(minutes=15)
        appear(eye, 1)
        assert "500" in eye.poll().trouble
    eye.stage.kuma.faults.clear()

    eye.poll()

    assert len(eye.stage.incident(late["id"]).events) == 1
    assert not any("firstSeen" in query for query in asked(eye))


# Late, or ahead


@pytest.mark.parametrize(("tied", "at_once"), [(1, True), (50, True), (51, False)])
def test_only_what_lies_behind_the_watermark_counts_as_late(house: Pages, tied: int, at_once: bool) -> None:
    eye = world(house, 250)
    alerts = appear(eye, tied)
    eye.poll()
    eye.grow(alerts[-1], 1, moves=False)
    eye.poll()
    told = len(eye.stage.wrote("update"))
    eye.time_passes(seconds=60)
    appear(eye, 2)
    # As late as can be: `from` is inclusive.
    appear(eye, 3, age=60 + 1800)

    eye.poll()

    assert (told == 1) is at_once
    assert eye.runtime is not None
    assert metric(eye.runtime.metrics, "late_alerts_total") == 3


def test_an_alert_that_appears_between_two_reads_of_a_poll_is_not_late(house: Pages) -> None:
    eye = world(house, 250)
    appear(eye, 1)
    eye.poll()

    def publish(_page: int) -> None:
        eye.stage.kuma.knobs.after_page = None
        appear(eye, 1)

    eye.stage.kuma.knobs.after_page = publish
    eye.poll(disturbed=True)

    assert eye.runtime is not None
    assert metric(eye.runtime.metrics, "late_alerts_total") == 0
    eye.comes_to_rest()


@pytest.mark.parametrize("ahead", [7200, 86_400])
@pytest.mark.parametrize("skew", [-600, 0, 600])
def test_an_alert_dated_ahead_stalls_nothing_whatever_our_clock_says(house: Pages, skew: int, ahead: int) -> None:
    eye = world(house, 50, skew=skew)
    (dated_ahead,) = appear(eye, 1, age=-ahead)
    eye.poll()
    for age in (0, 60, 1500, 1800):
        eye.time_passes(seconds=1)
        appear(eye, 1, age=age)
        eye.grow(dated_ahead, 1, moves=False)
        # The eye sees to it that an undisturbed poll shows all of these, and tells the skew.
        eye.poll()

    assert len(eye.stage.wrote("create")) == 5
    assert len(eye.stage.incident(dated_ahead["id"]).events) == 5
    eye.comes_to_rest()


# Pages that do not end, and what is no page


@given(size=st.integers(1, 20), more=st.integers(0, 9), known=st.booleans(), sweep=st.booleans())
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_kuma_that_ignores_page_is_asked_twice_a_read_and_never_taken_for_complete(
    house: Pages, size: int, more: int, known: bool, sweep: bool
) -> None:
    eye = world(house, size)
    if known:
        appear(eye, 1)
        eye.poll()
    appear(eye, size + more)
    eye.stage.kuma.knobs.clamp_page = True
    before, swept = len(asked(eye)), eye.stage.kuma.clock()
    with capture_logs() as logs:
        polled = eye.poll(sweep=sweep, disturbed=True)
    listings = [query for query in asked(eye, before) if "id=" not in query]
    cursor = eye.cursor()

    assert "repeated" in polled.trouble
    assert {line["event"] for line in logs if line["log_level"] == "error"} == {"paging_does_not_end"}
    assert len(listings) <= (6 if known else 2)
    assert cursor.watermark == (swept if known else None)
    eye.stage.kuma.knobs.clamp_page = False
    eye.comes_to_rest()


def test_a_listing_longer_than_the_cap_is_not_taken_for_complete_and_ends(house: Pages) -> None:
    eye = world(house, 2, page_cap=3)
    appear(eye, 9)
    with capture_logs() as logs:
        polled = eye.poll(disturbed=True)
        again = eye.poll(disturbed=True)

    assert "cap" in polled.trouble
    assert "cap" in again.trouble
    assert [line["how"] for line in logs if line["event"] == "paging_does_not_end"] == ["cap"] * 3
    assert [query for query in asked(eye) if query.startswith(FULL)] == [
        f"{FULL}{page}" for _ in range(2) for page in (1, 2, 3)
    ]
    assert len(eye.known()) == 6
    assert eye.cursor().watermark is None


@pytest.mark.parametrize(("match", "most"), [("", 3), ("id=", 3 + 3 + 3 * 3)])
def test_a_page_for_people_is_asked_for_a_few_times_a_poll_and_nothing_is_lost(
    house: Pages, match: str, most: int
) -> None:
    eye = world(house, 50)
    appear(eye, 1)
    eye.poll()
    appear(eye, 20, age=900)
    eye.stage.kuma.faults.add("html", match=match)
    before = len(asked(eye))
    troubles = [eye.poll().trouble for _ in range(4)]
    requests = len(asked(eye)) - before

    assert requests <= 4 * most
    assert all("text/html" in trouble for trouble in troubles), troubles
    eye.comes_to_rest()
