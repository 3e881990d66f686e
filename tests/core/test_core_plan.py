"""Facts about the brake: at, below and above its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import AlertId
from kuma_sync.core.plan import Brake, Plan, check


def ids(count: int) -> list[AlertId]:
    return [AlertId(str(number)) for number in range(count)]


def a_brake(percent: float = 30, min_alerts: int = 10, max_new: int = 0) -> Brake:
    return Brake(max_closed_percent=percent, min_alerts=min_alerts, max_new=max_new)


@pytest.mark.parametrize(
    ("closings", "open_links", "held"),
    [
        (0, 0, False),
        (0, 100, False),
        (9, 9, False),  # all of them, but too few to be an accident
        (10, 10, True),
        (9, 20, False),
        (10, 33, True),  # 30.3 %
        (10, 34, False),  # 29.4 %
        (30, 100, False),  # exactly the share
        (31, 100, True),
        (29, 100, False),
        (3000, 10_000, False),
        (3001, 10_000, True),
        (10, 0, True),  # more closings than open links: certainly not plausible
    ],
)
def test_closings_are_held_above_the_share_and_from_the_number_on(closings: int, open_links: int, held: bool) -> None:
    plan = check(Plan(closings=ids(closings)), a_brake(), open_links=open_links)

    assert plan.held_closings == (frozenset(ids(closings)) if held else frozenset())


@pytest.mark.parametrize(
    ("brake", "closings", "open_links", "held"),
    [
        (a_brake(percent=0, min_alerts=0), 1, 1000, True),  # hold every closing
        (a_brake(percent=0, min_alerts=0), 0, 1000, False),
        (a_brake(percent=100, min_alerts=1), 1000, 1000, False),  # never hold
        (a_brake(percent=33.3, min_alerts=1), 333, 1000, False),
        (a_brake(percent=33.3, min_alerts=1), 334, 1000, True),
    ],
)
def test_the_brake_can_be_set_to_all_and_to_none(brake: Brake, closings: int, open_links: int, held: bool) -> None:
    plan = check(Plan(closings=ids(closings)), brake, open_links=open_links)

    assert bool(plan.held_closings) is held


@pytest.mark.parametrize(
    ("max_new", "before", "creates", "held"),
    [
        (0, 0, 1000, 0),  # no limit
        (0, 500, 1000, 0),
        (5, 0, 4, 0),
        (5, 0, 5, 0),
        (5, 0, 6, 1),
        (5, 3, 2, 0),  # earlier chunks of the same round count
        (5, 3, 4, 2),
        (5, 5, 2, 2),
        (5, 9, 2, 2),
        (5, 0, 0, 0),
    ],
)
def test_creates_beyond_the_limit_of_a_round_are_held(max_new: int, before: int, creates: int, held: int) -> None:
    plan = check(Plan(creates=ids(creates)), a_brake(max_new=max_new), created_before=before)

    assert plan.held_creates == frozenset(ids(creates)[creates - held :])


def test_a_held_closing_does_not_hold_a_create() -> None:
    plan = check(Plan(creates=ids(3), closings=ids(50)), a_brake(), open_links=50)

    assert (plan.held_creates, len(plan.held_closings)) == (frozenset(), 50)


@given(st.lists(st.integers(0, 20), max_size=6), st.integers(1, 40))
def test_however_a_round_is_cut_into_chunks_as_many_creates_pass(chunks: list[int], max_new: int) -> None:
    passed = planned = 0
    for size in chunks:
        plan = check(Plan(creates=ids(size)), a_brake(max_new=max_new), created_before=planned)
        planned += size
        passed += size - len(plan.held_creates)

    assert passed == min(sum(chunks), max_new)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60), st.integers(0, 20))
def test_the_brake_holds_but_never_forgets(creates: int, closings: int, open_links: int, max_new: int) -> None:
    wanted = Plan(creates=ids(creates), closings=ids(closings))

    plan = check(wanted, a_brake(max_new=max_new), open_links=open_links)

    assert (plan.creates, plan.closings) == (wanted.creates, wanted.closings)
    assert plan.held_creates <= set(wanted.creates)
    assert plan.held_closings in (frozenset(), frozenset(wanted.closings))
