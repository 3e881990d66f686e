"""What a delivery works on, and how it is loaded, written back and finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import structlog

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents, EventDigest, JsonObject, Observation
from kuma_sync.core.closing import CloseRequest
from kuma_sync.core.errors import ClaimLost
from kuma_sync.core.link import BeingMade, Link
from kuma_sync.core.routing import IRP
from kuma_sync.core.steps import Nothing, Step, TargetCapabilities, next_step
from kuma_sync.store import Store, Tx, put_of
from kuma_sync.store.handouts import Handout
from kuma_sync.store.locks import Renew, lock
from kuma_sync.sync.closing.requests import put_order
from kuma_sync.sync.delivery.group_commit import GroupCommit
from kuma_sync.sync.queue.leased_job import LeasedJob, insist, persist

Become = Callable[[Link], Link]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryState:
    """One alert as the store knows it right now. `contents` is None when they were delivered, or never read."""

    snapshot: AlertSnapshot
    link: Link
    contents: Contents | None

    @property
    def alert_id(self) -> AlertId:
        """Return the alert's id."""
        return self.link.alert_id

    @property
    def kept(self) -> dict[EventDigest, JsonObject]:
        """Return all stored events, in KUMA's order."""
        return self.contents.by_digest if self.contents else {}

    @property
    def lacks_contents(self) -> bool:
        """Tell whether the contents were delivered and forgotten: KUMA may still have them."""
        return self.contents is None and self.snapshot.contents_known

    @property
    def plain(self) -> bool:
        """Tell whether an update can do without contents: it leaves as they are the fields that it does not know."""
        return self.link.made and self.link.sent.fingerprint is not None

    def step(self, capabilities: TargetCapabilities) -> Step:
        """Decide what comes next."""
        return next_step(self.snapshot, self.link, kept=self.kept, capabilities=capabilities)

    def with_contents(self, contents: Contents) -> DeliveryState:
        """Return the work with contents that were read again; the snapshot grows with events not seen before."""
        snapshot = self.snapshot.with_seen(Observation(alert=self.snapshot.alert, contents=contents))
        return replace(self, snapshot=snapshot, contents=contents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a step made of the link, the audit line it is worth, and the closing that follows for KUMA, if any.

    `handout` is what an IRP that polls us will be given.
    `deferred` need not be written by itself: the next step writes it, or finds it out again.
    """

    become: Become
    deferred: bool = False
    audit: tuple[str, str] | None = None
    closing: CloseRequest | None = None
    handout: Handout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One write that a job asks for; `finish` lets the job be done where nothing more is needed."""

    job: LeasedJob
    change: Change
    known: DeliveryState | None
    finish: bool

    @property
    def alert_id(self) -> AlertId:
        return AlertId(self.job.claim.subject)


class DeliveryUnitOfWork:
    """Loads and writes the work of deliveries; a write is done only while the claim is ours.

    What several jobs ask for at the same time is one transaction, which renews their claims for the `lease`. With
    `write_back` the alert of an incident that we made is to be given a comment.
    """

    def __init__(
        self,
        store: Store,
        capabilities: TargetCapabilities,
        *,
        lease: timedelta,
        target: str = IRP,
        write_back: bool = False,
    ) -> None:
        self._lease = lease
        self._target = target
        self._write_back = write_back
        self._store = store
        self.capabilities = capabilities
        self._loads = GroupCommit(self._load_all)
        self._writes = GroupCommit(self._write_all)

    async def load(self, job: LeasedJob) -> DeliveryState | None:
        """Return the work of a job; None (and the job is done) when there is nothing to do, or nothing left.

        A job of an alert that belongs to another target is put back for that one.
        """
        work = await insist(job, lambda: self._loads.ask(AlertId(job.claim.subject)))
        if work is not None and work.link.target != self._target:
            log.error("job_of_another_target", alert_id=work.alert_id, target=work.link.target)
            await persist(job, lambda: self._store.write(partial(self._send_on, job)))
            return None
        if work is not None and not isinstance(work.step(self.capabilities), Nothing):
            return work
        # Nothing is certain before it is seen under the lock.
        return await self._write(job, Change(become=lambda link: link), known=None)

    async def commit(self, job: LeasedJob, work: DeliveryState, change: Change) -> DeliveryState | None:
        """Write what a step did; None (and the job is done, in the same transaction) when nothing more is needed."""
        return await self._write(job, change, known=work)

    async def note(
        self, job: LeasedJob, work: DeliveryState, become: Become, *, audit: tuple[str, str] | None = None
    ) -> DeliveryState:
        """Write a change of the link in the middle of a step."""
        return await self._write(job, Change(become=become, audit=audit), known=work, finish=False) or work

    async def keep_contents(self, job: LeasedJob, work: DeliveryState, contents: Contents) -> DeliveryState:
        """Store contents that were read again from KUMA, if nobody else may have stored newer ones meanwhile.

        They may show more events than the poller has seen so far: the snapshot grows with them.
        """

        def keep(tx: Tx) -> DeliveryState:
            _prove(tx, job, self._lease)
            # Under a lock, for the poller may be writing the two as well.
            known = tx.alerts.snapshots([work.alert_id], lock=True).get(work.alert_id, work.snapshot)
            newer = tx.alerts.contents(work.alert_id)
            if newer is not None or known.oversize:
                return DeliveryState(snapshot=known, link=work.link, contents=newer)
            read = replace(work, snapshot=known).with_contents(contents)
            tx.alerts.store_contents(work.alert_id, contents)
            tx.alerts.amend(read.snapshot)
            return read

        return await self._store.write(keep)

    def _send_on(self, job: LeasedJob, tx: Tx) -> None:
        alert_id = AlertId(job.claim.subject)
        locked = lock(tx, deliveries=Renew(claims=[job.claim], lease=self._lease), links=[alert_id])
        if job.claim.id not in locked.ours:
            raise _lost(job)
        tx.delivery.done(job.claim)
        tx.delivery.put([put_of(link) for link in locked.links.values()])

    async def _write(
        self, job: LeasedJob, change: Change, *, known: DeliveryState | None, finish: bool = True
    ) -> DeliveryState | None:
        entry = _Entry(job=job, change=change, known=known, finish=finish)
        return await persist(job, lambda: self._writes.ask(entry))

    async def _load_all(self, ids: Sequence[AlertId]) -> Sequence[DeliveryState | None]:
        return await self._store.read(partial(load_states, ids))

    async def _write_all(self, entries: Sequence[_Entry]) -> Sequence[DeliveryState | Exception | None]:
        return await self._store.write(partial(self._write_entries, entries))

    def _write_entries(self, entries: Sequence[_Entry], tx: Tx) -> Sequence[DeliveryState | Exception | None]:
        jobs = Renew(claims=[entry.job.claim for entry in entries], lease=self._lease)
        locked = lock(tx, deliveries=jobs, links=[entry.alert_id for entry in entries])
        ours, before = locked.ours, locked.links
        kept = [entry for entry in entries if entry.job.claim.id in ours]
        after = {
            entry.alert_id: entry.change.become(before[entry.alert_id]) for entry in kept if entry.alert_id in before
        }
        tx.links.save_all([link for key, link in after.items() if link != before[key]], now=tx.now)
        if self._write_back:
            tx.write_backs.put([key for key, link in after.items() if _was_made(before[key], link)])
        tx.handouts.put([entry.change.handout for entry in kept if entry.change.handout is not None])
        _take_back(tx, [key for key, link in after.items() if before[key].incident_closed > link.incident_closed])
        # Held before the snapshots are read: what a poll is writing meanwhile must not be forgotten with the rest.
        held = tx.alerts.lock_contents([entry.alert_id for entry in kept if entry.finish])
        works = _works(tx, kept, after)
        done = [entry for entry in kept if entry.finish and self._at_rest(works.get(entry.alert_id))]
        _note(tx, kept)
        told = {entry.alert_id for entry in done if _made(after.get(entry.alert_id))}
        tx.alerts.forget_contents(*sorted(told & held))
        tx.delivery.all_done([entry.job.claim for entry in done])
        finished = {entry.job.claim.id for entry in done}
        return [
            _lost(entry.job)
            if entry.job.claim.id not in ours
            else None
            if entry.job.claim.id in finished
            else works.get(entry.alert_id)
            for entry in entries
        ]

    def _at_rest(self, work: DeliveryState | None) -> bool:
        return work is None or isinstance(work.step(self.capabilities), Nothing)


def load_states(ids: Sequence[AlertId], tx: Tx) -> list[DeliveryState | None]:
    """Return the work of these alerts, in their order; None where there is no such alert."""
    links = tx.links.many(ids)
    snapshots = tx.alerts.snapshots(ids)
    contents = tx.alerts.contents_of(ids)
    return [
        DeliveryState(snapshot=snapshots[key], link=links[key], contents=contents.get(key))
        if key in links and key in snapshots
        else None
        for key in ids
    ]


def _prove(tx: Tx, job: LeasedJob, lease: timedelta) -> None:
    """Raise ClaimLost unless the job is still ours; what this transaction wrote is taken back then."""
    if job.claim.id not in lock(tx, deliveries=Renew(claims=[job.claim], lease=lease)).ours:
        raise _lost(job)


def _lost(job: LeasedJob) -> ClaimLost:
    return ClaimLost(f"job {job.claim.id} went to another worker")


def _works(tx: Tx, entries: Sequence[_Entry], links: Mapping[AlertId, Link]) -> dict[AlertId, DeliveryState]:
    """Return the works as they are after the changes; contents at hand serve while they are the alert's last ones."""
    works = {
        entry.alert_id: replace(entry.known, link=links[entry.alert_id])
        for entry in entries
        if entry.known is not None and entry.alert_id in links
    }
    snapshots = tx.alerts.snapshots([entry.alert_id for entry in entries if entry.finish])
    at_hand = {
        key: work.contents
        for key, work in works.items()
        if key in snapshots and work.contents is not None and work.snapshot.fingerprint == snapshots[key].fingerprint
    }
    contents = at_hand | tx.alerts.contents_of([key for key in snapshots if key not in at_hand])
    return works | {
        key: DeliveryState(snapshot=snapshot, link=links[key], contents=contents.get(key))
        for key, snapshot in snapshots.items()
        if key in links
    }


def _take_back(tx: Tx, reopened: Sequence[AlertId]) -> None:
    """Take back closings for KUMA that the brake holds: their incidents are open again."""
    for alert_id in sorted(reopened):
        if tx.closes.unhold(alert_id):
            tx.audit.note("kuma-sync", "closing_taken_back", alert_id, "the incident is open again")


def _note(tx: Tx, entries: Sequence[_Entry]) -> None:
    tx.audit.note_all(
        "kuma-sync",
        [(entry.change.audit[0], entry.alert_id, entry.change.audit[1]) for entry in entries if entry.change.audit],
    )
    for entry in entries:
        if entry.change.closing is not None:
            put_order(tx, entry.change.closing)


def _was_made(before: Link, after: Link) -> bool:
    """Tell whether it is known now which incident our create made."""
    return before.incident is None and after.incident is not None and isinstance(before.live, BeingMade)


def _made(link: Link | None) -> bool:
    return link is not None and (link.made or link.dropped)
