"""What a delivery works on, and how it is loaded, written back and finished.

Must not: decide what comes next, or speak to the IRP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kuma_sync.core.alert import AlertId, Contents, EventDigest, JsonObject, Picture, event_digest
from kuma_sync.core.closing import CloseRequest
from kuma_sync.core.delivery import Desk, Nothing, Step, next_step
from kuma_sync.core.errors import ClaimLost
from kuma_sync.core.incident import Link
from kuma_sync.daemon import owned
from kuma_sync.daemon.orders import put_order
from kuma_sync.daemon.owned import OwnedJob, persist
from kuma_sync.store import Store, Tx

Become = Callable[[Link], Link]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One alert as the store knows it right now. `contents` is None when they were delivered, or never read."""

    picture: Picture
    link: Link
    contents: Contents | None

    @property
    def alert_id(self) -> AlertId:
        """Return whose work it is."""
        return self.link.alert_id

    def kept(self) -> dict[EventDigest, JsonObject]:
        """Return all stored events, in KUMA's order."""
        return {event_digest(event): event for event in self.contents.events} if self.contents else {}

    def unsent(self) -> dict[EventDigest, JsonObject]:
        """Return the stored events that were not sent yet, in KUMA's order."""
        sent = self.link.sent.events
        return {digest: event for digest, event in self.kept().items() if digest not in sent}

    def step(self, desk: Desk) -> Step:
        """Decide what comes next."""
        return next_step(self.picture, self.link, unsent=len(self.unsent()), desk=desk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a step made of the link, the audit line it is worth, and the closing that follows for KUMA, if any.

    `soon` need not be written by itself: the next step writes it, or finds it out again.
    """

    become: Become
    soon: bool = False
    told: tuple[str, str] | None = None
    closing: CloseRequest | None = None


class Workbench:
    """Loads and writes the work of deliveries; every write is one transaction, done only while the claim is ours."""

    def __init__(self, store: Store, desk: Desk) -> None:
        self._store = store
        self.desk = desk

    async def load(self, job: OwnedJob) -> Work | None:
        """Return the work of a job; None (and the job is done) when there is nothing to do, or nothing left."""
        return await persist(job, lambda: self._write(job, Change(become=lambda link: link), known=None))

    async def commit(self, job: OwnedJob, work: Work, change: Change) -> Work | None:
        """Write what a step did; None (and the job is done, in the same transaction) when nothing more is needed."""
        return await persist(job, lambda: self._write(job, change, known=work))

    async def note(self, job: OwnedJob, work: Work, become: Become) -> Work:
        """Write a change of the link in the middle of a step, proving the claim by renewing it."""

        async def write() -> Work:
            async with self._store.begin() as tx:
                await _prove(tx, job)
                link = await tx.links.change(work.alert_id, become, now=tx.now)
            return work if link is None else Work(picture=work.picture, link=link, contents=work.contents)

        return await persist(job, write)

    async def keep_contents(self, job: OwnedJob, work: Work, contents: Contents) -> Work:
        """Store contents that were read again from KUMA, if nobody else may have stored newer ones meanwhile."""
        async with self._store.begin() as tx:
            await _prove(tx, job)
            await tx.alerts.store_contents(work.alert_id, contents)
        return Work(picture=work.picture, link=work.link, contents=contents)

    async def _write(self, job: OwnedJob, change: Change, *, known: Work | None) -> Work | None:
        alert_id = AlertId(job.claim.subject)
        async with self._store.begin() as tx:
            link = await tx.links.change(alert_id, change.become, now=tx.now)
            picture = (await tx.alerts.pictures([alert_id])).get(alert_id)
            if link is None or picture is None:
                await tx.delivery.done(job.claim)
                return None
            work = Work(picture=picture, link=link, contents=await _contents(tx, picture, known))
            if change.told is not None:
                await tx.records.note("kuma-sync", change.told[0], alert_id, change.told[1])
            if change.closing is not None:
                await put_order(tx, change.closing)
            if not isinstance(work.step(self.desk), Nothing):
                if known is not None:
                    # Another worker may have gone on from here while this process was frozen.
                    await _prove(tx, job)
                return work
            if link.incident is not None or link.dropped:
                await tx.alerts.forget_contents(alert_id)
            await tx.delivery.done(job.claim)
        return None


async def _prove(tx: Tx, job: OwnedJob) -> None:
    """Raise ClaimLost unless the job is still ours; what this transaction wrote is taken back then."""
    if job.claim.id not in await tx.delivery.renew([job.claim], lease=owned.LEASE):
        raise ClaimLost(f"job {job.claim.id} went to another worker")


async def _contents(tx: Tx, picture: Picture, known: Work | None) -> Contents | None:
    """Take the contents at hand while they are the alert's last ones."""
    if known is not None and known.contents is not None and known.picture.fingerprint == picture.fingerprint:
        return known.contents
    return await tx.alerts.contents(picture.alert.id)
