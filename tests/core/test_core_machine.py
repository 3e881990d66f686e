"""One alert and a moody IRP: whatever answers are lost, late or refused, there is never a second incident.

The machine plays the shell: it commits what the core returns, and may die between any two of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from builders import NOW, a_link, an_event, an_incident, changed, seconds, seen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kuma_sync.core.alert import Fingerprint, first_snapshot
from kuma_sync.core.incident import Found, Origin
from kuma_sync.core.link import DeliveredState, Doubt, Link
from kuma_sync.core.retry import Park, RetryAt
from kuma_sync.core.steps import Close, Compare, Create, FindFirst, Nothing, TargetCapabilities, next_step
from kuma_sync.core.transitions import (
    absent,
    after_found,
    after_not_found,
    alert_closed,
    choose,
    created,
    duplicated,
    first_not_found,
    incident_closed,
    intended,
    missing,
    refused,
    released,
    unidentified,
    updated,
)

SETTLE = seconds(5)
FATES = st.sampled_from(["done", "done", "lost on the way", "answer lost", "refused", "died before", "died after"])


@dataclass
class Row:
    """An incident as the IRP keeps it; `find` shows it from `shown_at` on."""

    number: int
    content: Fingerprint
    shown_at: timedelta
    closed: bool = False


class MoodyIrp:
    """Keeps incidents of one key; does not look for a twin unless `unique`."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.made = 0
        self.unique = False
        self.lag = timedelta()
        self.tells_ids = True

    def create(self, content: Fingerprint, now: timedelta) -> Row | None:
        if self.unique and self.rows:
            return None
        self.made += 1
        self.rows.append(Row(number=self.made, content=content, shown_at=now + self.lag))
        return self.rows[-1]

    def find(self, now: timedelta) -> list[Found]:
        return [
            Found(incident=an_incident(id=str(row.number)), closed=row.closed)
            for row in self.rows
            if row.shown_at <= now
        ]

    def row(self, incident_id: str) -> Row | None:
        return next((row for row in self.rows if str(row.number) == incident_id), None)


class OneAlert(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = timedelta()
        self.irp = MoodyIrp()
        self.events = 1
        self.snapshot = first_snapshot(seen(events=[an_event(ID=0)]))
        self.link = a_link()
        self.parked: Park | None = None
        self.due = timedelta()
        self.close_in_kuma = False
        self.closed_in_kuma_by_us = 0
        self.closed_in_kuma = False

    @rule()
    def a_quiet_while(self) -> None:
        for _ in range(8):
            self.now += seconds(1)
            if self.parked is None and self.due <= self.now:
                self.the_worker_takes_its_job("done")

    # The world moves

    @rule(seconds_=st.sampled_from([0.5, 1, 5, 60]))
    def time_passes(self, seconds_: float) -> None:
        self.now += seconds(seconds_)

    @initialize(
        lag=st.sampled_from([0, 1, 5]),
        unique=st.booleans(),
        tells_ids=st.sampled_from([True, True, False]),
        doubt=st.sampled_from([Doubt.UNKNOWN, None]),
    )
    def it_begins(self, lag: float, unique: bool, tells_ids: bool, doubt: Doubt | None) -> None:
        self.irp.lag, self.irp.unique, self.irp.tells_ids = seconds(lag), unique, tells_ids
        self.link = a_link(doubt=doubt)

    @rule()
    def the_alert_grows(self) -> None:
        self.snapshot = self.snapshot.with_seen(
            seen(events=[an_event(ID=self.events)], status=self.snapshot.alert.status)
        )
        self.events += 1
        self.parked = None

    @precondition(lambda self: not self.closed_in_kuma)
    @rule(held=st.booleans())
    def the_alert_is_closed_in_kuma(self, held: bool) -> None:
        self.closed_in_kuma = True
        self.snapshot = self.snapshot.with_seen(seen(status="closed"))
        self.link = alert_closed(self.link, Origin.KUMA, "responded", held=held)

    @rule()
    def the_brake_is_released(self) -> None:
        self.link = released(self.link)

    @precondition(lambda self: self.irp.rows)
    @rule(noticed=st.booleans())
    def an_analyst_closes_the_incident(self, noticed: bool) -> None:
        self.irp.rows[-1].closed = True
        if noticed:
            self._watch()

    @precondition(lambda self: self.irp.rows and self.irp.rows[-1].closed)
    @rule(resync=st.booleans())
    def an_analyst_reopens_the_incident(self, resync: bool) -> None:
        self.irp.rows[-1].closed = False
        if resync:
            self.an_operator_asks_for_a_resync()

    @precondition(lambda self: self.irp.rows)
    @rule(resync=st.booleans())
    def somebody_deletes_the_incident(self, resync: bool) -> None:
        self.irp.rows.pop()
        if resync:
            self.an_operator_asks_for_a_resync()

    @rule()
    def an_operator_asks_for_a_resync(self) -> None:
        self.link = changed(self.link, doubt=Doubt.RESYNC, not_found_at=None)
        self.parked = None

    @precondition(lambda self: self.close_in_kuma)
    @rule()
    def the_closing_reaches_kuma(self) -> None:
        self.close_in_kuma = False
        self.closed_in_kuma_by_us += not self.closed_in_kuma
        self.closed_in_kuma = True
        self.link = alert_closed(self.link, Origin.IRP)

    # The shell works

    @precondition(lambda self: self.parked is None and self.due <= self.now)
    @rule(fate=FATES)
    def the_worker_takes_its_job(self, fate: str) -> None:
        match next_step(self.snapshot, self.link, kept=(), capabilities=TargetCapabilities(settle=SETTLE)):
            case Create():
                self._create(fate)
            case FindFirst() if fate == "done":
                self._find()
            case Compare():
                self._update(fate)
            case Close():
                self._close(fate)
            case _:
                pass

    def _create(self, fate: str) -> None:
        assert self.link.intent is None
        self.link = intended(self.link, DeliveredState(fingerprint=self.snapshot.fingerprint), NOW + self.now)
        if fate in ("died before", "lost on the way"):
            return
        if fate == "refused":
            self.link = refused(self.link, TargetCapabilities())
            return
        row = self.irp.create(self.snapshot.fingerprint, self.now)
        if fate in ("died after", "answer lost"):
            return
        if row is None:
            self.link = duplicated(self.link)
        elif self.irp.tells_ids:
            self.link = created(self.link, an_incident(id=str(row.number)))
        else:
            self.link = unidentified(self.link)

    def _find(self) -> None:
        found = self.irp.find(self.now)
        if found:
            link = after_found(self.link, choose(found))
            if link.incident_closed:
                self._closed_in_the_irp(link)
            self.link = link
            return
        self.link = first_not_found(self.link, NOW + self.now)
        match after_not_found(self.link, asked_at=NOW + self.now, answered_at=NOW + self.now, settle=SETTLE):
            case RetryAt(at=at):
                self.due = at - NOW
            case Park() as parked:
                self.parked = parked
            case None:
                self.link = absent(self.link)

    def _update(self, fate: str) -> None:
        assert self.link.incident is not None
        row = self.irp.row(self.link.incident.id)
        if fate in ("died before", "lost on the way", "refused"):
            return
        if row is not None:
            row.content = self.snapshot.fingerprint
        if fate in ("died after", "answer lost"):
            return
        self.link = updated(self.link, self.snapshot.fingerprint, {}, frozenset()) if row else missing(self.link)

    def _close(self, fate: str) -> None:
        assert self.link.incident is not None
        assert self.link.close_origin is not Origin.IRP
        assert not self.link.held_close
        row = self.irp.row(self.link.incident.id)
        if fate in ("died before", "lost on the way", "refused"):
            return
        if row is not None:
            row.closed = True
        if fate not in ("died after", "answer lost"):
            self.link = incident_closed(self.link, Origin.KUMA)  # 404 on close: settled with a warning

    def _watch(self) -> None:
        known = self.link.incident and self.irp.row(self.link.incident.id)
        if known and known.closed:
            self._closed_in_the_irp(incident_closed(self.link, Origin.IRP, "False positive"))

    def _closed_in_the_irp(self, link: Link) -> None:
        self.link = link
        self.close_in_kuma = self.close_in_kuma or not link.alert_closed

    # What must hold

    @invariant()
    def there_is_never_a_second_incident(self) -> None:
        assert len(self.irp.rows) <= 1

    @invariant()
    def an_alert_is_closed_at_most_once_by_us(self) -> None:
        assert self.closed_in_kuma_by_us <= 1

    def teardown(self) -> None:
        """Let the storm end: every answer arrives, every due job is done."""
        self.irp.tells_ids = True
        self.link = released(self.link)
        for _ in range(8):
            self.a_quiet_while()
            self._watch()
            if self.close_in_kuma:
                self.the_closing_reaches_kuma()
        self._is_at_rest()

    def _is_at_rest(self) -> None:
        assert len(self.irp.rows) <= 1
        if self.parked is not None:
            assert self.parked.reason in {
                "incident deleted",
                "created without an id, and not found",
                "the IRP says it exists already, but does not show it",
            }
            return
        assert next_step(self.snapshot, self.link, kept=(), capabilities=TargetCapabilities()) == Nothing()
        assert not self.link.incident_closed or self.closed_in_kuma
        self._incident_is_true()

    def _incident_is_true(self) -> None:
        assert self.link.incident is not None
        row = self.irp.row(self.link.incident.id)
        if row is None or self.link.incident_closed:
            return  # deleted without anything to tell it since, or closed: no more updates
        assert row.content == self.snapshot.fingerprint
        assert row.closed is False


OneAlert.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestNeverASecondIncident = OneAlert.TestCase


# Walks that the machine may also find, told as they happened elsewhere


def a_walk(*, lag: float = 5) -> OneAlert:
    machine = OneAlert()
    machine.it_begins(lag=lag, unique=False, tells_ids=True, doubt=None)
    return machine


def test_an_unanswered_create_is_not_sent_again_to_an_irp_that_shows_it_late() -> None:
    walk = a_walk(lag=5)

    walk.the_worker_takes_its_job("answer lost")
    walk.teardown()

    assert walk.irp.made == 1


def test_a_resync_does_not_make_a_second_incident_of_a_create_whose_answer_was_lost() -> None:
    walk = a_walk(lag=5)

    walk.the_worker_takes_its_job("died after")
    walk.an_operator_asks_for_a_resync()
    walk.teardown()

    assert walk.irp.made == 1


def test_a_create_that_never_arrived_is_sent_again() -> None:
    walk = a_walk()

    walk.the_worker_takes_its_job("lost on the way")
    walk.teardown()

    assert walk.irp.made == 1


def test_an_incident_reopened_while_its_closing_was_on_the_way_stays_open() -> None:
    walk = a_walk()
    walk.a_quiet_while()

    walk.an_analyst_closes_the_incident(noticed=True)
    walk.an_analyst_reopens_the_incident(resync=True)
    walk.a_quiet_while()
    walk.the_closing_reaches_kuma()
    walk.teardown()

    assert walk.closed_in_kuma
    assert not walk.irp.rows[0].closed
