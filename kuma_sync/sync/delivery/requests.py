"""The steps of a delivery: each renders one request, sends it, and says what the link becomes."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import assert_never

import structlog

from kuma_sync.core import comments, transitions
from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import Permanent, Redirected, RemoteError, Transient
from kuma_sync.core.incident import Found
from kuma_sync.core.lanes import Lane
from kuma_sync.core.link import Doubt, Link
from kuma_sync.core.retry import Bounce, Park, RetryAt
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
    Upsert,
    halved,
)
from kuma_sync.irp.bounds import patiently
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.errors import Duplicate, TooLarge
from kuma_sync.sync.closing.requests import Closings
from kuma_sync.sync.delivery.asking import Asker, surely_not
from kuma_sync.sync.delivery.commenting import Commenter
from kuma_sync.sync.delivery.context import TemplateContext, content_of
from kuma_sync.sync.delivery.proof import Proof
from kuma_sync.sync.delivery.unit_of_work import Change, DeliveryState, DeliveryUnitOfWork
from kuma_sync.sync.delivery.writes import Writes
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.remote.gates import RemoteGates
from kuma_sync.telemetry.metrics import Metrics


def after_failed_create(link: Link, error: RemoteError | GateClosed, capabilities: TargetCapabilities) -> Link:
    """Keep the intent where the create may have happened; take it back where it certainly did not."""
    if surely_not(error) or (isinstance(error, GateClosed) and _taken_for_a_gate(error.cause, capabilities)):
        return transitions.refused(link, capabilities)
    return transitions.unidentified(link) if isinstance(error, Transient) and error.unidentified else link


def _taken_for_a_gate(cause: RemoteError | None, capabilities: TargetCapabilities) -> bool:
    # Where nobody can look, a doubt parks the job, and each trial would park one more: 302 is what a login answers.
    return not capabilities.can_find and cause is not None and cause.status == 302


log = structlog.get_logger(__name__)


class Steps:
    """Find, create, update, add events, close."""

    reaches = True

    def __init__(  # noqa: PLR0913  one keyword a part, given once, in the composition root
        self,
        *,
        irp: IrpClient,
        gates: RemoteGates,
        proof: Proof,
        unit_of_work: DeliveryUnitOfWork,
        closings: Closings,
        context: TemplateContext,
        metrics: Metrics,
    ) -> None:
        self._irp = irp
        self._gates = gates
        self._proof = proof
        self._unit_of_work = unit_of_work
        self._closings = closings
        self._context = context
        can = unit_of_work.capabilities
        self._asker = Asker(target=proof.target, irp=irp, gates=gates, capabilities=can, metrics=metrics)
        self._writes = Writes(asker=self._asker, unit_of_work=unit_of_work, context=context)
        self._commenter = Commenter(asker=self._asker, unit_of_work=unit_of_work, writes=self._writes)

    def bounced(self, stopped: GateClosed) -> Bounce | RetryAt:
        """Return what a shut gate means for a job: the IRP's lets it go on, KUMA's is not this queue's to watch."""
        if stopped.gate is self._proof.gate:
            return Bounce(until=stopped.until, reason=stopped.summary, lane=Lane.CREATE)
        ours = (self._gates.whole, *self._gates.kinds.values())
        if stopped.gate not in ours:
            return RetryAt(at=stopped.until, reason=stopped.summary, counts=False)
        lane = self._gates.lane(stopped.gate)
        if lane is None and isinstance(stopped.cause, Redirected):
            # It waits behind the others: else it would be the next trial, and the next.
            lane = Lane.UPDATE
        return Bounce(until=stopped.until, reason=stopped.summary, lane=lane)

    async def ended(self, job: LeasedJob) -> None:
        """Note that a job ended, whatever came of it."""
        await self._proof.leave(AlertId(job.claim.subject))

    async def take(self, job: LeasedJob, work: DeliveryState, step: Step) -> Change | RetryAt | Park:
        """Take a step; where the IRP refuses its request as too large, with half the events, and half of these."""
        while True:
            try:
                return await self._take(job, work, step)
            except TooLarge:
                smaller = halved(step, self._unit_of_work.capabilities)
                if smaller is None:
                    raise
                step = smaller

    async def _take(self, job: LeasedJob, work: DeliveryState, step: Step) -> Change | RetryAt | Park:
        match step:
            case FindFirst():
                return await self._look_first(job, work)
            case Create():
                return await self._create(job, work, step)
            case Compare() | Upsert():
                return await self._writes.update(job, work, step)
            case AddEvents():
                return await self._writes.add_events(job, work, step)
            case Comment():
                return await self._commenter.send(job, work, step)
            case Close():
                return await self._writes.close(job, work, step)
            case Nothing() | Offer():  # offered is only to an IRP that polls us
                return Change(become=lambda link: link)
            case _:
                assert_never(step)

    async def _look_first(self, job: LeasedJob, work: DeliveryState) -> Change | RetryAt | Park:
        capabilities = self._unit_of_work.capabilities
        if not capabilities.can_find:
            return transitions.without_find(work.link, capabilities) or _absent(work)
        if work.link.doubt is Doubt.UNSHOWN:
            return await self._look(job, work)
        found, asked_at = await self._find(job, work)
        if found and self._awaits_resolution(work, transitions.choose(found)):
            return await self._await_resolution(job, work)
        if found:
            if self._proof.concerns(work.alert_id) and work.link.intent is not None:
                await self._proof.found()
            return self._found(work, found)
        now = self._context.clock()
        after = transitions.after_not_found(work.link, asked_at=asked_at, answered_at=now, settle=capabilities.settle)
        if after is not None:
            await self._unit_of_work.note(job, work, partial(transitions.first_not_found, now=now))
        return after or _absent(work)

    async def _find(self, job: LeasedJob, work: DeliveryState) -> tuple[list[Found], datetime]:
        """Ask for the incident; return when it was asked, too: it may have waited long for a place and for the rate."""
        asked_at = self._context.clock()

        async def send() -> list[Found]:
            nonlocal asked_at
            asked_at = self._context.clock()
            return await self._irp.find(self._context.key(work))

        found = await self._asker.ask("find", job, send)
        failpoint("find_answered")
        return found, asked_at

    async def _look(self, job: LeasedJob, work: DeliveryState) -> Change | RetryAt:
        """Learn whether `find` shows what `create` made; where it does not, twice, creates stand still."""
        settle = self._unit_of_work.capabilities.settle
        job.lane = Lane.CLOSE  # all creates wait for this one, and those on their lane for them
        try:
            async with self._proof.gate.admit():
                found, asked_at = await self._shown(job, work)
                if not found and transitions.seen_twice(work.link, asked_at, settle):
                    raise self._proof.not_shown()
        except GateClosed as stopped:
            if stopped.gate is not self._proof.gate:
                raise
            return RetryAt(at=stopped.until, reason=stopped.summary, counts=False)
        if found:
            await self._proof.found()
            if transitions.shows(work.link, found):
                return Change(become=transitions.shown)
            waits = self._awaits_resolution(work, transitions.choose(found))
            return await self._await_resolution(job, work) if waits else self._found(work, found)
        now = self._context.clock()
        await self._unit_of_work.note(job, work, partial(transitions.first_not_found, now=now))
        at = self._proof.looks_again(now + settle)
        return RetryAt(at=at, reason="not found yet", counts=False)

    async def _shown(self, job: LeasedJob, work: DeliveryState) -> tuple[list[Found], datetime]:
        try:
            return await self._find(job, work)
        except Permanent as error:
            # Whatever it was asked, it shows nothing.
            raise self._proof.not_shown(f"find {error.summary}") from None

    async def _create(self, job: LeasedJob, work: DeliveryState, step: Create) -> Change:
        """Commit the intent, then send; an intent that certainly did not happen is taken back."""
        request = await patiently(partial(self._context.request, work, step, self._irp.draft))
        sent = content_of(request, work, step)
        self._gates.assure_open("create")
        await self._proof.enter(work.alert_id)
        await self._unit_of_work.note(job, work, partial(transitions.intended, sent=sent, now=self._context.clock()))
        failpoint("intent_committed")
        try:
            incident = await self._asker.ask("create", job, partial(self._irp.create, request.draft))
        except Duplicate:
            return Change(become=transitions.duplicated, audit=("duplicate", "the IRP says it exists already"))
        except (RemoteError, GateClosed) as error:
            await self._unit_of_work.note(
                job, work, partial(after_failed_create, error=error, capabilities=self._unit_of_work.capabilities)
            )
            raise
        failpoint("create_answered")
        log.info("incident_created", alert_id=work.alert_id, incident_id=incident.id)
        become = partial(transitions.created, incident=incident, proven=self._proof.shown)
        told = self._writes.audited(become, comments.created(len(step.events)))
        return Change(become=told, audit=("created", incident.id))

    def _awaits_resolution(self, work: DeliveryState, found: Found) -> bool:
        """Tell whether to look once more before a default reason stands in for a resolution."""
        carried = self._closings.to_kuma and found.closed and not work.link.alert_closed
        return carried and not found.resolved and work.link.unresolved_at is None

    async def _await_resolution(self, job: LeasedJob, work: DeliveryState) -> RetryAt:
        now = self._context.clock()
        await self._unit_of_work.note(job, work, partial(transitions.resolution_awaited, now=now))
        log.info("resolution_awaited", alert_id=work.alert_id)
        return RetryAt(at=now + self._closings.patience, reason="closed without a resolution yet", counts=False)

    def _found(self, work: DeliveryState, found: list[Found]) -> Change:
        chosen = transitions.choose(found)
        if len(found) > 1:
            log.warning("several_incidents", alert_id=work.alert_id, count=len(found), incident_id=chosen.incident.id)
        closing = None
        if chosen.closed and not work.link.alert_closed:
            closing = self._closings.by_resolution(
                work.alert_id, chosen.resolution, incident=chosen.incident.id, by="find"
            )
        log.info("incident_found", alert_id=work.alert_id, incident_id=chosen.incident.id, closed=chosen.closed)
        return Change(
            become=partial(transitions.after_found, found=chosen), audit=("found", chosen.incident.id), closing=closing
        )


def _absent(work: DeliveryState) -> Change:
    if work.link.doubt is Doubt.UNCLOSED:
        log.warning("incident_to_close_is_gone", alert_id=work.alert_id)
        return Change(become=transitions.absent, audit=("incident_closed", "the IRP no longer has it"))
    # Without an incident a create follows, whose intent replaces the doubt in one go.
    return Change(become=transitions.absent, deferred=work.link.incident is None)
