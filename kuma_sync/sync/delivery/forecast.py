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
    EventStep,
    FindFirst,
    Nothing,
    Offer,
    Step,
    TargetCapabilities,
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
        forecast = Forecast()
        try:
            while not isinstance(step := work.step(self.capabilities), Nothing) and not forecast.parked:
                work = replace(work, link=self._taken(work, step, forecast))
        except Permanent as error:
            forecast.parked = f"{error.summary}: {error.detail}" if error.detail else error.summary
        return forecast

    def _taken(self, work: DeliveryState, step: Step, forecast: Forecast) -> Link:
        """Return the link as it is when this step is done."""
        link = work.link
        match step:
            case FindFirst():
                return self._found(link, forecast)
            case Create():
                request = self._rendered(work, step, forecast)
                forecast.created = True
                sent = content_of(request, work, step)
                return transitions.created(transitions.intended(link, sent, self.clock()), NOT_YET)
            case Compare() | Upsert():
                request = self._rendered(work, step, forecast)
                forecast.updated |= request.needed
                return after_update(link, request, work, step)
            case AddEvents():
                self._rendered(work, step, forecast)
                forecast.updated |= not forecast.created
                return transitions.events_added(link, frozenset(step.events))
            case Comment() | Close():
                return self._ended(work, step, forecast)
            case Offer(closed=closed):
                return self._put_out(work, forecast, closed=closed)
            case Nothing():
                return link
            case _:
                assert_never(step)

    def _ended(self, work: DeliveryState, step: Comment | Close, forecast: Forecast) -> Link:
        """Return the link once it is commented, or closed; a comment that fails parks nothing."""
        if isinstance(step, Comment):
            return comments.sending(work.link, closing=step.closing)
        self.context.request(work, step, self.draft)
        forecast.closed = True
        return transitions.incident_closed(work.link, Origin.KUMA)

    def _put_out(self, work: DeliveryState, forecast: Forecast, *, closed: bool) -> Link:
        """Return the link once the alert is put out for an IRP that polls us: first, anew, or as closed."""
        known = work.link.made
        forecast.created |= not known
        forecast.updated |= known and not closed
        forecast.closed |= closed
        forecast.events = len(work.kept)
        sent = DeliveredState(fingerprint=work.snapshot.fingerprint, events=frozenset(work.kept))
        return transitions.offered(work.link, sent, closed=closed)

    def _found(self, link: Link, forecast: Forecast) -> Link:
        if not self.capabilities.can_find:
            park = transitions.without_find(link, self.capabilities)
            forecast.parked = park.reason if park else ""
            return link if park else transitions.absent(link)
        forecast.found_first = True
        if link.incident is None:
            return transitions.absent(link)
        return transitions.after_found(link, Found(incident=link.incident, closed=link.incident_closed))

    def _rendered(self, work: DeliveryState, step: EventStep, forecast: Forecast) -> Request:
        request = self.context.request(work, step, self.draft)
        forecast.fields |= request.fields - request.draft.rendered.event_fields
        forecast.events += len(step.events) if request.needed else 0
        return request
