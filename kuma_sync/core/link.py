"""The link that joins an alert to its incident: its state, what was sent, what is in doubt, what is closed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from kuma_sync.core.alert import AlertId, EventDigest, Fingerprint
from kuma_sync.core.incident import Incident, Origin
from kuma_sync.core.routing import IRP
from kuma_sync.core.text import same_incident_id


class Doubt(StrEnum):
    """Why `find` must come before anything else is written for a link."""

    UNKNOWN = "unknown"  # it may have an incident of which this store does not know: a new or restored one
    AMBIGUOUS = "ambiguous"  # a create may have happened
    DUPLICATE = "duplicate"  # the IRP refused a create as existing already
    MISSING = "missing"  # the IRP no longer knows the incident
    UNCLOSED = "unclosed"  # the IRP did not know the incident that was to be closed
    UNSHOWN = "unshown"  # made by a profile of which nobody knows yet whether find shows what create made
    RESYNC = "resync"  # an operator asked


UNSURE = "?"
"""Stands for an unknown digest. No field and no alert has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredState:
    """The content that we sent to the incident: digests of its top-level fields, and the events.

    Of fields that are sent until somebody edits them: `ours` holds the values from us that the incident may have, by
    their likeness; `theirs` names those that are the analysts' by now (core/ownership).
    """

    fingerprint: Fingerprint | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    events: frozenset[EventDigest] = frozenset()
    ours: Mapping[str, frozenset[str]] = field(default_factory=dict)
    theirs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A create that was decided and perhaps sent, committed before it went out."""

    sent: DeliveredState
    at: datetime
    unidentified: bool = False


class InKuma(StrEnum):
    """How far a closing has come on KUMA's side."""

    OPEN = "open"
    CLOSED = "closed"
    HELD = "held"  # closed there, while the brake keeps its incident from being closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A closing that was wanted or seen; the first origin counts. `incident` says that the incident is closed.

    `commented`: its comment went to the IRP, or was lost on its way there.
    """

    origin: Origin
    reason: str = ""
    comment: str = ""
    alert: InKuma = InKuma.OPEN
    incident: bool = False
    commented: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMade:
    """No incident was made: to be made, unless the brake holds it.

    `carried` names the fields of creates that may have happened before: they are cleared where they turn up after all.
    """

    held: bool = False
    carried: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """None was made as far as we know, but there may be one. Fields as in NotMade.

    `not_found_at`, here and elsewhere, is when `find` first came back empty in the present doubt.
    """

    doubt: Literal[Doubt.UNKNOWN, Doubt.DUPLICATE, Doubt.RESYNC]
    held: bool = False
    carried: frozenset[str] = frozenset()
    not_found_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BeingMade:
    """A create went out, or was about to. With `resync` an operator asked meanwhile. `carried` is of earlier ones."""

    intent: Intent
    resync: bool = False
    carried: frozenset[str] = frozenset()
    not_found_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubted:
    """An incident that is known, and to be found before anything else is written to it."""

    incident: Incident
    doubt: Literal[Doubt.MISSING, Doubt.UNCLOSED, Doubt.UNSHOWN, Doubt.RESYNC]
    sent: DeliveredState = DeliveredState()
    not_found_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """An incident that is known and in no doubt."""

    incident: Incident
    sent: DeliveredState = DeliveredState()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """Put out for an IRP that polls us. Its incident becomes known when a closing names it.

    `sent` is the content that was put out; `closed` says that it was put out as closed.
    """

    sent: DeliveredState = DeliveredState()
    incident: Incident | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """No incident is made until the alert changes. `missed`: it left the statuses asked for before it was ever read.

    `unknown`: what the IRP has of it is to be looked for then.
    """

    missed: bool = False
    unknown: bool = False


Live = NotMade | Sought | BeingMade | Doubted | Linked | Offered


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Given up by an operator; nothing is done until one takes it up again, as it was."""

    was: Live | Ignored


State = Live | Ignored | Dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One alert joined to its incident, and everything that decides what comes next for the two.

    `target` is the IRP that has or gets the incident (core/routing). `gone`: KUMA no longer has the alert.
    `spent_until` is until when the alert's budget of updates is spent (core/budget); `unresolved_at` when the incident
    was first seen closed without a resolution, which is looked at once more before a default stands in. `owed` are the
    lines that are still to be sent as a comment (core/comments).
    """

    alert_id: AlertId
    target: str = IRP
    state: State = NotMade()
    closing: Closing | None = None
    gone: bool = False
    spent_until: datetime | None = None
    unresolved_at: datetime | None = None
    owed: tuple[str, ...] = ()

    @property
    def live(self) -> Live:
        """Return its state, or for a link that was given up the state before that."""
        state = self.state.was if isinstance(self.state, Dropped) else self.state
        if isinstance(state, Ignored):
            return Sought(doubt=Doubt.UNKNOWN) if state.unknown else NotMade()
        return state

    def become(self, live: Live) -> Link:
        """Return the link in another state; one that was dropped stays so."""
        return replace(self, state=Dropped(was=live) if isinstance(self.state, Dropped) else live)

    def with_sent(self, sent: DeliveredState) -> Link:
        """Return the link with an incident that holds this; without an incident as it is."""
        live = self.live
        return self.become(replace(live, sent=sent)) if isinstance(live, Doubted | Linked | Offered) else self

    @property
    def incident(self) -> Incident | None:
        """Return the incident, where one is known."""
        live = self.live
        return live.incident if isinstance(live, Doubted | Linked | Offered) else None

    @property
    def made(self) -> bool:
        """Tell whether an incident is known, or the alert was put out for an IRP that polls us."""
        return self.incident is not None or isinstance(self.live, Offered)

    @property
    def sent(self) -> DeliveredState:
        """Return the content that we sent to the incident, or that one would have which turns up later."""
        live = self.live
        return live.sent if isinstance(live, Doubted | Linked | Offered) else of_anything(live.carried)

    @property
    def intent(self) -> Intent | None:
        """Return the create that may have happened."""
        live = self.live
        return live.intent if isinstance(live, BeingMade) else None

    @property
    def doubt(self) -> Doubt | None:
        """Return why `find` must come first."""
        match self.live:
            case NotMade() | Linked() | Offered():
                return None
            case BeingMade(resync=resync):
                return Doubt.RESYNC if resync else Doubt.AMBIGUOUS
            case Sought(doubt=doubt) | Doubted(doubt=doubt):
                return doubt

    @property
    def not_found_at(self) -> datetime | None:
        """Return when `find` first came back empty in the present doubt."""
        live = self.live
        return None if isinstance(live, NotMade | Linked | Offered) else live.not_found_at

    @property
    def held_create(self) -> bool:
        """Tell whether the brake keeps the incident from being made."""
        live = self.live
        return isinstance(live, NotMade | Sought) and live.held

    @property
    def held_close(self) -> bool:
        """Tell whether the brake keeps the incident from being closed."""
        return self.closing is not None and self.closing.alert is InKuma.HELD

    @property
    def alert_closed(self) -> bool:
        """Tell whether the alert is known to be closed in KUMA."""
        return self.closing is not None and self.closing.alert is not InKuma.OPEN

    @property
    def incident_closed(self) -> bool:
        """Tell whether the incident is known to be closed."""
        return self.closing is not None and self.closing.incident

    @property
    def close_origin(self) -> Origin | None:
        """Return who was the first to close, or to want it."""
        return self.closing.origin if self.closing else None

    @property
    def close_reason(self) -> str:
        """Return the reason of the closing."""
        return self.closing.reason if self.closing else ""

    @property
    def close_comment(self) -> str:
        """Return the comment of the closing."""
        return self.closing.comment if self.closing else ""

    @property
    def dropped(self) -> bool:
        """Tell whether an operator gave it up."""
        return isinstance(self.state, Dropped)

    @property
    def ignored(self) -> bool:
        """Tell whether no incident is made until the alert changes."""
        return self._ignored is not None

    @property
    def given_up(self) -> bool:
        """Tell whether nothing is done for its incident: it was dropped, or is ignored."""
        return isinstance(self.state, Dropped | Ignored)

    @property
    def missed(self) -> bool:
        """Tell whether it is ignored because it left the statuses asked for before it was ever read."""
        return self._ignored is not None and self._ignored.missed

    @property
    def _ignored(self) -> Ignored | None:
        state = self.state.was if isinstance(self.state, Dropped) else self.state
        return state if isinstance(state, Ignored) else None

    def bound_to(self, incident: Incident, *, doubt: Doubt | None = None) -> bool:
        """Tell whether this incident was written down before: then only the answer to that was lost."""
        return self.incident == incident and self.doubt is doubt

    def sent_to(self, found: Incident) -> DeliveredState:
        """Return the content that an incident shown by `find` has from us, as far as that is certain."""
        match self.live:
            case Doubted(doubt=Doubt.MISSING | Doubt.UNCLOSED, not_found_at=None, incident=known, sent=sent) if (
                same_incident_id(known.id, found.id)
            ):
                return sent  # it was there all the time
            case BeingMade(intent=intent, resync=False, carried=carried) if not carried:
                return intent.sent
            case Doubted(incident=known) | Linked(incident=known) if not same_incident_id(known.id, found.id):
                return of_anything(self.carried)  # what somebody edited there says nothing of this one
            case _:
                # Where something may have been sent before the intent, nobody knows which of the two it is.
                return self.forgotten

    @property
    def forgotten(self) -> DeliveredState:
        """Return the content that a full update compares with: our fields' names, so that empty ones are cleared.

        Whose the fields are that are sent until somebody edits them is not forgotten.
        """
        nothing = of_anything(self.carried)
        match self.live:
            case BeingMade(carried=carried) if carried:
                return nothing
            case Doubted(sent=sent) | Linked(sent=sent) | BeingMade(intent=Intent(sent=sent)):
                return replace(nothing, ours=sent.ours, theirs=sent.theirs)
            case _:
                return nothing

    @property
    def carried(self) -> frozenset[str]:
        """Return which fields are ours. An open intent's count: its create may have happened."""
        match self.live:
            case NotMade(carried=carried) | Sought(carried=carried):
                return carried
            case BeingMade(intent=intent, carried=carried):
                return carried.union(intent.sent.fields)
            case Doubted(sent=sent) | Linked(sent=sent) | Offered(sent=sent):
                return frozenset(sent.fields)


def of_anything(fields: Collection[str]) -> DeliveredState:
    """Return the content of an incident if only the names of our fields are certain."""
    return DeliveredState(fields=dict.fromkeys(sorted(fields), UNSURE))
