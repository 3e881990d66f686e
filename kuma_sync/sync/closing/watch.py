"""Watching the IRP: which incidents were closed there, and whether it is there at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import structlog

from kuma_sync.core import transitions
from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import Claim, ClosedIncident, claim_of, lies_ahead, made_out, next_watched, since
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.incident import Found, Incident, Origin, Resolution, alert_of, external_key
from kuma_sync.core.link import Link
from kuma_sync.core.moments import rfc3339
from kuma_sync.core.plan import Brake, Plan, check
from kuma_sync.irp.client import IrpClient
from kuma_sync.store import Lane, PassRecord, Put, Store, Tx
from kuma_sync.store.locks import lock
from kuma_sync.sync.closing.requests import Closings, put_order
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.leader import LeaderLease
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate
from kuma_sync.telemetry.health import part_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How a target is watched: this KUMA's name in keys, the brake, and whether it is asked for closed incidents.

    `moved` is called at every page: a list that takes long to read is no loop that stands still.
    """

    target: str
    instance: str
    brake: Brake
    clock: Callable[[], datetime]
    on: bool
    moved: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Up to when the list is known, and when the store was made."""

    watched_until: datetime | None
    born_at: datetime

    @property
    def since(self) -> datetime:
        """Return from when closed incidents are asked for."""
        return since(self.watched_until, born_at=self.born_at)


@dataclass(slots=True, kw_only=True)
class Listing:
    """One round's list, as far as it was read: to a `proven` end, or to an error.

    `now` is the IRP's clock at the first page, the safe side; ours at the start where it does not tell the time.
    """

    started: datetime
    rows: dict[tuple[str, str], Resolution] = field(default_factory=dict)
    server_now: datetime | None = None
    proven: bool = False
    find_failed: bool = False
    error: RemoteError | GateClosed | None = None

    @property
    def now(self) -> datetime:
        """Return the time that the list is measured by."""
        return self.server_now or self.started

    def broke_off(self, error: RemoteError | GateClosed) -> None:
        """Note the failure that ended the round early; the first one counts."""
        self.error, self.proven = self.error or error, False


RowKey = tuple[AlertId, tuple[str, str]]
"""An alert, and the row that was about it."""


@dataclass(slots=True, kw_only=True)
class Verdicts:
    """The meaning of a round's rows.

    `closings` by alert; `misnamed` are links whose incident the IRP shows under another id, or another alert's key;
    `settled` are rows that turned out to mean nothing, so that they are not looked into again while they stay the same.
    """

    closings: dict[AlertId, ClosedIncident] = field(default_factory=dict)
    misnamed: set[AlertId] = field(default_factory=set)
    settled: dict[RowKey, Resolution] = field(default_factory=dict)


class Watch:
    """Asks the IRP for closed incidents, one round at a time."""

    def __init__(
        self,
        *,
        store: Store,
        irp: IrpClient,
        gate: RemoteGate,
        leader: LeaderLease,
        closings: Closings,
        watched: Watched,
    ) -> None:
        self._store = store
        self._irp = irp
        self._gate = gate
        self._leader = leader
        self._closings = closings
        self._watched = watched
        self._dated_ahead = False
        self._settled: dict[RowKey, Resolution] = {}

    async def watch_once(self) -> int:
        """Ask once; return how many closings were found. Where watching is off, or another
        copy does it, only look whether the IRP is there.

        Raise GateClosed, RemoteError, ClaimLost or StoreUnavailable. What was read by then is applied all the same,
        but the watermark stays; and it is noted as a round of its own: whoever looks at the last one must not take an
        older one for it.
        """
        leadership = await self._leader.take() if self._watched.on else None
        if leadership is None:
            if self._irp.can("probe"):
                async with self._gate.admit(paced=True, reads=True):
                    await self._irp.probe()
            return 0
        known, listing = await self._listed(await self._store.read(self._known))
        verdicts = await self._judged(listing)

        def conclude(tx: Tx) -> int:
            if listing.rows or listing.error is None:
                lock(tx, leadership=leadership)
            found = self._conclude(tx, known, listing, verdicts)
            tx.audit.note_pass(self._record(listing, left=found))
            return found

        found = await self._store.write(conclude, long=True)
        failpoint("watch_committed")
        if listing.error is not None:
            raise listing.error
        return found

    def _record(self, listing: Listing, *, left: int) -> PassRecord:
        seconds = max((self._watched.clock() - listing.started).total_seconds(), 0.0)
        return PassRecord(
            kind=part_of("watch", self._watched.target),
            started_at=listing.started,
            seconds=seconds,
            complete=listing.error is None,
            seen=len(listing.rows),
            left=left,
            error=listing.error.summary if listing.error else "",
        )

    def _known(self, tx: Tx) -> _Known:
        watched_until = tx.targets.watched_until(self._watched.target)
        return _Known(watched_until=watched_until, born_at=tx.cursor.read().born_at)

    async def _listed(self, known: _Known) -> tuple[_Known, Listing]:
        """Read the list; if our watermark lies ahead of the IRP's clock, take it back and read the whole list."""
        listing = await self._read(known.since)
        if not lies_ahead(known.watched_until, listing.now) or (listing.error is not None and not listing.rows):
            return known, listing
        ahead = rfc3339(known.watched_until or listing.now)
        taken_back = replace(known, watched_until=None)
        log.warning("watermark_taken_back", side="irp", was=ahead, to=rfc3339(taken_back.since))

        def take_back(tx: Tx) -> None:
            tx.targets.note_watched(self._watched.target, None)
            detail = f"irp: {ahead} lies ahead of {rfc3339(listing.now)}"
            tx.audit.note("kuma-sync", "watermark_taken_back", detail=detail)

        await self._store.write(take_back)
        return taken_back, await self._read(taken_back.since)

    async def _read(self, moment: datetime) -> Listing:
        listing = Listing(started=self._watched.clock())
        try:
            async with self._gate.admit(paced=True, reads=True), aclosing(self._irp.list_closed(moment)) as pages:
                async for page in pages:
                    self._watched.moved()
                    listing.rows |= {row.identity: row for row in page.items}
                    listing.server_now = listing.server_now or page.server_date
                    listing.proven = page.proven
                    if not page.last:
                        await self._gate.turn_page()
        except (RemoteError, GateClosed) as error:
            listing.broke_off(error)
        self._warn_of_dates(listing)
        return listing

    def _warn_of_dates(self, listing: Listing) -> None:
        ahead = [row for row in listing.rows.values() if lies_ahead(row.updated, listing.now)]
        if ahead and not self._dated_ahead:
            log.warning("irp_closings_dated_ahead", count=len(ahead), of=len(listing.rows))
        self._dated_ahead = bool(ahead)

    async def _judged(self, listing: Listing) -> Verdicts:
        """Find out the meaning of the rows; `find` decides if a row's key and id do not agree."""
        verdicts = Verdicts()
        claims, links = await self._store.read(partial(self._claims, listing))
        for claim, row in sorted(claims, key=lambda each: not each[0].sure):
            if claim.doubted is not None:
                self._doubt(claim.doubted, row, verdicts)
            link = links.get(claim.alert_id)
            if link is not None and link.incident is not None and _is_news(link):
                await self._judge(claim, row, link.incident, listing, verdicts)
        self._settled = verdicts.settled
        return verdicts

    def _claims(self, listing: Listing, tx: Tx) -> tuple[list[tuple[Claim, Resolution]], Mapping[AlertId, Link]]:
        """Return which alerts the rows may speak of, and the links of these alerts."""
        rows = listing.rows.values()
        target = self._watched.target
        by_incident = tx.links.by_incident([row.incident_id for row in rows if row.incident_id], target=target)
        named = {row.key: alert_of(row.key, self._watched.instance) for row in rows}
        stored = tx.links.stored_as([alert_id for alert_id in named.values() if alert_id is not None])
        found = [
            (claim_of(row, by_id=by_incident.get(row.incident_id), by_key=stored.get(named[row.key] or "")), row)
            for row in rows
        ]
        links = tx.links.many({claim.alert_id for claim, _row in found if claim is not None})
        # Another target's incident may carry the same id, and ours may have been copied there with its key.
        ours = {alert_id: link for alert_id, link in links.items() if link.target == target}
        return [(claim, row) for claim, row in found if claim is not None and claim.alert_id in ours], ours

    def _doubt(self, alert_id: AlertId, row: Resolution, verdicts: Verdicts) -> None:
        """Let an incident be found again if its id now belongs to another alert's incident, once for each such row."""
        if (alert_id, row.identity) not in self._settled and self._irp.can("find"):
            verdicts.misnamed.add(alert_id)
        verdicts.settled[alert_id, row.identity] = row

    async def _judge(
        self, claim: Claim, row: Resolution, known: Incident, listing: Listing, verdicts: Verdicts
    ) -> None:
        alert_id, key = claim.alert_id, (claim.alert_id, row.identity)
        if claim.sure:
            verdicts.closings[alert_id] = ClosedIncident(row=row, incident=known)
        elif self._settled.get(key) == row:
            verdicts.settled[key] = row
        elif alert_id not in verdicts.closings and not listing.find_failed:
            try:
                made = made_out(row, await self._found(alert_id), known)
            except (RemoteError, GateClosed) as error:
                listing.find_failed = True
                listing.broke_off(error)
                return
            if isinstance(made, ClosedIncident):
                verdicts.closings[alert_id] = made
            else:
                verdicts.settled[key] = row
                verdicts.misnamed |= {alert_id} if made is not None else set()

    async def _found(self, alert_id: AlertId) -> list[Found]:
        if not self._irp.can("find"):
            return []
        self._watched.moved()
        async with self._gate.admit(paced=True, reads=True):
            return await self._irp.find(external_key(self._watched.instance, alert_id))

    def _conclude(self, tx: Tx, known: _Known, listing: Listing, verdicts: Verdicts) -> int:
        """Queue the round's closings, all in one transaction, held where the brake says so."""
        open_again = (
            set(tx.links.unresolved(self._watched.target)) - verdicts.closings.keys() if listing.proven else set()
        )
        links = lock(tx, links={*verdicts.closings, *verdicts.misnamed, *open_again}).links
        news = {each: one for each, one in verdicts.closings.items() if _is_news(links.get(each))}
        # Whose alert is closed already was closed after it, perhaps by us without an answer: that is carried nowhere.
        carried = [each for each in news if self._closings.to_kuma and not links[each].alert_closed]
        awaited = {each for each in carried if not news[each].row.resolved and links[each].unresolved_at is None}
        self._await_resolutions(tx, sorted(awaited))
        self._carry(tx, {each: one for each, one in news.items() if each not in awaited}, carried)
        self._find_again(tx, {each: links[each] for each in verdicts.misnamed if each in links})
        if listing.proven:
            for alert_id in sorted(open_again):
                tx.links.change(alert_id, transitions.resolution_not_awaited, now=tx.now)
            rows = list(listing.rows.values())
            until = next_watched(known.watched_until, rows, [news[each].row for each in awaited], now=listing.now)
            if until != known.watched_until:
                tx.targets.note_watched(self._watched.target, until)
        return len(news) - len(awaited)

    def _await_resolutions(self, tx: Tx, awaited: list[AlertId]) -> None:
        for alert_id in awaited:
            tx.links.change(alert_id, partial(transitions.resolution_awaited, now=tx.now), now=tx.now)
            tx.audit.note("irp", "resolution_awaited", alert_id, "closed without a resolution yet")
            log.info("resolution_awaited", alert_id=alert_id)

    def _carry(self, tx: Tx, closings: Mapping[AlertId, ClosedIncident], carried: list[AlertId]) -> None:
        wanted = [each for each in carried if each in closings]
        open_links = tx.links.open_count([self._watched.target])
        plan = check(Plan(closings=wanted), self._watched.brake, open_links=open_links)
        if plan.held_closings:
            log.error("brake_holds_closings", towards="kuma", held=len(plan.held_closings), open=open_links)
        for alert_id, closing in closings.items():
            resolution, incident = closing.row.resolution, closing.incident
            request = None
            if alert_id in wanted:
                request = self._closings.by_resolution(alert_id, resolution, incident=incident.id, by="watch")
            reason = request.reason.value if request and request.reason else ""

            def become(link: Link, incident: Incident = incident, reason: str = reason) -> Link:
                return transitions.incident_closed(transitions.moved(link, incident), Origin.IRP, reason)

            tx.links.change(alert_id, become, now=tx.now)
            tx.audit.note("irp", "incident_closed", alert_id, resolution)
            if request is not None:
                put_order(tx, request, held=alert_id in plan.held_closings)
            log.info("incident_closed_in_irp", alert_id=alert_id, resolution=resolution)

    def _find_again(self, tx: Tx, links: Mapping[AlertId, Link]) -> None:
        """Have deliveries find incidents that are called otherwise now, before anything is written to them."""
        for alert_id, link in sorted(links.items()):
            if _is_news(link) and link.doubt is None:
                tx.links.change(alert_id, transitions.missing, now=tx.now)
                tx.delivery.put([Put(subject=alert_id, lane=Lane.UPDATE, target=link.target)])
                log.info("incident_moved", alert_id=alert_id)


def _is_news(link: Link | None) -> bool:
    return link is not None and link.incident is not None and not link.incident_closed and not link.dropped
