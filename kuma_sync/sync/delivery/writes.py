"""What is written to an incident that is there: an update, events, its closing; read first, where the profile asks.

It is read again, and written once more, where the IRP says that it was changed in between (412).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from kuma_sync.core import budget, comments, ownership, transitions
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Link
from kuma_sync.core.retry import Park, RetryAt
from kuma_sync.core.steps import AddEvents, Close, Comment, Compare, EventStep, Upsert, unsent
from kuma_sync.irp.bounds import patiently
from kuma_sync.irp.errors import Missing, Outdated
from kuma_sync.irp.rendering import Draft
from kuma_sync.irp.responses import Current
from kuma_sync.sync.delivery.asking import Asker, surely_not
from kuma_sync.sync.delivery.context import Request, TemplateContext, after_update
from kuma_sync.sync.delivery.unit_of_work import Become, Change, DeliveryState, DeliveryUnitOfWork
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.remote.gate import GateClosed

log = structlog.get_logger(__name__)

_Written = EventStep | Comment | Close


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """Writes to the incidents of one target."""

    asker: Asker
    unit_of_work: DeliveryUnitOfWork
    context: TemplateContext

    async def update(self, job: LeasedJob, work: DeliveryState, step: Compare | Upsert) -> Change | RetryAt | Park:
        """Send what differs, if anything does."""
        capabilities, now = self.unit_of_work.capabilities, self.context.clock()
        new = len(unsent(work.link, work.kept))
        later = budget.put_off_until(work.link, unsent=new, capabilities=capabilities, now=now)
        if later is not None:
            return RetryAt(at=later, reason="put off: the alert changes often", counts=False)
        try:
            work, request = await self._update(job, work, step)
        except Missing as error:
            return missing(job, error)
        sent = request.fields

        def become(link: Link) -> Link:
            # The link itself says by now that anything may have arrived.
            before = link.with_sent(work.link.sent)
            paid = budget.charged(before, unsent=new, capabilities=capabilities, now=now) if sent else link
            return after_update(paid, request, work, step)

        line = comments.updated(sent - request.draft.rendered.event_fields, min(new, len(step.events)))
        audit = ("updated", ", ".join(sorted(sent))) if sent else None
        return Change(become=self.audited(become, line) if sent else become, audit=audit)

    async def add_events(self, job: LeasedJob, work: DeliveryState, step: AddEvents) -> Change | Park:
        """Send events that did not fit into the request before."""
        try:
            await self._write(job, work, step)
        except Missing as error:
            return missing(job, error)
        added = frozenset(step.events)
        become = self.audited(partial(transitions.events_added, events=added), comments.added(len(added)))
        return Change(become=become, audit=("events_added", str(len(added))))

    async def close(self, job: LeasedJob, work: DeliveryState, step: Close) -> Change | Park:
        """Close the incident."""
        try:
            await self._write(job, work, step)
        except Missing as error:
            return missing(job, error, become=transitions.unclosed)
        log.info("incident_closed", alert_id=work.alert_id)
        audit = ("incident_closed", work.link.close_reason)
        return Change(become=partial(transitions.incident_closed, origin=Origin.KUMA), audit=audit)

    def audited(self, become: Become, line: str) -> Become:
        """Have it sent as a comment, where the profile wants it; not where the change was written down before."""
        if not (self.unit_of_work.capabilities.can_comment and self.unit_of_work.capabilities.audit_comments):
            return become

        def owing(link: Link) -> Link:
            changed = become(link)
            return changed if changed == link else comments.owing(changed, line)

        return owing

    async def drafted(self, job: LeasedJob, work: DeliveryState, step: AddEvents | Comment | Close) -> Draft:
        """Return the request of a step; the incident is read for it where its templates ask for that."""
        request = await self._request(work, step)
        if request.reads_first:
            request = await self._request(work, step, await self._read(job, work))
        return request.draft

    async def _write(self, job: LeasedJob, work: DeliveryState, step: AddEvents | Close) -> None:
        try:
            await self.asker.write(job, await self.drafted(job, work, step))
        except Outdated:
            await self.asker.write(job, await self.drafted(job, work, step))

    async def _update(
        self, job: LeasedJob, work: DeliveryState, step: Compare | Upsert
    ) -> tuple[DeliveryState, Request]:
        """Send an update, if one is needed; return it, and the work without the fields that are the analysts'."""
        work, request = await self._decided(job, work, step)
        try:
            await self._send_in_doubt(job, work, request)
        except Outdated:
            work, request = await self._decided(job, work, step)
            await self._send_in_doubt(job, work, request)
        return work, request

    async def _decided(
        self, job: LeasedJob, work: DeliveryState, step: Compare | Upsert
    ) -> tuple[DeliveryState, Request]:
        """Decide what goes. Before that, fields that somebody edited in the IRP are left to the analysts for good."""
        request = await self._request(work, step)
        if not request.reads_first:
            return work, request
        current = await self._read(job, work)
        theirs = ownership.edited(request.looks_at, request.rendered, work.link.sent, current.marks)
        if theirs:
            names = ", ".join(sorted(theirs))
            log.info("fields_left_to_analysts", alert_id=work.alert_id, fields=sorted(theirs))
            become = partial(ownership.left_to_analysts, names=theirs)
            work = await self.unit_of_work.note(job, work, become, audit=("left_to_analysts", names))
        return work, await self._request(work, step, current)

    async def _read(self, job: LeasedJob, work: DeliveryState) -> Current:
        draft = await patiently(partial(self.context.reading, work, self.asker.irp.draft))
        current = await self.asker.ask("get", job, partial(self.asker.irp.read, draft))
        failpoint("get_answered")
        return current

    async def _send_in_doubt(self, job: LeasedJob, work: DeliveryState, request: Request) -> None:
        """Commit that an update may arrive, then send it; it is taken back where it certainly did not arrive."""
        if not request.needed:
            return
        draft, fields, rendered = request.draft, request.fields - request.draft.rendered.event_fields, request.rendered
        self.asker.gates.assure_open(draft.operation)
        begun = partial(ownership.update_begun, fields=fields, rendered=rendered)
        await self.unit_of_work.note(job, work, begun)
        failpoint("update_begun")
        try:
            if draft.operation == "create":
                await self.asker.ask("create", job, partial(self.asker.irp.create, draft))
            else:
                await self.asker.write(job, draft)
        except (RemoteError, GateClosed) as error:
            if surely_not(error):
                back = partial(ownership.update_refused, fields=fields, rendered=rendered, before=work.link.sent)
                await self.unit_of_work.note(job, work, back)
            raise

    async def _request(
        self, work: DeliveryState, step: EventStep | Comment | Close, current: Current | None = None
    ) -> Request:
        return await patiently(partial(self.context.request, work, step, self.asker.irp.draft, current))


def missing(job: LeasedJob, error: Missing, *, become: Callable[[Link], Link] = transitions.missing) -> Change | Park:
    """Find the incident again; where it was found and is still not known, its address is wrong."""
    if job.missed == error.operation:
        told = f"the incident was found, but {error.operation} {error.summary}"
        return Park(reason=f"{told}: is the profile's path right?")
    job.missed = error.operation
    return Change(become=become)
