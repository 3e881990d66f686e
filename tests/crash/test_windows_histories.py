"""Late, tied, moving: whatever KUMA does between two requests and however a read ends, nothing is lost or doubled.

Every poll that nothing disturbed is judged by what the watermark it started from obliges it to show; the end by both
sides laid side by side. Real program, real store, real sockets; only KUMA's clock stands still between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pages import Eye, Pages, paging

from kuma_sync.sim.values import Json

# Many requests: on a busy machine they take their time.
pytestmark = pytest.mark.timeout(300)

ANY = st.integers(0, 199)
FEW = st.sampled_from([1, 1, 2, 3, 5])
MOST = 30
WHERE = st.one_of(
    st.integers(1, 4).map(lambda page: f"page={page}$"),
    st.sampled_from(["withEvents", "timestampField=lastSeen", "timestampField=firstSeen", "id="]),
)
_houses: list[Pages] = []


@pytest.fixture(scope="module", autouse=True)
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with paging(tmp_path_factory.mktemp("pages")) as house:
        _houses.append(house)
        yield
        _houses.remove(house)


class Windows(RuleBasedStateMachine):
    """KUMA, its pages, and a program that may die."""

    def __init__(self) -> None:
        super().__init__()
        (self.house,) = _houses

    @initialize(
        size=st.one_of(st.integers(1, 6), st.integers(1, 50), st.just(250)),
        skew=st.sampled_from([0, -600, 600]),
        header=st.sampled_from([0, 0, -600, 600]),
        fractions=st.booleans(),
        number=st.sampled_from([0, 1, 3, 7]),
    )
    def a_world_begins(self, size: int, skew: int, header: int, fractions: bool, number: int) -> None:
        """KUMA's clock is not ours, and its Date header need not be the clock that dates its alerts."""
        stage = self.house.paged(size, skew=timedelta(seconds=skew))
        stage.kuma.knobs.clock_skew = header
        stage.kuma.knobs.fraction_seconds = fractions
        self.kuma, self.eye = stage.kuma, Eye(house=self.house, stage=stage)
        self._appear(number, 0)

    # KUMA changes

    @rule(number=FEW, age=st.sampled_from([0, 1, 60, 1500, 1799, 1800]))
    def alerts_appear(self, number: int, age: int) -> None:
        """A rule fires; its alerts are published at once, or up to half an hour late."""
        self._appear(number, age)

    @rule(number=FEW, age=st.sampled_from([0, 0, 1, 60, 1500]))
    def alerts_appear_and_are_taken_before_anybody_reads_them(self, number: int, age: int) -> None:
        before = set(self.kuma.alerts)
        self._appear(number, age)
        for alert_id in self.kuma.alerts.keys() - before:
            self.kuma.assign(alert_id)

    @rule(number=st.sampled_from([1, 3, 6]), behind=st.sampled_from([0, 0, 1799, 1800]))
    def alerts_appear_in_the_newest_second_or_as_far_behind_it_as_the_overlap(self, number: int, behind: int) -> None:
        seen = [when for when in map(self.eye.moment, self.kuma.alerts.values()) if when <= self.kuma.clock()]
        self._appear(number, behind + ((self.kuma.clock() - max(seen)).total_seconds() if seen else 0))

    @rule(age=st.sampled_from([1801, 2401, 18_000, 200_000]))
    def an_alert_appears_later_than_the_overlap(self, age: int) -> None:
        self._appear(1, age)

    @rule(ahead=st.sampled_from([1, 7200, 86_400]))
    def an_alert_is_dated_ahead(self, ahead: int) -> None:
        self._appear(1, -ahead)

    @rule(which=ANY, events=st.integers(1, 3), moves=st.booleans())
    def an_alert_grows(self, which: int, events: int, moves: bool) -> None:
        if alert := self._alert(which, "new", "assigned"):
            self.eye.grow(alert, events, moves=moves)

    @rule(which=ANY, priority=st.sampled_from(["low", "medium", "high", "critical"]))
    def an_alert_is_edited(self, which: int, priority: str) -> None:
        if alert := self._alert(which, "new"):
            self.kuma.edit(alert["id"], priority=priority)

    @rule(which=ANY)
    def an_alert_is_assigned(self, which: int) -> None:
        if alert := self._alert(which, "new"):
            self.kuma.assign(alert["id"])

    @rule(which=ANY)
    def an_alert_comes_back_to_new(self, which: int) -> None:
        if alert := self._alert(which, "assigned"):
            self.kuma.unescalate(alert["id"])

    @rule(seconds=st.sampled_from([1, 60, 600, 1860]))
    def time_passes(self, seconds: int) -> None:
        self.eye.time_passes(seconds=seconds)

    # The read is disturbed

    @rule(page=st.integers(1, 4), number=FEW, how=st.sampled_from(["front", "late", "leave", "return", "grow"]))
    def rows_will_change_place_after_a_page(self, page: int, number: int, how: str) -> None:
        def shift(shown: int) -> None:
            if shown == page:
                self.kuma.knobs.after_page = None
                self.eye.disturbed = True
                self._shifted(how, number)

        self.kuma.knobs.after_page = shift

    @rule(
        where=WHERE,
        how=st.sampled_from(["reset_before", "reset_after", "cut", "status", "html"]),
        times=st.integers(1, 4),
    )
    def a_read_will_fail(self, where: str, how: str, times: int) -> None:
        arguments: dict[str, int] = {"cut": {"after": 3000}, "status": {"code": 500}}.get(how, {})
        self.kuma.faults.add(how, match=where, times=times, **arguments)

    @rule(sweep=st.booleans())
    def it_polls(self, sweep: bool) -> None:
        self.eye.poll(sweep=sweep)

    @rule()
    def it_polls_again_in_better_weather(self) -> None:
        self.kuma.faults.clear()
        self.eye.poll()

    @rule(sweep=st.booleans(), steps=st.one_of(st.integers(0, 8), st.integers(0, 40)))
    def it_dies_while_it_polls(self, sweep: bool, steps: int) -> None:
        self.eye.poll(sweep=sweep, steps=steps)

    def teardown(self) -> None:
        """Let the bad day end."""
        if hasattr(self, "eye"):
            self.eye.comes_to_rest()

    def _appear(self, number: int, age: float) -> None:
        seen = self.kuma.clock() - timedelta(seconds=age)
        for _ in range(min(number, MOST - len(self.kuma.alerts))):
            self.kuma.raise_alert(seen=seen, events=1)

    def _shifted(self, how: str, number: int) -> None:
        if how in ("front", "late"):
            self._appear(number, 0 if how == "front" else 900)
            return
        changes: dict[str, tuple[str, Callable[[Json], None]]] = {
            "leave": ("new", lambda alert: self.kuma.assign(alert["id"])),
            "return": ("assigned", lambda alert: self.kuma.unescalate(alert["id"])),
            "grow": ("new", lambda alert: self.eye.grow(alert, 1, moves=True)),
        }
        status, change = changes[how]
        for _ in range(number):
            if alert := self._alert(0 if how == "leave" else number, status):
                change(alert)

    def _alert(self, which: int, *statuses: str) -> Json:
        fitting = [alert for alert in self.kuma.alerts.values() if alert["status"] in statuses]
        return fitting[which % len(fitting)] if fitting else {}


Windows.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestWindows = Windows.TestCase
