"""Closings: KUMA's reasons, requests to close an alert, and how the IRP's list of closed incidents is understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from kuma_sync.core.alert import AlertId
from kuma_sync.core.incident import Found, Incident, Origin, Resolution
from kuma_sync.core.moments import before
from kuma_sync.core.text import same_incident_id
from kuma_sync.core.transitions import choose
from kuma_sync.core.window import next_watermark


class Reason(StrEnum):
    """The reasons KUMA accepts, in lower case as its API page prints them (KUMA help 222255, 269917)."""

    RESPONDED = "responded"
    INCORRECT_DATA = "incorrect data"
    INCORRECT_RULE = "incorrect correlation rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRequest:
    """An alert to close in KUMA. `reason` None means that the resolution has no reason and a human must give one.

    `target` is the one that the caller's token belongs to: it may close its own alerts. None: any.
    """

    alert_id: AlertId
    reason: Reason | None
    origin: Origin
    by: str = ""
    comment: str = ""
    incident: str = ""
    resolution: str = ""
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KumaAnswer:
    """KUMA's final word on a closing: 204, or 400, 404, 406 in its own words."""

    status: int
    message: str = ""
    details: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedReason:
    """The reason that a resolution was mapped to; `listed` is false if the default was taken."""

    reason: Reason | None
    listed: bool


def parse_reason(text: str) -> Reason | None:
    """Read a reason whatever its case (KUMA's own R-Vision page, 225576, prints capitals); None if it is none."""
    folded = " ".join(text.split()).casefold()
    return next((reason for reason in Reason if reason.value == folded), None)


def close_reason(resolution: str, table: Mapping[str, Reason], default: Reason | None) -> MappedReason:
    """Map an IRP's resolution to KUMA's reason, compared without case; the default covers what is not listed."""
    folded = resolution.strip().casefold()
    for listed, reason in table.items():
        if listed.strip().casefold() == folded:
            return MappedReason(reason=reason, listed=True)
    return MappedReason(reason=default, listed=False)


OVERLAP = timedelta(minutes=10)
FIRST_LOOK_BACK = timedelta(days=1)


def since(watched_until: datetime | None, *, born_at: datetime) -> datetime:
    """Return from when closed incidents are asked for; `born_at` is when the store was made."""
    if watched_until is None:
        return before(born_at, FIRST_LOOK_BACK)
    return before(watched_until, OVERLAP)


def lies_ahead(moment: datetime | None, now: datetime) -> bool:
    """Tell whether a time lies so far ahead of a clock that closings may hide behind it."""
    return moment is not None and moment - now > OVERLAP


def next_watched(
    known: datetime | None, rows: Sequence[Resolution], awaited: Sequence[Resolution], *, now: datetime
) -> datetime | None:
    """Return up to when the list is known, after a round that read it to its end.

    That is the newest `updated`, clamped to the IRP's clock (`now`; ours where it does not tell the time). Where no row
    has a time that can be read, it is a day before `now`: whatever was closed before this round was in it, and a day
    is more than clocks and zones may differ by. What is awaited must be shown again by the next round.
    """
    times = [row.updated for row in rows if row.updated is not None]
    reached = max(times, default=before(now, FIRST_LOOK_BACK) if rows else None)
    for row in awaited:
        if row.updated is None:
            reached = None
        elif reached is not None:
            reached = min(reached, row.updated)
    return next_watermark(known, reached, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The alert that a row of the IRP's list belongs to. Unless it is `sure`, `find` decides.

    `doubted` is the alert whose incident the row's id was known as, where its key names another.
    """

    alert_id: AlertId
    sure: bool = True
    doubted: AlertId | None = None


def claim_of(row: Resolution, *, by_id: AlertId | None, by_key: AlertId | None) -> Claim | None:
    """Return the alert that a row belongs to, by the alerts known for its id and for its key; None if it is not ours.

    The key counts: an incident that was moved has another id. But somebody may have made a second incident with this
    key, closed as a duplicate, or the IRP may have given our incident's id to another one.
    """
    if by_key is not None:
        sure = by_id == by_key or not row.incident_id
        return Claim(alert_id=by_key, sure=sure, doubted=None if by_id == by_key else by_id)
    return None if by_id is None else Claim(alert_id=by_id, sure=not row.key.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedIncident:
    """An incident that the IRP closed: the row that says how it was resolved, and the incident as it is called now."""

    row: Resolution
    incident: Incident


def made_out(row: Resolution, found: Sequence[Found], known: Incident) -> ClosedIncident | Incident | None:
    """Decide what an unsure row means, by the incidents that `find` shows for the alert's key.

    A closing; or the incident that is open, where it is not the one we know; or None: nothing. Where `find` shows
    nothing (or cannot be asked) the row counts: it is all that the IRP says.
    """
    if not found:
        return ClosedIncident(row=row, incident=replace(known, id=row.incident_id or known.id))
    chosen = choose(found)
    if not chosen.closed:
        return None if same_incident_id(chosen.incident.id, known.id) else chosen.incident
    same = same_incident_id(chosen.incident.id, row.incident_id)
    resolution = chosen.resolution or (row.resolution if same else "")
    return ClosedIncident(row=replace(row, resolution=resolution), incident=chosen.incident)
