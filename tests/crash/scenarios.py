"""What the program is doing when it is killed, what it passes meanwhile, and what must be true afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lives import BATCH
from owned import AUDIT, COMMENT, MATCH, UNTIL_EDITED, owning
from stage import Stage

from kuma_sync.sim.irp import Incident

REASONS = {"False positive": "incorrect data", "Resolved": "responded"}
"""An analyst's resolutions, and what KUMA is told."""

ALWAYS = ("leadership_assured", "page_committed", "cursor_moved", "watch_committed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one change must lead to: alerts, and the closings that follow, each with its reason, once."""

    alerts: tuple[str, ...]
    closed_in_kuma: dict[str, str] = field(default_factory=dict)
    closed_in_irp: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of work.

    `change` moves the world, given alerts that are delivered already (`delivered` of them), and says what follows.
    `reaches` are the points passed by a pass that does this work, `again` more visits worth dying at; `repeats` are the
    points at which dying means that events are sent twice, which the contract allows; `profile` changes the profile's
    text.
    """

    delivered: int
    change: Callable[[Stage, list[str]], Expected]
    reaches: tuple[str, ...]
    again: tuple[tuple[str, int], ...] = ()
    repeats: tuple[str, ...] = ()
    profile: Callable[[str], str] = str

    def deaths(self) -> list[tuple[str, int]]:
        """Return at which point, on which visit, a process is to die."""
        return [*self.first_deaths(), *self.again]

    def first_deaths(self) -> list[tuple[str, int]]:
        """Return the deaths at each point's first visit alone."""
        return [(point, 1) for point in self.reaches]


def _create(stage: Stage, _delivered: list[str]) -> Expected:
    many = stage.kuma.raise_alert(events=2 * BATCH + 1)
    return Expected(alerts=(many, *(stage.kuma.raise_alert(events=BATCH) for _ in range(2))))


def _taken(stage: Stage, _delivered: list[str]) -> Expected:
    """Alerts appear, and are taken before anybody reads them."""
    assigned, escalated = stage.kuma.raise_alert(events=2 * BATCH + 1), stage.kuma.raise_alert(events=BATCH)
    stage.kuma.assign(assigned)
    stage.kuma.escalate(escalated)
    return Expected(alerts=(assigned, escalated))


def _update(stage: Stage, delivered: list[str]) -> Expected:
    for alert_id in delivered:
        stage.kuma.grow(alert_id)
        stage.kuma.edit(alert_id, priority="critical", assignee="i.petrova")
    return Expected(alerts=tuple(delivered))


def _owned(stage: Stage, delivered: list[str]) -> Expected:
    """The title of one incident is the analysts' before KUMA changes it; that of the other one is not."""
    stage.irp.analyst_edit(stage.incident(delivered[0]).id, title="Checked by us")
    for alert_id in delivered:
        stage.kuma.grow(alert_id)
        stage.kuma.edit(alert_id, name="another", priority="critical", assignee="i.petrova")
    return Expected(alerts=tuple(delivered))


def _told(stage: Stage, delivered: list[str]) -> Expected:
    """Alerts grow and are closed: what was done is told before the incidents are closed, for then they refuse it."""
    for alert_id in delivered:
        stage.kuma.grow(alert_id)
        stage.kuma.close(alert_id, "responded")
    return Expected(alerts=tuple(delivered), closed_in_irp=dict.fromkeys(delivered, "responded"))


def _add_events(stage: Stage, delivered: list[str]) -> Expected:
    for alert_id in delivered:
        stage.kuma.grow(alert_id, 2 * BATCH + 1)
    return Expected(alerts=tuple(delivered))


def _close_to_kuma(stage: Stage, delivered: list[str]) -> Expected:
    expected = {}
    for alert_id, resolution in zip(delivered, ("False positive", "Resolved"), strict=True):
        stage.irp.analyst_close(stage.incident(alert_id).id, resolution)
        expected[alert_id] = REASONS[resolution]
    return Expected(alerts=tuple(delivered), closed_in_kuma=expected)


def _close_to_irp(stage: Stage, delivered: list[str]) -> Expected:
    expected = dict(zip(delivered, ("responded", "incorrect data", "responded"), strict=True))
    for alert_id, reason in expected.items():
        stage.kuma.close(alert_id, reason)
    return Expected(alerts=tuple(delivered), closed_in_irp=expected)


CREATES = (
    *ALWAYS,
    "job_claimed",
    "find_answered",
    "intent_committed",
    "create_answered",
    "add_events_answered",
    "link_committed",
)
"""The points that a create passes which is looked for first."""

SCENARIOS = {
    "create": Scenario(
        delivered=0,
        change=_create,
        reaches=CREATES,
        again=(("intent_committed", 2), ("create_answered", 3), ("link_committed", 3)),
        repeats=("add_events_answered",),
    ),
    "taken": Scenario(
        delivered=1,
        change=_taken,
        reaches=CREATES,
        again=(("page_committed", 2), ("page_committed", 3), ("link_committed", 2)),
        repeats=("add_events_answered",),
    ),
    "update": Scenario(
        delivered=2,
        change=_update,
        reaches=(*ALWAYS, "job_claimed", "update_begun", "update_answered", "link_committed"),
        again=(("update_answered", 2),),
        repeats=("update_answered",),
    ),
    "owned": Scenario(
        delivered=2,
        change=_owned,
        reaches=(*ALWAYS, "job_claimed", "get_answered", "update_begun", "update_answered", "link_committed"),
        again=(("get_answered", 2), ("link_committed", 2)),
        repeats=("update_answered",),
        profile=owning(owned=UNTIL_EDITED, match=MATCH),
    ),
    "told": Scenario(
        delivered=2,
        change=_told,
        reaches=(
            *ALWAYS,
            "job_claimed",
            "update_begun",
            "update_answered",
            "comment_begun",
            "comment_answered",
            "incident_close_answered",
            "link_committed",
        ),
        again=(("comment_begun", 2), ("link_committed", 2)),
        repeats=("update_answered",),
        profile=owning(owned="", comment=COMMENT, audit=AUDIT),
    ),
    "add_events": Scenario(
        delivered=2,
        change=_add_events,
        reaches=(*ALWAYS, "job_claimed", "update_begun", "update_answered", "add_events_answered", "link_committed"),
        again=(("add_events_answered", 2), ("link_committed", 2)),
        repeats=("update_answered", "add_events_answered"),
    ),
    "close_to_kuma": Scenario(
        delivered=2,
        change=_close_to_kuma,
        reaches=(*ALWAYS, "job_claimed", "close_answered", "close_acknowledged"),
        again=(("close_answered", 2), ("job_claimed", 2)),
    ),
    "close_to_irp": Scenario(
        delivered=3,
        change=_close_to_irp,
        # The alert's new status is told before its incident is closed.
        reaches=(
            *ALWAYS,
            "job_claimed",
            "update_begun",
            "update_answered",
            "incident_close_answered",
            "link_committed",
        ),
        again=(("incident_close_answered", 3), ("link_committed", 2)),
    ),
}


def judge(stage: Stage, expected: Expected, died_at: str) -> None:
    """Assert that all is as if nothing had happened; `died_at` says in words what had."""
    assert stage.agrees(), f"{died_at}\n{stage.verdict()}"
    for alert_id in expected.alerts:
        alert, incident = stage.kuma.alerts[alert_id], stage.incident(alert_id)
        assert {event["ID"] for event in incident.events} == {event["ID"] for event in alert["events"]}, died_at
        assert incident.fields.get("assignee", "") == alert["assignee"], died_at
        if alert_id not in expected.closed_in_kuma:
            assert incident.fields["alertStatus"] == alert["status"], died_at
        assert {name: incident.fields[name] for name in incident.edited} == last_edits(incident), died_at
        assert told_too_often(incident) == [], died_at
        closed = [body["reason"] for deed, body in incident.history if deed == "close"]
        wanted = expected.closed_in_irp.get(alert_id)
        assert closed == ([wanted] if wanted else []), died_at
    ours = [(alert_id, reason) for alert_id, reason in stage.kuma.closes if alert_id in expected.alerts]
    assert sorted(ours) == sorted(expected.closed_in_kuma.items()), died_at
    asked = {call.id for call in stage.kuma.close_calls} & set(expected.alerts)
    assert asked == expected.closed_in_kuma.keys(), f"echoed to where it came from; {died_at}"


def last_edits(incident: Incident) -> dict[str, object]:
    """Return what analysts wrote into an incident."""
    return {name: value for deed, body in incident.history if deed == "analyst_edit" for name, value in body.items()}


def told_too_often(incident: Incident) -> list[str]:
    """Return what comments tell more often than it was done."""
    did = Counter(deed for deed, _ in incident.history)
    lines = [line for comment in incident.comments for line in comment.splitlines()]
    told = Counter(next((deed for word, deed in DEEDS.items() if word in line), line) for line in lines)
    return [deed for deed, number in told.items() if number > did[deed]]


DEEDS = {": created": "create", ": updated": "update", " added": "add_events", ": closed": "close"}
"""What a line of a comment tells, by a word of it."""


def repeated(stage: Stage, alerts: Sequence[str]) -> dict[str, int]:
    """Return how often each event that came more than once came."""
    received = Counter(event["ID"] for alert_id in alerts for event in stage.incident(alert_id).events)
    return {event_id: count for event_id, count in received.items() if count > 1}
