"""What deliveries would make of an alert, without sending anything: the same steps, each taken for done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never

from kuma_sync.core import comments, transitions
from kuma_sync.core.errors import Permanent
from kuma_sync.core.incident import Found, Incident, Origin
from kuma_sync.core.link import DeliveredState, Link
from kuma_sync.core.steps import (
    AddEvents,
    Close,
    Comment,
    Compare,
    Create,
    FindFirst,
    Nothing,
    Offer,
    Step,
    TargetCapabilities,
    Telling,
    Upsert,
)
from kuma_sync.sync.delivery.context import Render, Request, TemplateContext, after_update, content_of
from kuma_sync.sync.delivery.unit_of_work import DeliveryState

NOT_YET = Incident(id="INCIDENT-ID", number="INCIDENT-NUMBER")
"""Stands for the incident that would be made."""


@dataclass(slots=True, kw_only=True)
class Forecast:
    """What would become of one incident: made, updated (with these fields, and so many events), closed.

    `found_first`: the IRP would be asked for it before. `parked` says why its job would be set aside instead.
    """

    created: bool = False
    updated: bool = False
    closed: bool = False
    found_first: bool = False
    fields: set[str] = field(default_factory=set)
    events: int = 0
    parked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecaster:
    """Takes the steps of a target's deliveries as they are decided, and supposes that each succeeds.

    Of an incident that may be there already it supposes that `find` shows none; of one that is known, that it does, and
    that nobody edited it since.
    """

    capabilities: TargetCapabilities
    context: TemplateContext
    draft: Render
    clock: Callable[[], datetime]

    def forecast(self, work: DeliveryState) -> Forecast:
        """Return what would become of the incident of an alert."""
        told = Forecast()
        try:
            while not isinstance(step := work.step(self.capabilities), Nothing) and not told.parked:
                work = replace(work, link=self._taken(work, step, told))
        except Permanent as error:
            told.parked = f"{error.summary}: {error.detail}" if error.detail else error.summary
        return told

    def _taken(self, work: DeliveryState, step: Step, told: Forecast) -> Link:
        """Return the link as it is when this step is done."""
        link = work.link
        match step:
            case FindFirst():
                return self._found(link, told)
            case Create():
                request = self._told(work, step, told)
                told.created = True
                sent = content_of(request, work, step)
                return transitions.created(transitions.intended(link, sent, self.clock()), NOT_YET)
            case Compare() | Upsert():
                request = self._told(work, step, told)
                told.updated |= request.needed
                return after_update(link, request, work, step)
            case AddEvents():
                self._told(work, step, told)
                told.updated |= not told.created
                return transitions.events_added(link, frozenset(step.events))
            case Comment() | Close():
                return self._ended(work, step, told)
            case Offer(closed=closed):
                return self._put_out(work, told, closed=closed)
            case Nothing():
                return link
            case _:
                assert_never(step)

    def _ended(self, work: DeliveryState, step: Comment | Close, told: Forecast) -> Link:
        """Return the link once it is commented, or closed; a comment that fails parks nothing."""
        if isinstance(step, Comment):
            return comments.telling(work.link, closing=step.closing)
        self.context.request(work, step, self.draft)
        told.closed = True
        return transitions.incident_closed(work.link, Origin.KUMA)

    def _put_out(self, work: DeliveryState, told: Forecast, *, closed: bool) -> Link:
        """Return the link once the alert is put out for an IRP that polls us: first, anew, or as closed."""
        known = work.link.made
        told.created |= not known
        told.updated |= known and not closed
        told.closed |= closed
        told.events = len(work.kept)
        sent = DeliveredState(fingerprint=work.snapshot.fingerprint, events=frozenset(work.kept))
        return transitions.offered(work.link, sent, closed=closed)

    def _found(self, link: Link, told: Forecast) -> Link:
        if not self.capabilities.can_find:
            park = transitions.without_find(link, self.capabilities)
            told.parked = park.reason if park else ""
            return link if park else transitions.absent(link)
        told.found_first = True
        if link.incident is None:
            return transitions.absent(link)
        return transitions.after_found(link, Found(incident=link.incident, closed=link.incident_closed))

    def _told(self, work: DeliveryState, step: Telling, told: Forecast) -> Request:
        request = self.context.request(work, step, self.draft)
        told.fields |= request.fields - request.draft.event_fields
        told.events += len(step.events) if request.needed else 0
        return request
