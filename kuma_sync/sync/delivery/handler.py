"""The handler of the delivery queue: bring one alert's incident up to date, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import structlog

from kuma_sync.core.errors import RemoteError, Transient
from kuma_sync.core.retry import Bounce, Park, RetryAt
from kuma_sync.core.steps import Compare, Create, Offer, Step, Upsert, to_be_closed
from kuma_sync.sync.delivery.context import ContentsReader
from kuma_sync.sync.delivery.unit_of_work import Change, DeliveryState, DeliveryUnitOfWork
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.remote.rate import RetryContext
from kuma_sync.sync.troubles import Spell
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


class Acts(Protocol):
    """Takes the steps of a delivery: by requests (requests.Steps), or by putting alerts out (handout.offering)."""

    reaches: bool
    """Whether a change has reached the IRP once its steps are taken."""

    def bounced(self, stopped: GateClosed) -> Bounce | RetryAt:
        """Return what a shut gate means for a job."""

    async def take(self, job: LeasedJob, work: DeliveryState, step: Step) -> Change | RetryAt | Park:
        """Take one step. Raise RemoteError or GateClosed."""

    async def ended(self, job: LeasedJob) -> None:
        """Note that a job ended, whatever came of it."""


EVENT = 1500
"""Bytes of a usual event."""


class Deliver:
    """Does deliveries: load, decide, act, write; until nothing is left to do or something failed."""

    def __init__(
        self,
        *,
        target: str,
        unit_of_work: DeliveryUnitOfWork,
        steps: Acts,
        contents: ContentsReader,
        pace: RetryContext,
        metrics: Metrics,
    ) -> None:
        self._target = target
        self._unit_of_work = unit_of_work
        self._steps = steps
        self._contents = contents
        self._pace = pace
        self._metrics = metrics
        self._spell = Spell(quiet=pace.limits.quiet)

    async def handle(self, job: LeasedJob) -> RetryAt | Bounce | Park | None:
        """Bring the incident of one alert up to date."""
        try:
            return await self._handle(job)
        except GateClosed as stopped:
            return self._steps.bounced(stopped)
        except RemoteError as error:
            return self._failed(job, error)
        finally:
            await self._steps.ended(job)

    async def _handle(self, job: LeasedJob) -> RetryAt | Park | None:
        work = await self._unit_of_work.load(job)
        if work is None:
            return None
        while work is not None:
            work, step = await self._decided(job, work)
            outcome = await self._steps.take(job, work, step)
            if not isinstance(outcome, Change):
                return outcome
            if outcome.deferred:
                work = replace(work, link=outcome.become(work.link))
                continue
            if failures := self._spell.ends():
                log.info("deliveries_recovered", failures=failures)
            work = await self._unit_of_work.commit(job, work, outcome)
            failpoint("link_committed")
        if not self._steps.reaches:
            return None
        waited = self._pace.clock() - job.claim.put_at
        self._metrics.delivered(self._target, max(waited.total_seconds(), 0.0))
        return None

    async def _decided(self, job: LeasedJob, work: DeliveryState) -> tuple[DeliveryState, Step]:
        """Return the next step; contents for it that were delivered and forgotten are read again."""
        capabilities = self._unit_of_work.capabilities
        step = work.step(capabilities)
        if not (isinstance(step, Create | Compare | Upsert | Offer) and work.lacks_contents):
            return work, step
        if not job.weight:
            # What is read again takes room as what is stored does. Whoever holds some must not wait for more.
            await job.take(len(work.snapshot.event_ids) * EVENT)
        contents = await self._contents.read(work.alert_id, needed=self._needs_contents(job, work))
        if contents is None:
            return work, step
        work = await self._unit_of_work.keep_contents(job, work, contents)
        return work, work.step(capabilities)

    def _needs_contents(self, job: LeasedJob, work: DeliveryState) -> bool:
        """Tell whether to wait until KUMA shows the contents: a closed incident is not written to any more.

        What KUMA fails to show again and again must not keep an incident open for ever.
        """
        patient = job.claim.attempts < self._pace.limits.contents_tries
        return not work.plain or (patient and to_be_closed(work.link))

    def _failed(self, job: LeasedJob, error: RemoteError) -> RetryAt | Bounce | Park:
        # One that is refused is this alert's matter; one that fails otherwise is the remote's, and told once.
        if not isinstance(error, Transient) or self._spell.begins(error.summary):
            log.warning("delivery_failed", alert_id=job.claim.subject, operation=error.operation, reason=error.summary)
        return self._pace.after(error, attempts=job.claim.attempts + 1)
