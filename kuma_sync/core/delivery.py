"""What an incident needs next, and what a link becomes after it was done.

Must not: render or send anything. Level-triggered: the stored picture and link decide, never the reason a job was
queued for. Every function here returns a value; the shell commits it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kuma_sync.core.alert import EventDigest, Fingerprint, Picture
from kuma_sync.core.incident import Doubt, Found, Incident, Intent, Link, Origin, Sent
from kuma_sync.core.retry import Park, RetryAt
from kuma_sync.core.spelling import same_incident_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the IRP's profile can do and the configuration allows.

    `settle` is how far apart two empty answers of `find` must be after a create that may have happened; `spacing` how
    far apart updates of an alert that changes often (core/budget; zero: no limit). With `find_always` every create is
    preceded by `find`, also one that is tried again after it was refused.
    """

    can_find: bool = True
    find_always: bool = False
    can_update: bool = True
    can_add_events: bool = True
    may_close: bool = True
    settle: timedelta = timedelta(seconds=5)
    spacing: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Create:
    """Make the incident."""


@dataclass(frozen=True, slots=True)
class Update:
    """Send what changed."""


@dataclass(frozen=True, slots=True)
class AddEvents:
    """Send events that did not fit into the create or the update."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the incident, because its alert is closed."""


@dataclass(frozen=True, slots=True)
class FindFirst:
    """Ask the IRP for the incident before anything is written."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, or is not ours to touch."""


Step = Create | Update | AddEvents | Close | FindFirst | Nothing


def next_step(picture: Picture, link: Link, *, unsent: int, desk: Desk) -> Step:
    """Decide what the incident of this alert needs now. `unsent` counts stored events that were not sent yet."""
    if link.dropped or link.ignored or (link.incident is None and link.held_create):
        return Nothing()
    if link.doubt is not None:
        return FindFirst()
    if link.incident is None:
        return Create()
    return Nothing() if link.incident_closed else _keep_true(picture, link, unsent, desk)


def changed_fields(rendered: Mapping[str, str], sent: Mapping[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return (fields to send, fields to clear): digests of rendered top-level fields against those last sent."""
    changed = frozenset(name for name, digest in rendered.items() if sent.get(name) != digest)
    return changed, frozenset(name for name in sent if name not in rendered)


def intended(link: Link, sent: Sent, now: datetime) -> Link:
    """Note a create before it goes out; from here on it may have happened."""
    intent = Intent(sent=sent, at=now)
    return replace(link, intent=intent, doubt=Doubt.AMBIGUOUS, not_found_at=None, sent=link.forgotten)


def created(link: Link, incident: Incident, *, proven: bool = True) -> Link:
    """Bind the incident that our create made: what the intent held is what it holds.

    Where it is not `proven` that `find` shows what this profile's create makes, it is to be looked for.
    """
    doubt = None if proven else Doubt.UNSHOWN
    if link.bound_to(incident, doubt=doubt):
        return link
    sent = link.intent.sent if link.intent else Sent()
    return replace(link, incident=incident, sent=sent, intent=None, doubt=doubt, not_found_at=None)


def refused(link: Link, desk: Desk) -> Link:
    """Take back an intent that certainly did not happen."""
    return replace(link, intent=None, doubt=Doubt.UNKNOWN if desk.find_always else None, not_found_at=None)


def unidentified(link: Link) -> Link:
    """Note that a create was answered as done, but without the incident's id."""
    return replace(link, intent=replace(link.intent, unidentified=True)) if link.intent else link


def duplicated(link: Link) -> Link:
    """Note that the IRP refused a create because the incident exists: it is not known to hold our content."""
    return replace(link, intent=None, doubt=Doubt.DUPLICATE, not_found_at=None, sent=link.forgotten)


def missing(link: Link) -> Link:
    """Note that the IRP no longer knows the incident."""
    return replace(link, doubt=Doubt.MISSING, not_found_at=None)


def unclosed(link: Link) -> Link:
    """Note that the IRP does not know the incident that it was to close."""
    return replace(link, doubt=Doubt.UNCLOSED, not_found_at=None)


def shows(link: Link, found: Sequence[Found]) -> bool:
    """Tell whether `find` showed the incident that we know, and it is open."""
    known = link.incident
    ours = [item for item in found if known is not None and same_incident_id(item.incident.id, known.id)]
    return bool(ours) and not ours[0].closed


def shown(link: Link) -> Link:
    """Note that `find` shows the incident that our create made, and that it is open."""
    if link.doubt is not Doubt.UNSHOWN:
        return link
    return replace(resolution_not_awaited(link), doubt=None, not_found_at=None)


def updated(link: Link, fingerprint: Fingerprint, fields: Mapping[str, str], events: frozenset[EventDigest]) -> Link:
    """Note what an update sent; `fields` are all that the incident holds now, `events` those in this request."""
    return replace(link, sent=Sent(fingerprint=fingerprint, fields=fields, events=link.sent.events | events))


def events_added(link: Link, events: frozenset[EventDigest]) -> Link:
    """Note that these events arrived."""
    return replace(link, sent=replace(link.sent, events=link.sent.events | events))


def incident_closed(link: Link, origin: Origin, reason: str = "", comment: str = "") -> Link:
    """Note that the incident is closed; the first origin and reason stay."""
    closed = replace(link, incident_closed=True, unresolved_at=None)
    if link.close_origin is not None:
        return closed
    return replace(closed, close_origin=origin, close_reason=reason, close_comment=comment)


def resolution_awaited(link: Link, now: datetime) -> Link:
    """Note that the incident was seen closed without a resolution: the next look decides, whatever it shows."""
    return replace(link, unresolved_at=link.unresolved_at or now)


def resolution_not_awaited(link: Link) -> Link:
    """Note that the incident is closed no more: when it is closed again, its resolution is waited for again."""
    return replace(link, unresolved_at=None)


def moved(link: Link, incident: Incident) -> Link:
    """Note what the incident is called now. It is the same one: what it holds by our hand stays."""
    return replace(link, incident=incident)


def closing_named(link: Link, reason: str = "", comment: str = "") -> Link:
    """Note a closing by whoever names an incident that we do not know yet; the first origin and reason stay.

    Whatever shows the alert as closed after this follows that closing, and is not carried back.
    """
    if link.close_origin is not None:
        return link
    return replace(link, close_origin=Origin.IRP, close_reason=reason, close_comment=comment)


def alert_closed(link: Link, origin: Origin, reason: str = "", comment: str = "", *, held: bool = False) -> Link:
    """Note that the alert is closed in KUMA; the first origin and reason stay."""
    closed = replace(link, alert_closed=True, held_close=held or link.held_close, gone=False)
    if link.close_origin is not None:
        return closed
    return replace(closed, close_origin=origin, close_reason=reason, close_comment=comment)


def choose(found: Sequence[Found]) -> Found:
    """Pick among several incidents of one alert: the first open one in the answer's order, else the first."""
    return next((item for item in found if not item.closed), found[0])


def after_found(link: Link, found: Found) -> Link:
    """Bind what `find` showed: by our own intent its content counts as sent, found otherwise a full update follows."""
    if link.bound_to(found.incident):
        return link
    sent = link.sent_to(found.incident)
    bound = replace(resolution_not_awaited(link), incident=found.incident, sent=sent, intent=None, doubt=None)
    bound = replace(bound, not_found_at=None)
    if found.closed:
        return incident_closed(bound, Origin.IRP)
    if link.alert_closed or not link.incident_closed:
        return bound
    # A reopened incident, or another one that is open: it is to be kept true again, and its closing is undone.
    return replace(bound, incident_closed=False, close_origin=None, close_reason="", close_comment="")


def after_not_found(
    link: Link, *, asked_at: datetime, answered_at: datetime, settle: timedelta
) -> RetryAt | Park | None:
    """Decide what an empty answer of `find` means: a second look in `settle`, a human, or None: surely `absent`.

    The caller stores `first_not_found` before the second look. A server may show a fresh incident late, so one empty
    answer proves nothing where a create may have happened; `settle` lies between one's answer and the next question.
    """
    match _doubt(link):
        case Doubt.MISSING:
            return Park(reason="incident deleted")
        case Doubt.AMBIGUOUS | Doubt.DUPLICATE | Doubt.UNCLOSED | Doubt.UNSHOWN:
            if not seen_twice(link, asked_at, settle):
                return RetryAt(at=_first_look(link, answered_at) + settle, reason="not found yet", counts=False)
            return _why_not_again(link)
        case _:
            return None


def seen_twice(link: Link, asked_at: datetime, settle: timedelta) -> bool:
    """Tell whether an empty answer to what was asked then is the second one, `settle` after the first."""
    return link.not_found_at is not None and asked_at - link.not_found_at >= settle


def absent(link: Link) -> Link:
    """End the doubt: no incident holds what we may have sent. A bound one gets a full update, else one is made.

    Of a closing that the IRP did not know nothing is left to be done.
    """
    match _doubt(link):
        case Doubt.UNCLOSED:
            return incident_closed(replace(link, doubt=None, not_found_at=None), Origin.KUMA)
        case Doubt.UNSHOWN:
            return shown(link)
    return replace(link, intent=None, doubt=None, not_found_at=None, sent=link.forgotten)


def first_not_found(link: Link, now: datetime) -> Link:
    """Remember when `find` first came back empty, so that a restart does not start over."""
    return replace(link, not_found_at=_first_look(link, now))


def without_find(link: Link, desk: Desk) -> Park | None:
    """Decide a doubt where the profile has no `find`: a human, or None: take it for `absent`.

    A create that is an upsert may be sent twice.
    """
    match _doubt(link):
        case Doubt.DUPLICATE:
            return Park(reason="the IRP says it exists already, and the profile cannot find it")
        case Doubt.MISSING:
            return Park(reason="incident deleted")
        case Doubt.AMBIGUOUS if desk.can_update:
            return Park(reason="a create may have happened, and the profile cannot find it")
        case _:
            return None


def _keep_true(picture: Picture, link: Link, unsent: int, desk: Desk) -> Step:
    if link.sent.fingerprint != picture.fingerprint:
        return Update()
    if unsent and desk.can_add_events:
        return AddEvents()
    return Close() if desk.may_close and to_be_closed(link) else Nothing()


def to_be_closed(link: Link) -> bool:
    """Tell whether the incident is to be closed, once nothing else is to be told."""
    # An open incident whose closing came from the IRP was reopened there: nothing is echoed.
    wanted = link.alert_closed and link.close_origin is not Origin.IRP
    return (wanted or link.close_origin is Origin.OPERATOR) and not link.held_close


def _doubt(link: Link) -> Doubt | None:
    # An open intent outweighs a later doubt: an operator's resync must not hide that a create may have happened.
    return Doubt.AMBIGUOUS if link.intent is not None else link.doubt


def _first_look(link: Link, now: datetime) -> datetime:
    # One that lies ahead was noted before the clock was set back: the looks start over.
    return min(link.not_found_at or now, now)


def _why_not_again(link: Link) -> Park | None:
    if link.doubt is Doubt.DUPLICATE:
        return Park(reason="the IRP says it exists already, but does not show it")
    if link.intent is not None and link.intent.unidentified:
        return Park(reason="created without an id, and not found")
    return None
