"""What an incident needs next, and what the request for it carries.

Level-triggered: the stored snapshot and link decide, never the reason a job was queued for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from typing import assert_never

from kuma_sync.core.alert import AlertSnapshot, EventDigest
from kuma_sync.core.comments import due
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import (
    BeingMade,
    Doubted,
    Dropped,
    Ignored,
    Link,
    Linked,
    NotMade,
    Offered,
    Sought,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCapabilities:
    """What the IRP's profile can do and the configuration allows.

    `settle` is how far apart two empty answers of `find` must be after a create that may have happened; `spacing` how
    far apart updates of an alert that changes often (core/budget; zero: no limit). With `find_always` every create is
    preceded by `find`, also one that is tried again after it was refused. With `audit_comments` it is sent as a comment
    what we did. `batch` is the largest number of events in
    one request; None: there is no operation for the rest, so all go with create and update, where these carry events.
    Of an IRP that `pulls` nothing of this is asked: alerts are put out for it.
    """

    can_find: bool = True
    find_always: bool = False
    can_update: bool = True
    create_carries_events: bool = True
    update_carries_events: bool = True
    batch: int | None = 500
    may_close: bool = True
    can_comment: bool = False
    audit_comments: bool = False
    settle: timedelta = timedelta(seconds=5)
    spacing: timedelta = timedelta()
    pulls: bool = False


Events = tuple[EventDigest, ...]
"""Stored events that a request carries, in KUMA's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make the incident."""

    events: Events = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Send the fields of the update that differ from those sent last (`update_of`)."""

    events: Events = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """Send the create once more, where the profile has no update: it is an upsert then, and sends all fields again."""

    events: Events = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddEvents:
    """Send events that did not fit into the create or the update."""

    events: Events = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """Tell these lines as a comment, before the incident is closed. `closing`: words of its closing are among them."""

    lines: tuple[str, ...] = ()
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """Close the incident, because its alert is closed."""


@dataclass(frozen=True, slots=True)
class FindFirst:
    """Ask the IRP for the incident before anything is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Put the alert out, whole, for an IRP that polls us; `closed`: as closed, whatever KUMA calls it."""

    closed: bool = False


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, or is not ours to touch."""


EventStep = Create | Compare | Upsert | AddEvents
Step = EventStep | Comment | Close | FindFirst | Offer | Nothing


def next_step(
    snapshot: AlertSnapshot, link: Link, *, kept: Iterable[EventDigest], capabilities: TargetCapabilities
) -> Step:
    """Decide what the incident of this alert needs now. `kept` are all stored events, in KUMA's order."""
    match link.state:
        case Ignored() | Dropped() | NotMade(held=True) | Sought(held=True):
            return Nothing()
        case _ if capabilities.pulls:
            return _offer(snapshot, link, capabilities)
        case NotMade():
            return Create(events=_first(kept, capabilities) if capabilities.create_carries_events else ())
        case Sought() | BeingMade() | Doubted() | Offered():  # offered: to an IRP that polled us before
            return FindFirst()
        case Linked():
            return Nothing() if link.incident_closed else _keep_true(snapshot, link, tuple(kept), capabilities)
        case _:
            assert_never(link.state)


def _offer(snapshot: AlertSnapshot, link: Link, capabilities: TargetCapabilities) -> Offer | Nothing:
    # What the IRP itself closed it may ask for by id, and is told the truth.
    by_itself = link.alert_closed and link.close_origin is Origin.IRP
    closing = by_itself or (capabilities.may_close and to_be_closed(link))
    if not isinstance(link.state, Offered):
        return Offer(closed=closing)
    same = link.sent.fingerprint == snapshot.fingerprint
    if closing:
        return Nothing() if link.state.closed and same else Offer(closed=True)
    # That KUMA closed it is told once the brake has let it pass, and never where closings are not carried.
    return Nothing() if same or snapshot.alert.closed else Offer()


def unsent(link: Link, kept: Iterable[EventDigest]) -> Events:
    """Return the stored events that were not sent yet."""
    return tuple(digest for digest in kept if digest not in link.sent.events)


def halved(step: Step, capabilities: TargetCapabilities) -> EventStep | None:
    """Return the step with half its events, for the IRP takes no request of this size; None where that is no help."""
    # Without an operation for them, the rest would have no way to follow.
    if not isinstance(step, EventStep) or capabilities.batch is None:
        return None
    least = 1 if isinstance(step, AddEvents) else 0
    return replace(step, events=step.events[: len(step.events) // 2]) if len(step.events) > least else None


def _keep_true(snapshot: AlertSnapshot, link: Link, kept: Events, capabilities: TargetCapabilities) -> Step:
    new = unsent(link, kept)
    if link.sent.fingerprint != snapshot.fingerprint:
        if not capabilities.can_update:
            return Upsert(events=_first(kept, capabilities) if capabilities.create_carries_events else ())
        return Compare(events=_first(new, capabilities) if capabilities.update_carries_events else ())
    if new and capabilities.batch is not None:
        return AddEvents(events=_first(new, capabilities))
    closing = capabilities.may_close and to_be_closed(link)
    if capabilities.can_comment and (lines := due(link, closing=closing, audit=capabilities.audit_comments)):
        return Comment(lines=lines, closing=closing)
    return Close() if closing else Nothing()


def _first(events: Iterable[EventDigest], capabilities: TargetCapabilities) -> Events:
    return tuple(islice(events, capabilities.batch))


def to_be_closed(link: Link) -> bool:
    """Tell whether the incident is to be closed, once nothing else is to be told."""
    # An open incident whose closing came from the IRP was reopened there: nothing is echoed.
    wanted = link.alert_closed and link.close_origin is not Origin.IRP
    return (wanted or link.close_origin is Origin.OPERATOR) and not link.held_close


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFields:
    """The top-level fields of a rendered body, by name.

    `digests` are of those that are compared with what was sent. `names` are all that the template has, `present` those
    that the body has. `event_fields` hold events: they have no digest and are sent when there are new events. `unknown`
    are those that could not be rendered truly because the alert's contents are not at hand: they count neither as
    changed nor as cleared. With `whole` an update sends all fields. `until_edited` are sent until somebody edits them
    in the IRP; `likeness` has theirs (core/ownership).
    """

    digests: Mapping[str, str]
    names: frozenset[str]
    present: frozenset[str]
    event_fields: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    whole: bool = False
    until_edited: frozenset[str] = frozenset()
    likeness: Mapping[str, str] = field(default_factory=dict)

    def without(self, names: frozenset[str]) -> RenderedFields:
        """Return the fields as if the template did not have these."""
        digests = {name: digest for name, digest in self.digests.items() if name not in names}
        return replace(self, digests=digests, names=self.names - names, present=self.present - names)

    def held(self, sent: Mapping[str, str]) -> dict[str, str]:
        """Return the digests of what the incident holds once this arrived; `sent` is what it held before."""
        kept = {name: digest for name, digest in sent.items() if name not in self.names or name in self.unknown}
        return {**kept, **self.digests}


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The content of an update: the fields that go, those that go as null, and the events that it carries."""

    fields: frozenset[str] = frozenset()
    clear: frozenset[str] = frozenset()
    events: Events = ()


def update_of(step: Compare | Upsert, rendered: RenderedFields, sent: Mapping[str, str]) -> Update | None:
    """Decide what goes, by the digests of what was sent last; None: nothing differs, and nothing is sent.

    Of lost fields, only what this operation's template has counts: `externalId` of a create is not cleared by an
    update.
    """
    if isinstance(step, Upsert):
        return Update(fields=rendered.present, events=step.events)
    plain = rendered.names - rendered.event_fields
    changed = {name for name, digest in rendered.digests.items() if sent.get(name) != digest}
    clear = (plain & sent.keys()) - rendered.digests.keys() - rendered.unknown
    told = rendered.present & (changed | (rendered.event_fields if step.events else set()))
    if not (told or clear):
        return None
    return Update(
        fields=told | (rendered.present & plain if rendered.whole else set()), clear=clear, events=step.events
    )
