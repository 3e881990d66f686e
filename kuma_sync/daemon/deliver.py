"""The handler of the delivery queue: bring one alert's incident up to date, step by step.

Must not: know how a step is done (that is steps), or when a failed one is tried again (that is core/retry).
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import structlog

from kuma_sync.core.delivery import AddEvents, Close, Create, FindFirst, Nothing, Step, Update
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.retry import Bounce, Park, RetryAt
from kuma_sync.daemon.contents import ContentsReader
from kuma_sync.daemon.owned import OwnedJob
from kuma_sync.daemon.pace import Pace
from kuma_sync.daemon.points import passed
from kuma_sync.daemon.side import SideStopped
from kuma_sync.daemon.steps import Steps
from kuma_sync.daemon.work import Change, Work, Workbench
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

EVENT = 1500
"""Bytes of a usual event."""


class Deliver:
    """Does deliveries: load, decide, act, write; until nothing is left to do or something failed."""

    def __init__(
        self, *, bench: Workbench, steps: Steps, contents: ContentsReader, pace: Pace, metrics: Metrics
    ) -> None:
        self._bench = bench
        self._steps = steps
        self._contents = contents
        self._pace = pace
        self._metrics = metrics

    async def handle(self, job: OwnedJob) -> RetryAt | Bounce | Park | None:
        """Bring the incident of one alert up to date."""
        try:
            return await self._handle(job)
        except SideStopped as stopped:
            return self._steps.bounced(stopped)
        except RemoteError as error:
            return self._failed(job, error)
        finally:
            await self._steps.ended(job)

    async def _handle(self, job: OwnedJob) -> RetryAt | Park | None:
        work = await self._bench.load(job)
        if work is None:
            return None
        while work is not None:
            outcome = await self._act(job, work, work.step(self._bench.desk))
            if not isinstance(outcome, Change):
                return outcome
            if outcome.deferred:
                work = replace(work, link=outcome.become(work.link))
                continue
            work = await self._bench.commit(job, work, outcome)
            passed("link_committed")
        waited = self._pace.clock() - job.claim.put_at
        self._metrics.end_to_end_seconds.observe(max(waited.total_seconds(), 0.0))
        return None

    async def _act(self, job: OwnedJob, work: Work, step: Step) -> Change | RetryAt | Park:
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

    async def _complete(self, job: OwnedJob, work: Work) -> Work:
        """Read contents again that were delivered and forgotten, for a resync or an incident made anew."""
        if work.contents is not None or not work.picture.contents_known:
            return work
        # A plain update can do without them: what it does not know it leaves as it is.
        plain = work.link.incident is not None and work.link.sent.fingerprint is not None
        if not job.weight:
            # What is read again takes room as what is stored does. Whoever holds some must not wait for more.
            await job.take(len(work.picture.event_ids) * EVENT)
        contents = await self._contents.read(work.alert_id, needed=not plain)
        return work if contents is None else await self._bench.keep_contents(job, work, contents)

    def _failed(self, job: OwnedJob, error: RemoteError) -> RetryAt | Bounce | Park:
        log.warning("delivery_failed", alert_id=job.claim.subject, operation=error.operation, reason=error.summary)
        return self._pace.after(error, attempts=job.claim.attempts + 1)
