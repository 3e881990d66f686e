"""What an incident needs next, and what a link becomes after it was done.

Must not: render or send anything. Level-triggered: the stored picture and link decide, never the reason a job was
queued for. Every function here returns a value; the shell commits it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, assert_never

from kuma_sync.core.alert import EventDigest, Fingerprint, Picture
from kuma_sync.core.incident import (
    BeingMade,
    Closing,
    Doubt,
    Doubted,
    Dropped,
    Found,
    Ignored,
    Incident,
    InKuma,
    Intent,
    Link,
    Linked,
    NotMade,
    Origin,
    Sent,
    Sought,
)
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
    match link.state:
        case Ignored() | Dropped() | NotMade(held=True) | Sought(held=True):
            return Nothing()
        case NotMade():
            return Create()
        case Sought() | BeingMade() | Doubted():
            return FindFirst()
        case Linked():
            return Nothing() if link.incident_closed else _keep_true(picture, link, unsent, desk)
        case _:
            assert_never(link.state)


def changed_fields(rendered: Mapping[str, str], sent: Mapping[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return (fields to send, fields to clear): digests of rendered top-level fields against those last sent."""
    changed = frozenset(name for name, digest in rendered.items() if sent.get(name) != digest)
    return changed, frozenset(name for name in sent if name not in rendered)


def intended(link: Link, sent: Sent, now: datetime) -> Link:
    """Note a create before it goes out; from here on it may have happened."""
    return link.become(BeingMade(intent=Intent(sent=sent, at=now), carried=link.carried))


def created(link: Link, incident: Incident, *, proven: bool = True) -> Link:
    """Bind the incident that our create made: what the intent held is what it holds.

    Where it is not `proven` that `find` shows what this profile's create makes, it is to be looked for.
    """
    if link.bound_to(incident, doubt=None if proven else Doubt.UNSHOWN):
        return link
    sent = link.intent.sent if link.intent else Sent()
    made = Linked(incident=incident, sent=sent)
    return link.become(made if proven else Doubted(incident=incident, doubt=Doubt.UNSHOWN, sent=sent))


def refused(link: Link, desk: Desk) -> Link:
    """Take back an intent that certainly did not happen."""
    live = link.live
    if not isinstance(live, BeingMade):
        return link
    if desk.find_always:
        return link.become(Sought(doubt=Doubt.UNKNOWN, carried=live.carried))
    return link.become(NotMade(carried=live.carried))


def unidentified(link: Link) -> Link:
    """Note that a create was answered as done, but without the incident's id."""
    live = link.live
    if not isinstance(live, BeingMade):
        return link
    return link.become(replace(live, intent=replace(live.intent, unidentified=True)))


def duplicated(link: Link) -> Link:
    """Note that the IRP refused a create because the incident exists: it is not known to hold our content."""
    if link.incident is not None:
        return link
    return link.become(Sought(doubt=Doubt.DUPLICATE, carried=link.carried))


def missing(link: Link) -> Link:
    """Note that the IRP no longer knows the incident."""
    return _doubted(link, Doubt.MISSING)


def unclosed(link: Link) -> Link:
    """Note that the IRP does not know the incident that it was to close."""
    return _doubted(link, Doubt.UNCLOSED)


def _doubted(link: Link, doubt: Literal[Doubt.MISSING, Doubt.UNCLOSED]) -> Link:
    live = link.live
    if not isinstance(live, Doubted | Linked):
        return link
    return link.become(Doubted(incident=live.incident, doubt=doubt, sent=live.sent))


def shows(link: Link, found: Sequence[Found]) -> bool:
    """Tell whether `find` showed the incident that we know, and it is open."""
    known = link.incident
    ours = [item for item in found if known is not None and same_incident_id(item.incident.id, known.id)]
    return bool(ours) and not ours[0].closed


def shown(link: Link) -> Link:
    """Note that `find` shows the incident that our create made, and that it is open."""
    match link.live:
        case Doubted(doubt=Doubt.UNSHOWN, incident=incident, sent=sent):
            return resolution_not_awaited(link).become(Linked(incident=incident, sent=sent))
        case _:
            return link


def updated(link: Link, fingerprint: Fingerprint, fields: Mapping[str, str], events: frozenset[EventDigest]) -> Link:
    """Note what an update sent; `fields` are all that the incident holds now, `events` those in this request."""
    return link.with_sent(Sent(fingerprint=fingerprint, fields=fields, events=link.sent.events | events))


def events_added(link: Link, events: frozenset[EventDigest]) -> Link:
    """Note that these events arrived."""
    return link.with_sent(replace(link.sent, events=link.sent.events | events))


def incident_closed(link: Link, origin: Origin, reason: str = "", comment: str = "") -> Link:
    """Note that the incident is closed; the first origin and reason stay."""
    closing = link.closing or Closing(origin=origin, reason=reason, comment=comment)
    return replace(link, closing=replace(closing, incident=True), unresolved_at=None)


def resolution_awaited(link: Link, now: datetime) -> Link:
    """Note that the incident was seen closed without a resolution: the next look decides, whatever it shows."""
    return replace(link, unresolved_at=link.unresolved_at or now)


def resolution_not_awaited(link: Link) -> Link:
    """Note that the incident is closed no more: when it is closed again, its resolution is waited for again."""
    return replace(link, unresolved_at=None)


def moved(link: Link, incident: Incident) -> Link:
    """Note what the incident is called now. It is the same one: what it holds by our hand stays."""
    live = link.live
    return link.become(replace(live, incident=incident)) if isinstance(live, Doubted | Linked) else link


def closing_named(link: Link, reason: str = "", comment: str = "") -> Link:
    """Note a closing by whoever names an incident that we do not know yet; the first origin and reason stay.

    Whatever shows the alert as closed after this follows that closing, and is not carried back.
    """
    return replace(link, closing=link.closing or Closing(origin=Origin.IRP, reason=reason, comment=comment))


def alert_closed(link: Link, origin: Origin, reason: str = "", comment: str = "", *, held: bool = False) -> Link:
    """Note that the alert is closed in KUMA; the first origin and reason stay."""
    closing = link.closing or Closing(origin=origin, reason=reason, comment=comment)
    alert = InKuma.HELD if held or link.held_close else InKuma.CLOSED
    return replace(link, closing=replace(closing, alert=alert), gone=False)


def noticed(link: Link, *, held: bool) -> Link:
    """Note that an ignored alert changed: an incident is made of it, unless the brake holds that, or it was dropped."""
    live = link.live
    if not link.ignored:
        return link
    return link.become(replace(live, held=held) if isinstance(live, NotMade | Sought) else live)


def choose(found: Sequence[Found]) -> Found:
    """Pick among several incidents of one alert: the first open one in the answer's order, else the first."""
    return next((item for item in found if not item.closed), found[0])


def after_found(link: Link, found: Found) -> Link:
    """Bind what `find` showed: by our own intent its content counts as sent, found otherwise a full update follows."""
    if link.bound_to(found.incident):
        return link
    linked = Linked(incident=found.incident, sent=link.sent_to(found.incident))
    bound = resolution_not_awaited(link).become(linked)
    if found.closed:
        return incident_closed(bound, Origin.IRP)
    if link.alert_closed or not link.incident_closed:
        return bound
    # A reopened incident, or another one that is open: it is to be kept true again, and its closing is undone.
    return replace(bound, closing=None)


def after_not_found(
    link: Link, *, asked_at: datetime, answered_at: datetime, settle: timedelta
) -> RetryAt | Park | None:
    """Decide what an empty answer of `find` means: a second look in `settle`, a human, or None: surely `absent`.

    The caller stores `first_not_found` before the second look. A server may show a fresh incident late, so one empty
    answer proves nothing where a create may have happened; `settle` lies between one's answer and the next question.
    """
    again = RetryAt(at=_first_look(link, answered_at) + settle, reason="not found yet", counts=False)
    twice = seen_twice(link, asked_at, settle)
    match link.live:
        case NotMade() | Linked() | Sought(doubt=Doubt.UNKNOWN | Doubt.RESYNC) | Doubted(doubt=Doubt.RESYNC):
            return None
        case Doubted(doubt=Doubt.MISSING):
            return Park(reason="incident deleted")
        case Doubted():
            return None if twice else again
        case Sought():
            return Park(reason="the IRP says it exists already, but does not show it") if twice else again
        case BeingMade(intent=Intent(unidentified=True)):
            return Park(reason="created without an id, and not found") if twice else again
        case BeingMade():
            return None if twice else again
        case _:
            assert_never(link.live)


def seen_twice(link: Link, asked_at: datetime, settle: timedelta) -> bool:
    """Tell whether an empty answer to what was asked then is the second one, `settle` after the first."""
    return link.not_found_at is not None and asked_at - link.not_found_at >= settle


def absent(link: Link) -> Link:
    """End the doubt: no incident holds what we may have sent. A bound one gets a full update, else one is made.

    Of a closing that the IRP did not know nothing is left to be done.
    """
    match link.live:
        case NotMade() | Linked():
            return link
        case Sought(held=held):
            return link.become(NotMade(held=held, carried=link.carried))
        case BeingMade():
            return link.become(NotMade(carried=link.carried))
        case Doubted(doubt=Doubt.UNCLOSED, incident=incident, sent=sent):
            return incident_closed(link.become(Linked(incident=incident, sent=sent)), Origin.KUMA)
        case Doubted(doubt=Doubt.UNSHOWN):
            return shown(link)
        case Doubted(incident=incident):
            return link.become(Linked(incident=incident, sent=link.forgotten))
        case _:
            assert_never(link.live)


def first_not_found(link: Link, now: datetime) -> Link:
    """Remember when `find` first came back empty, so that a restart does not start over."""
    live = link.live
    if isinstance(live, NotMade | Linked):
        return link
    return link.become(replace(live, not_found_at=_first_look(link, now)))


def without_find(link: Link, desk: Desk) -> Park | None:
    """Decide a doubt where the profile has no `find`: a human, or None: take it for `absent`.

    A create that is an upsert may be sent twice.
    """
    match link.live:
        case Sought(doubt=Doubt.DUPLICATE):
            return Park(reason="the IRP says it exists already, and the profile cannot find it")
        case Doubted(doubt=Doubt.MISSING):
            return Park(reason="incident deleted")
        case BeingMade() if desk.can_update:
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


def _first_look(link: Link, now: datetime) -> datetime:
    # One that lies ahead was noted before the clock was set back: the looks start over.
    return min(link.not_found_at or now, now)
