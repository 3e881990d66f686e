"""The changes of a link after each answer of a remote, and after each command of an operator. All are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal, assert_never

from kuma_sync.core.alert import EventDigest, Fingerprint
from kuma_sync.core.incident import Found, Incident, Origin
from kuma_sync.core.link import (
    BeingMade,
    Closing,
    DeliveredState,
    Doubt,
    Doubted,
    Dropped,
    Ignored,
    InKuma,
    Intent,
    Link,
    Linked,
    Live,
    NotMade,
    Offered,
    Sought,
)
from kuma_sync.core.retry import Park, RetryAt
from kuma_sync.core.routing import IGNORE
from kuma_sync.core.steps import TargetCapabilities
from kuma_sync.core.text import same_incident_id


def intended(link: Link, sent: DeliveredState, now: datetime) -> Link:
    """Note a create before it goes out; from here on it may have happened."""
    return link.become(BeingMade(intent=Intent(sent=sent, at=now), carried=link.carried))


def created(link: Link, incident: Incident, *, proven: bool = True) -> Link:
    """Bind the incident that our create made; it has the content of the intent.

    Where it is not `proven` that `find` shows what this profile's create makes, it is to be looked for.
    """
    if link.bound_to(incident, doubt=None if proven else Doubt.UNSHOWN):
        return link
    sent = link.intent.sent if link.intent else DeliveredState()
    made = Linked(incident=incident, sent=sent)
    return link.become(made if proven else Doubted(incident=incident, doubt=Doubt.UNSHOWN, sent=sent))


def refused(link: Link, capabilities: TargetCapabilities) -> Link:
    """Take back an intent that certainly did not happen."""
    live = link.live
    if not isinstance(live, BeingMade):
        return link
    if capabilities.find_always:
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


def updated(
    link: Link,
    fingerprint: Fingerprint,
    fields: Mapping[str, str],
    events: frozenset[EventDigest],
    ours: Mapping[str, str] = MappingProxyType({}),
) -> Link:
    """Note an update; `fields` are all that the incident has now, `events` those in this request.

    `ours` has the likeness of those fields in it that are sent until somebody edits them.
    """
    before = link.sent
    return link.with_sent(
        DeliveredState(
            fingerprint=fingerprint,
            fields=fields,
            events=before.events | events,
            ours={**before.ours, **{name: frozenset({one}) for name, one in ours.items()}} if ours else before.ours,
            theirs=before.theirs,
        )
    )


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
    """Note the new name of the same incident; its content stays."""
    live = link.live
    return link.become(replace(live, incident=incident)) if isinstance(live, Doubted | Linked | Offered) else link


def offered(link: Link, sent: DeliveredState, *, closed: bool = False) -> Link:
    """Note that this content was put out for an IRP that polls us; one put out as closed closes its incident."""
    out = link.become(Offered(sent=sent, incident=link.incident, closed=closed))
    return incident_closed(out, Origin.KUMA) if closed else out


def closing_named(link: Link, reason: str = "", comment: str = "") -> Link:
    """Note a closing that names an incident which we do not know yet; the first origin and reason stay.

    Whatever shows the alert as closed after this follows that closing, and is not carried back.
    """
    return replace(link, closing=link.closing or Closing(origin=Origin.IRP, reason=reason, comment=comment))


def alert_closed(link: Link, origin: Origin, reason: str = "", comment: str = "", *, held: bool = False) -> Link:
    """Note that the alert is closed in KUMA; the first origin and reason stay."""
    closing = link.closing or Closing(origin=origin, reason=reason, comment=comment)
    alert = InKuma.HELD if held or link.held_close else InKuma.CLOSED
    return replace(link, closing=replace(closing, alert=alert), gone=False)


def noticed(link: Link, *, held: bool, target: str) -> Link:
    """Note that an ignored alert changed: an incident is made of it, unless the brake holds that, or it was dropped."""
    live = link.live
    if not link.ignored:
        return link
    woken = link.become(replace(live, held=held) if isinstance(live, NotMade | Sought) else live)
    return replace(woken, target=target)


def routed(link: Link, target: str) -> Link:
    """Send an alert that had no target to one, or have it ignored."""
    if target == IGNORE and isinstance(link.live, NotMade | Sought) and not link.dropped:
        return replace(link, target=target, state=Ignored(unknown=isinstance(link.live, Sought)))
    return replace(link, target=target)


def left_target(link: Link, target: str) -> Link:
    """Send an alert to another target, for the one that has its incident is no longer configured.

    Nothing is known of an incident there; what was given up stays so.
    """
    if link.given_up:
        return replace(link, target=target)
    closing = None if link.closing is None or not link.alert_closed else replace(link.closing, incident=False)
    state = Ignored(unknown=True) if target == IGNORE else Sought(doubt=Doubt.UNKNOWN)
    return Link(alert_id=link.alert_id, target=target, state=state, closing=closing, gone=link.gone)


def choose(found: Sequence[Found]) -> Found:
    """Pick among several incidents of one alert: the first open one in the answer's order, else the first."""
    return next((item for item in found if not item.closed), found[0])


def after_found(link: Link, found: Found) -> Link:
    """Bind the incident that `find` showed. If our intent made it, its content is known; else a full update follows."""
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
    """Decide what an empty answer of `find` means: look again after `settle`, ask a human, or None: it is `absent`.

    The caller stores `first_not_found` before the second look. A server may show a fresh incident late, so one empty
    answer proves nothing where a create may have happened; `settle` lies between one's answer and the next question.
    """
    again = RetryAt(at=_first_look(link, answered_at) + settle, reason="not found yet", counts=False)
    twice = seen_twice(link, asked_at, settle)
    match link.live:
        case NotMade() | Linked() | Offered():
            return None
        case Sought(doubt=Doubt.UNKNOWN | Doubt.RESYNC) | Doubted(doubt=Doubt.RESYNC):
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
    """Tell whether an empty answer to a request sent then is the second one, `settle` after the first."""
    return link.not_found_at is not None and asked_at - link.not_found_at >= settle


def absent(link: Link) -> Link:
    """End the doubt: no incident has what we may have sent. A known one gets a full update, else one is made.

    Of a closing that the IRP did not know nothing is left to be done.
    """
    match link.live:
        case NotMade() | Linked():
            return link
        case Sought(held=held):
            return link.become(NotMade(held=held, carried=link.carried))
        case Offered():
            return link.become(NotMade())
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
    if isinstance(live, NotMade | Linked | Offered):
        return link
    return link.become(replace(live, not_found_at=_first_look(link, now)))


def without_find(link: Link, capabilities: TargetCapabilities) -> Park | None:
    """Decide a doubt where the profile has no `find`: a human, or None: take it for `absent`.

    A create that is an upsert may be sent twice.
    """
    match link.live:
        case Sought(doubt=Doubt.DUPLICATE):
            return Park(reason="the IRP says it exists already, and the profile cannot find it")
        case Doubted(doubt=Doubt.MISSING):
            return Park(reason="incident deleted")
        case BeingMade() if capabilities.can_update:
            return Park(reason="a create may have happened, and the profile cannot find it")
        case _:
            return None


def _first_look(link: Link, now: datetime) -> datetime:
    # One that lies ahead was noted before the clock was set back: the looks start over.
    return min(link.not_found_at or now, now)


def close_ordered(link: Link, reason: str = "", comment: str = "") -> Link:
    """Note that an operator wants both sides closed; the first origin and reason stay."""
    return replace(link, closing=link.closing or Closing(origin=Origin.OPERATOR, reason=reason, comment=comment))


def retried(link: Link) -> Link:
    """Let the incident be found once more, and made anew if it is not found, for a human has looked.

    An incident that there is is not made anew: only whether `find` shows it, or how it is closed, is in doubt. A create
    that may have happened is in doubt whatever else is: a resync that was ordered meanwhile does not end that.
    """
    if link.ignored:
        return link
    match link.live:
        case NotMade() | Linked() | Offered() | Sought(doubt=Doubt.RESYNC):
            return link
        case Doubted(doubt=Doubt.UNCLOSED | Doubt.UNSHOWN | Doubt.RESYNC):
            return link
        case Sought(held=held):
            sought = Sought(doubt=Doubt.UNKNOWN, held=held, carried=link.carried)
        case BeingMade() | Doubted():
            sought = Sought(doubt=Doubt.UNKNOWN, carried=link.carried)
        case _:
            assert_never(link.live)
    return replace(link.become(sought), closing=_still_closing(link.closing), unresolved_at=None)


def _still_closing(closing: Closing | None) -> Closing | None:
    if closing is None or closing.origin is Origin.OPERATOR:
        return closing and replace(closing, incident=False)
    return None if closing.alert is InKuma.OPEN else replace(closing, origin=Origin.KUMA, incident=False)


def resynced(link: Link) -> Link:
    """Have the incident looked for and fully updated, also of an alert that was ignored or missed."""
    match link.live:
        case NotMade(held=held):
            again: Live = Sought(doubt=Doubt.RESYNC, held=held, carried=link.carried)
        case Sought() as sought:
            again = replace(sought, doubt=Doubt.RESYNC)
        case BeingMade() as making:
            again = replace(making, resync=True, carried=link.carried)
        case Doubted() as doubted:
            again = replace(doubted, doubt=Doubt.RESYNC, sent=link.forgotten)
        case Linked(incident=incident):
            again = Doubted(incident=incident, doubt=Doubt.RESYNC, sent=link.forgotten)
        case Offered(incident=known):
            again = Offered(incident=known)
        case _:
            assert_never(link.live)
    return link.become(again)


def dropped(link: Link) -> Link:
    """Give the alert up for good; the brake holds nothing of it any more."""
    link = released(link)
    match link.state:
        case Dropped():
            return link
        case Ignored(unknown=unknown):
            return replace(link, state=Dropped(was=Ignored(unknown=unknown)))
        case live:
            return replace(link, state=Dropped(was=live))


def taken_up(link: Link) -> Link:
    """Take up a dropped link again; its incident is looked for first.

    A closing that an operator had ordered was given up with it, towards both sides.
    """
    again = resynced(replace(link, state=link.live))
    ordered = link.close_origin is Origin.OPERATOR and not link.alert_closed and not link.incident_closed
    return replace(again, closing=None) if ordered else again


def released(link: Link, *, creates: bool = True, closings: bool = True) -> Link:
    """Release the link from the brake: its create, its closing, or both."""
    live, closing = link.live, link.closing
    if creates and isinstance(live, NotMade | Sought) and live.held:
        link = link.become(replace(live, held=False))
    if closings and closing is not None and closing.alert is InKuma.HELD:
        link = replace(link, closing=replace(closing, alert=InKuma.CLOSED))
    return link
