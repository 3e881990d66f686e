"""The handler of the close queue: close one alert in KUMA, durably, with its reason."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import structlog

from kuma_sync.core import transitions
from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, KumaAnswer
from kuma_sync.core.errors import Permanent, RemoteError, Transient
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Link, Offered
from kuma_sync.core.retry import Bounce, Park, RetryAt
from kuma_sync.kuma.client import KumaClient
from kuma_sync.kuma.refusal import KumaRefusal
from kuma_sync.store import Lane, Put, Store, Tx
from kuma_sync.sync.closing.intake import Waiters
from kuma_sync.sync.closing.requests import Closings, read_order
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.queue.leased_job import LeasedJob, persist
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.remote.gates import Asking, RemoteGates
from kuma_sync.sync.troubles import Spell
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

CLOSE_AT = "close at"
"""How the reason begins where KUMA has no such path: closings stand still then, reading goes on."""

FINAL = (400, 404, 406)


class CloseAlert:
    """Does closings towards KUMA. A caller who waits gets KUMA's answer, and then nothing is parked."""

    def __init__(
        self,
        *,
        store: Store,
        kuma: KumaClient,
        gates: RemoteGates,
        waiters: Waiters,
        metrics: Metrics,
        closings: Closings,
    ) -> None:
        self._store = store
        self._kuma = kuma
        self._gates = gates
        self._pace = gates.whole.pace
        self._waiters = waiters
        self._metrics = metrics
        self._closings = closings
        self._spell = Spell(quiet=self._pace.limits.quiet)

    async def handle(self, job: LeasedJob) -> RetryAt | Bounce | Park | None:
        """Close one alert."""
        order = self._reasoned(read_order(job.claim.subject, job.claim.payload))
        if not self._closings.to_kuma:
            return Park(reason="closing towards KUMA is switched off (close.to_kuma)")
        if await self._closed_already(job, order):
            return None
        if order.reason is None:
            return Park(reason=f"the resolution {order.resolution!r} has no reason for KUMA (close.reasons)")
        try:
            asking = Asking(kind="close", subject=order.alert_id, nowhere=self._nowhere)
            by_us = await self._gates.ask(asking, partial(self._send, job, order))
        except GateClosed as stopped:
            return Bounce(until=stopped.until, reason=stopped.summary)
        except RemoteError as error:
            return await self._failed(job, order, error)
        failpoint("close_answered")
        if failures := self._spell.ends():
            log.info("closings_recovered", failures=failures)
        self._metrics.closes.labels(result="closed" if by_us else "already_closed").inc()
        log.info("alert_closed", alert_id=order.alert_id, reason=order.reason.value, by_us=by_us)
        told = order.reason.value if by_us else f"{order.reason.value}; it was closed already"
        await persist(job, partial(self._write, job, order, told))
        failpoint("close_acknowledged")
        self._waiters.answer(order.alert_id, KumaAnswer(status=204))
        return None

    async def _send(self, job: LeasedJob, order: CloseRequest) -> bool:
        job.ensure_valid()
        return await self._kuma.close(order.alert_id, order.reason.value if order.reason else "")

    def _nowhere(self, error: Permanent) -> str:
        if isinstance(error, KumaRefusal) and error.documented:
            # What KUMA says in words of its own is about the alert.
            self._gates.known.add("close")
        if error.status not in (404, 405) or "close" in self._gates.known:
            return ""
        return f"{CLOSE_AT} {self._kuma.close_address} {error.summary}"

    def _reasoned(self, order: CloseRequest) -> CloseRequest:
        """Look again for the reason of a resolution (an empty one, too) that had none: there may be one by now."""
        if order.reason is not None:
            return order
        mapped = self._closings.by_resolution(order.alert_id, order.resolution, incident=order.incident, by=order.by)
        return order if mapped is None else replace(order, reason=mapped.reason)

    async def _closed_already(self, job: LeasedJob, order: CloseRequest) -> bool:
        def done(tx: Tx) -> bool:
            link = tx.links.get(_stored(tx, order))
            if link is None or not link.alert_closed:
                return False
            tx.closes.done(job.claim)
            return True

        closed = await self._store.write(done)
        if closed:
            self._waiters.answer(order.alert_id, KumaAnswer(status=204))
        return closed

    async def _write(self, job: LeasedJob, order: CloseRequest, told: str) -> None:
        def write(tx: Tx) -> None:
            note_closed(tx, order)
            tx.audit.note("kuma-sync", "closed_in_kuma", order.alert_id, told)
            tx.closes.done(job.claim)

        await self._store.write(write)

    async def _failed(self, job: LeasedJob, order: CloseRequest, error: RemoteError) -> RetryAt | Bounce | Park | None:
        self._metrics.closes.labels(result="refused" if isinstance(error, Permanent) else "failed").inc()
        if not isinstance(error, Transient) or self._spell.begins(error.summary):
            log.warning("close_failed", alert_id=order.alert_id, reason=error.summary)
        if isinstance(error, KumaRefusal) and error.answer.status in FINAL and self._waiters.waits(order.alert_id):
            # Whoever waits hears KUMA's word and decides: the job has done its part.
            await persist(job, partial(self._give_up, job, order, error.summary))
            self._waiters.answer(order.alert_id, error.answer)
            return None
        return self._pace.after(error, attempts=job.claim.attempts + 1)

    async def _give_up(self, job: LeasedJob, order: CloseRequest, told: str) -> None:
        def give_up(tx: Tx) -> None:
            tx.audit.note("kuma-sync", "close_refused", order.alert_id, told)
            tx.closes.done(job.claim)

        await self._store.write(give_up)


def note_closed(tx: Tx, order: CloseRequest) -> None:
    """Mark an alert as closed in KUMA, and queue the closing of its incident."""

    def become(link: Link) -> Link:
        reason = order.reason.value if order.reason else ""
        # A closing that came before its incident was made could not have closed it: that one follows the alert. Whoever
        # names the incident knows it, though, even while we are still finding out whether our create made it.
        origin = order.origin if link.made or order.incident else Origin.KUMA
        return transitions.alert_closed(link, origin, reason, order.comment)

    link = tx.links.change(_stored(tx, order), become, now=tx.now)
    # An IRP that polls us may ask for what it closed: that it is closed is put out, too.
    if link is not None and (isinstance(link.live, Offered) or not link.incident_closed):
        tx.delivery.put([Put(subject=link.alert_id, lane=Lane.CLOSE, target=link.target)])


def _stored(tx: Tx, order: CloseRequest) -> AlertId:
    """Return the alert's id as it is stored: the order may have come before the alert, in another spelling."""
    return tx.links.stored_as([order.alert_id]).get(order.alert_id, order.alert_id)
