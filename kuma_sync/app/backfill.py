"""`backfill`: alerts of a period, whatever their status, become incidents as if they were new.

The same recorder and decisions as a poll has; it writes beside a running daemon, in short transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from kuma_sync.app.build import utc_now
from kuma_sync.app.gated_remotes import GatedRemotes, open_gated
from kuma_sync.app.hiding import unlock
from kuma_sync.app.identity import routing_of
from kuma_sync.core import retargeting
from kuma_sync.core.alert import Alert, AlertId, Observation
from kuma_sync.core.comparison import Unseen, Wanted
from kuma_sync.core.errors import KumaSyncError
from kuma_sync.core.link import Link
from kuma_sync.core.plan import Brake, Plan, check
from kuma_sync.core.recording import Recording, RecordSettings
from kuma_sync.core.routing import IGNORE, Routing
from kuma_sync.core.window import IDS_PER_READ, Query, ReadKind, ReadSchedule, by_id
from kuma_sync.kuma.client import End, PageEnd
from kuma_sync.settings import Settings
from kuma_sync.store import Lane, PassRecord, Put, Store, Tx
from kuma_sync.store.locks import lock
from kuma_sync.sync.closing.from_kuma import note_closings
from kuma_sync.sync.leader import READER
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.polling.fetch import Fetcher
from kuma_sync.sync.polling.recorder import Recorder, Swept
from kuma_sync.sync.polling.round import Pass, PollSettings, Round, answered_in

NEVER_HOLDS = Brake(max_closed_percent=100, min_alerts=1)
"""For closings: the operator ordered these alerts to be brought, and that they are closed is how they stand."""

FIRST = 10


class NotRead(KumaSyncError):
    """A backfill cannot be done now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The alerts that are wanted: those first seen from `since` to `until`, in these statuses; none named: in all."""

    since: datetime
    until: datetime | None = None
    statuses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An alert that is brought, for a human."""

    alert_id: AlertId
    status: str
    name: str
    target: str


@dataclass(slots=True, kw_only=True)
class Backfilled:
    """The result. `listed` counts the period's alerts, `known` those that are left as they are.

    `taken` counts by target those that were new, or ignored until now; `closed` those of them that are closed in KUMA,
    `ignored` those that a route ignores, `held` the creates that the brake holds. `unreadable`: those that KUMA did not
    give. `first` are the first few taken.
    """

    dry_run: bool
    listed: int = 0
    known: int = 0
    taken: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    closed: int = 0
    ignored: int = 0
    held: int = 0
    unreadable: list[AlertId] = field(default_factory=list)
    no_alerts: int = 0
    first: list[Named] = field(default_factory=list)

    def take(self, alert: Alert, target: str) -> None:
        """Count an alert that is brought, or that a route ignores."""
        if target == IGNORE:
            self.ignored += 1
            return
        self.taken[target] = self.taken.get(target, 0) + 1
        self.statuses[alert.status] = self.statuses.get(alert.status, 0) + 1
        self.closed += alert.closed
        if len(self.first) < FIRST:
            self.first.append(Named(alert_id=alert.id, status=alert.status, name=alert.name, target=target))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Who ordered it; a `dry_run` changes nothing. `told` hears how far it has come."""

    by: str
    dry_run: bool
    told: Callable[[str], None]


async def backfill(
    settings: Settings, store: Store, period: Period, order: Order, limits: Limits | None = None
) -> Backfilled:
    """Bring the alerts of a period. Raise ConfigError, StoreError, RemoteError, GateClosed or NotRead."""
    async with AsyncExitStack() as stack:
        gated = await open_gated(settings, store, limits or Limits(), stack)
        return await _Backfill(settings, store, gated, order).run(period)


class _Backfill:
    """One backfill: the period is listed first, then what is new is read with its events and recorded."""

    def __init__(self, settings: Settings, store: Store, gated: GatedRemotes, order: Order) -> None:
        self._store = store
        self._gated = gated
        self._order = order
        self._routing: Routing = routing_of(settings)
        self._brake = settings.brake.brake
        self._found = Backfilled(dry_run=order.dry_run)
        self._privacy = settings.privacy.rules()
        self._to_irp = gated.remotes.closed_with_alerts(to_irp=settings.close.to_irp)
        self._recorder = self._recording(settings, gated)
        self._fetcher = self._fetching(settings, gated)

    def _recording(self, settings: Settings, gated: GatedRemotes) -> Recorder:
        rules = RecordSettings(
            overlap=settings.poll.overlap,
            ignore_before=None,
            brake=self._brake,
            wanted=Wanted(statuses=frozenset(), unseen=Unseen.ALL),
            routing=self._routing,
            targets=gated.remotes.capabilities,
        )
        return Recorder(
            store=self._store,
            rules=rules,
            max_events=settings.poll.max_events,
            privacy=self._privacy,
            swept=Swept(),
            wake=lambda: None,
            also=self._close_and_note,
        )

    def _fetching(self, settings: Settings, gated: GatedRemotes) -> Fetcher:
        poll = settings.poll
        poll_settings = PollSettings(
            clock=utc_now,
            schedule=ReadSchedule(full_only=False, overlap=poll.overlap, sweep_interval=poll.sweep_interval),
            brake=self._brake,
            to_irp=self._to_irp,
            routing=self._routing,
            limits=gated.shared.limits,
            metrics=gated.shared.metrics,
            health=gated.shared.health,
        )
        return Fetcher(kuma=gated.remotes.kuma, gate=gated.kuma, recorder=self._recorder, poll_settings=poll_settings)

    async def run(self, period: Period) -> Backfilled:
        """Do it."""
        with self._store.reading() as tx:
            cursor = tx.cursor.read()
        if cursor.first_read is None:
            raise NotRead("KUMA was never read into this store: let `kuma-sync run`, or `run --once`, do that first")
        began = utc_now()
        round_ = Round(leadership=READER, cursor=cursor, began_at=began, to_irp=self._to_irp, new_alone=True)
        new, ignored = await self._listed(period)
        if not self._order.dry_run:
            await unlock(self._store, self._privacy)
            await self._wake(ignored, round_)
            await self._bring(new, round_)
            self._found.held += round_.warnings.held_creates
            await self._store.write(partial(self._note, began))
        return self._found

    async def _listed(self, period: Period) -> tuple[list[AlertId], list[AlertId]]:
        """List the period; return the alerts that are not known, and those that were ignored until now."""
        query = Query(kind=ReadKind.BACKFILL, since=period.since, until=period.until, statuses=period.statuses)
        new, ignored, seen, end = list[AlertId](), list[AlertId](), set[AlertId](), End.MORE
        page: list[Alert] = []
        async with aclosing(self._gated.listed(query)) as items:
            async for item in items:
                if isinstance(item, PageEnd):
                    end = item.end
                    self._sort(page, new, ignored)
                    page = []
                    self._order.told(f"{len(seen)} alerts listed, {len(new) + len(ignored)} of them to be brought")
                elif item is None:
                    self._found.no_alerts += 1
                elif item.id not in seen:
                    seen.add(item.id)
                    page.append(item)
        if not end.complete:
            raise NotRead(f"KUMA's list of alerts did not come to its end ({end.value}); nothing was changed")
        self._found.listed = len(seen)
        return new, ignored

    def _sort(self, page: Sequence[Alert], new: list[AlertId], ignored: list[AlertId]) -> None:
        with self._store.reading() as tx:
            links = tx.links.many([alert.id for alert in page])
        for alert in page:
            link, target = links.get(alert.id), self._routing.target_of(alert)
            if link is not None and not _sleeps(link):
                self._found.known += 1
                continue
            self._found.take(alert, target)
            if link is None:
                new.append(alert.id)
            elif target != IGNORE:
                ignored.append(alert.id)

    async def _bring(self, new: Sequence[AlertId], round_: Round) -> None:
        """Read new alerts with their events and record them; those whose events KUMA does not give go without."""
        for start in range(0, len(new), IDS_PER_READ):
            some = new[start : start + IDS_PER_READ]
            before = len(round_.passes)
            reads = await self._fetcher.by_id(ReadKind.CONTENTS, some, round_)
            missing = [alert_id for alert_id in some if alert_id not in answered_in(reads)]
            if missing:
                await self._without_events(missing, reads[-1], round_)
            del round_.passes[before:]
            self._order.told(f"{start + len(some)} of {len(new)} new alerts recorded")

    async def _without_events(self, ids: Sequence[AlertId], read: Pass, round_: Round) -> None:
        listed: list[Observation] = []
        for query in by_id(ReadKind.STATUS, ids):
            async with aclosing(self._gated.listed(query)) as items:
                async for item in items:
                    if isinstance(item, Alert):
                        listed.append(Observation(alert=item, oversize=item.id in round_.oversize))
        if listed:
            await self._recorder.seen(listed, read, round_)
        self._found.unreadable += sorted(set(ids) - {item.alert.id for item in listed})

    async def _wake(self, ids: Sequence[AlertId], round_: Round) -> None:
        """Have incidents made of alerts that are known, and ignored for `ignore_before` or `unseen`."""
        for start in range(0, len(ids), IDS_PER_READ):
            round_.creates += await self._store.write(
                partial(self._take_up, ids[start : start + IDS_PER_READ], round_.creates)
            )
            self._order.told(f"{min(start + IDS_PER_READ, len(ids))} of {len(ids)} ignored alerts taken up")

    def _take_up(self, ids: Sequence[AlertId], created: int, tx: Tx) -> int:
        locked = lock(tx, leadership=READER, links=ids).links
        links = {key: link for key, link in locked.items() if _sleeps(link)}
        alerts = {key: snapshot.alert for key, snapshot in tx.alerts.snapshots(links).items()}
        targets = {key: self._routing.target_of(alert) for key, alert in alerts.items()}
        held = check(Plan(creates=sorted(targets)), self._brake, created_before=created).held_creates
        self._found.held += len(held)
        for key, target in targets.items():
            become = partial(retargeting.noticed, held=key in held, target=target)
            tx.links.change(key, become, now=tx.now)
        tx.delivery.put([Put(subject=key, lane=Lane.CREATE, target=target) for key, target in sorted(targets.items())])
        self._note_brought(tx, [alerts[key] for key in sorted(targets)])
        return len(targets)

    def _close_and_note(self, tx: Tx, recording: Recording) -> None:
        self._note_brought(tx, [saved.snapshot.alert for saved in recording.saved])

    def _note_brought(self, tx: Tx, alerts: Sequence[Alert]) -> None:
        """Note who ordered it, and that closed ones are: in this transaction, else the daemon's next round would hold
        their closings as too many.
        """
        tx.audit.note_all(self._order.by, [("backfill", alert.id, "") for alert in alerts])
        given_up = {key for key, link in tx.links.many([alert.id for alert in alerts]).items() if link.given_up}
        closings: Mapping[AlertId, str] = {
            alert.id: alert.closing_reason for alert in alerts if alert.closed and alert.id not in given_up
        }
        note_closings(tx, closings, brake=NEVER_HOLDS, open_before=None, to_irp=self._to_irp)

    def _note(self, began: datetime, tx: Tx) -> None:
        found = self._found
        tx.audit.note_pass(
            PassRecord(
                kind=ReadKind.BACKFILL.value,
                started_at=began,
                seconds=max((utc_now() - began).total_seconds(), 0.0),
                complete=True,
                seen=found.listed,
                appeared=sum(found.taken.values()),
            )
        )


def _sleeps(link: Link) -> bool:
    """Tell whether a known alert is ignored, and not given up by an operator."""
    return link.ignored and not link.dropped
