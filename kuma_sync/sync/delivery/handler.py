"""The handler of the delivery queue: bring one alert's incident up to date, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import structlog

from kuma_sync.core.errors import RemoteError
from kuma_sync.core.retry import Bounce, Park, RetryAt
from kuma_sync.core.steps import AddEvents, Close, Create, FindFirst, Nothing, Step, Update
from kuma_sync.sync.delivery.context import ContentsReader
from kuma_sync.sync.delivery.requests import Steps
from kuma_sync.sync.delivery.unit_of_work import Change, DeliveryState, DeliveryUnitOfWork
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.remote.rate import RetryContext
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

EVENT = 1500
"""Bytes of a usual event."""


class Deliver:
    """Does deliveries: load, decide, act, write; until nothing is left to do or something failed."""

    def __init__(
        self,
        *,
        unit_of_work: DeliveryUnitOfWork,
        steps: Steps,
        contents: ContentsReader,
        pace: RetryContext,
        metrics: Metrics,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._steps = steps
        self._contents = contents
        self._pace = pace
        self._metrics = metrics

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
            outcome = await self._act(job, work, work.step(self._unit_of_work.capabilities))
            if not isinstance(outcome, Change):
                return outcome
            if outcome.deferred:
                work = replace(work, link=outcome.become(work.link))
                continue
            work = await self._unit_of_work.commit(job, work, outcome)
            failpoint("link_committed")
        waited = self._pace.clock() - job.claim.put_at
        self._metrics.end_to_end_seconds.observe(max(waited.total_seconds(), 0.0))
        return None

    async def _act(self, job: LeasedJob, work: DeliveryState, step: Step) -> Change | RetryAt | Park:
        match step:
            case FindFirst():
                return await self._steps.find(job, work)
            case Create():
                return await self._steps.create(job, await self._complete(job, work))
            case Update():
                return await self._steps.update(job, await self._complete(job, work))
            case AddEvents():
                return await self._steps.add_events(job, work)
            case Close():
                return await self._steps.close(job, work)
            case Nothing():
                return Change(become=lambda link: link)
            case _:
                assert_never(step)

    async def _complete(self, job: LeasedJob, work: DeliveryState) -> DeliveryState:
        """Read contents again that were delivered and forgotten, for a resync or an incident made anew."""
        if work.contents is not None or not work.snapshot.contents_known:
            return work
        # A plain update can do without them: what it does not know it leaves as it is.
        plain = work.link.incident is not None and work.link.sent.fingerprint is not None
        if not job.weight:
            # What is read again takes room as what is stored does. Whoever holds some must not wait for more.
            await job.take(len(work.snapshot.event_ids) * EVENT)
        contents = await self._contents.read(work.alert_id, needed=not plain)
        return work if contents is None else await self._unit_of_work.keep_contents(job, work, contents)

    def _failed(self, job: LeasedJob, error: RemoteError) -> RetryAt | Bounce | Park:
        log.warning("delivery_failed", alert_id=job.claim.subject, operation=error.operation, reason=error.summary)
        return self._pace.after(error, attempts=job.claim.attempts + 1)
