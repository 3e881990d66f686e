"""Whether an alert and its incident agree, by what KUMA shows, what the store knows, and what the IRP finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kuma_sync.core.alert import Alert, AlertId, AlertSnapshot
from kuma_sync.core.incident import Found
from kuma_sync.core.link import Link, Offered
from kuma_sync.core.routing import IGNORE, NO_ROUTE
from kuma_sync.core.text import same_incident_id

SEVERAL = 2


class Verdict(StrEnum):
    """How an alert stands to its incident."""

    AGREES = "agrees"
    LOST = "lost"
    DOUBLED = "doubled"
    DIFFERING = "differing"
    HALF_CLOSED = "closed on one side only"
    EXPLAINED = "explained"
    """There is no agreement, and the store says why: it was ignored, is held, waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What the queues have of an alert: in words why it is parked or held, and whether something waits."""

    parked: bool = False
    held: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What both sides and the store have of an alert.

    `alert` is None where KUMA has it no more, `found` where the IRP cannot be asked.
    """

    alert_id: AlertId
    alert: Alert | None
    snapshot: AlertSnapshot | None = None
    link: Link | None = None
    jobs: Jobs = Jobs()
    found: Sequence[Found] | None = None
    target: str = ""
    """Where it goes: by its link, else by the routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Which closings the configuration carries, and whether the target's `find` shows them."""

    to_kuma: bool
    to_irp: bool
    find_shows_closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict about an alert, why, and the incidents that it is about."""

    alert_id: AlertId
    verdict: Verdict
    why: str = ""
    incidents: tuple[str, ...] = ()
    target: str = ""
    found: int = 0
    """How many incidents the IRP found."""

    @property
    def wrong(self) -> bool:
        """Tell whether the sides do not agree, and nothing explains it."""
        return self.verdict not in (Verdict.AGREES, Verdict.EXPLAINED)


def judge(known: Evidence, carried: Carried) -> Judged:
    """Judge one alert."""
    verdict, why = _judge(known, carried)
    ours, found = known.link.incident if known.link is not None else None, known.found or ()
    incidents = [one.incident for one in found] or ([ours] if ours is not None else [])
    names = tuple(incident.number or incident.id for incident in incidents)
    return Judged(
        alert_id=known.alert_id, verdict=verdict, why=why, incidents=names, target=known.target, found=len(found)
    )


def _judge(known: Evidence, carried: Carried) -> tuple[Verdict, str]:
    link, found = known.link, known.found
    still_open = [one for one in found or () if not (carried.find_shows_closed and one.closed)]
    if len(still_open) >= SEVERAL:
        return Verdict.DOUBLED, f"{len(still_open)} incidents"
    if link is None:
        return _unrecorded(known)
    if (reason := _explained(known, link)) is not None:
        return Verdict.EXPLAINED, reason
    if not link.made:
        if found:
            return Verdict.DIFFERING, "there is an incident that the store does not know"
        return Verdict.LOST, "no incident, and nothing waits to make one"
    if found is not None and not found:
        if link.alert_closed and link.incident_closed:
            return Verdict.EXPLAINED, "closed, deleted in the IRP"
        return Verdict.LOST, "its incident is not found"
    return _made(known, link, carried)


def _unrecorded(known: Evidence) -> tuple[Verdict, str]:
    if known.target == IGNORE:
        return Verdict.EXPLAINED, "ignored by a route"
    if known.found:
        return Verdict.DIFFERING, "there is an incident, but the store does not know the alert"
    return Verdict.LOST, "the store does not know the alert"


def _explained(known: Evidence, link: Link) -> str | None:
    """Return why the sides need not agree now; None where nothing explains it."""
    explanations = (
        ("parked", known.jobs.parked),
        ("held by the brake", known.jobs.held or link.held_create or link.held_close),
        ("dropped", link.dropped),
        ("missed", link.missed),
        ("ignored", link.ignored),
        ("no route", link.target == NO_ROUTE),
        ("waits on a queue", known.jobs.waits),
        ("waits for a resolution", link.unresolved_at is not None),
    )
    return next((reason for reason, holds in explanations if holds), None)


def _made(known: Evidence, link: Link, carried: Carried) -> tuple[Verdict, str]:
    alert, ours = known.alert, link.incident
    its = [one for one in known.found or () if ours is not None and same_incident_id(one.incident.id, ours.id)]
    if known.found and ours is not None and not its:
        return Verdict.DIFFERING, f"the store has incident {ours.number or ours.id}, the IRP shows another"
    if alert is None:
        return Verdict.EXPLAINED, "gone from KUMA"
    # Of one that polls us, and where find does not tell, the store's word has to do.
    closed = its[0].closed if its and carried.find_shows_closed else link.incident_closed
    if closed != alert.closed:
        return _half_closed(alert, link, carried, incident_closed=closed)
    return (Verdict.AGREES, "") if closed else _compared(known, alert, link)


def _half_closed(alert: Alert, link: Link, carried: Carried, *, incident_closed: bool) -> tuple[Verdict, str]:
    if incident_closed:
        if not carried.to_kuma:
            return Verdict.EXPLAINED, "closed in the IRP, close.to_kuma is off"
        return Verdict.HALF_CLOSED, f"closed in the IRP, {alert.status or 'without a status'} in KUMA"
    if link.incident_closed:
        return Verdict.EXPLAINED, "reopened in the IRP"
    if isinstance(link.live, Offered):
        return Verdict.AGREES, ""  # it was put out as closed: what becomes of it there nobody tells us
    if not carried.to_irp:
        return Verdict.EXPLAINED, "closed in KUMA, closings are not carried to the IRP"
    return Verdict.HALF_CLOSED, "closed in KUMA, open in the IRP"


def _compared(known: Evidence, alert: Alert, link: Link) -> tuple[Verdict, str]:
    snapshot = known.snapshot
    if snapshot is None or not snapshot.same_scalars(alert):
        fields = "" if snapshot is None else ", ".join(differing(snapshot.alert, alert))
        return Verdict.DIFFERING, f"KUMA shows other values than were read last: {fields or 'the alert'}"
    if link.sent.fingerprint != snapshot.fingerprint:
        return Verdict.DIFFERING, "the incident has not been told the alert's last change"
    return Verdict.AGREES, ""


def differing(before: Alert, now: Alert) -> list[str]:
    """Name the fields in which two states of an alert differ."""
    return [name for name in Alert.__dataclass_fields__ if getattr(before, name) != getattr(now, name)]
