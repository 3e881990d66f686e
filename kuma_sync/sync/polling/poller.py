"""The poller: gather what KUMA shows, let the core compare it with what was known, record what follows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import partial

import structlog

from kuma_sync.core.alert import AlertId, Observation
from kuma_sync.core.comparison import CompletePass, left
from kuma_sync.core.moments import rfc3339
from kuma_sync.core.window import Query, ReadKind, by_id, leaves_late_listing, next_reads, next_watermark
from kuma_sync.kuma.client import KumaClient
from kuma_sync.store import Leadership, PassRecord, Store, Tx
from kuma_sync.store.locks import lock
from kuma_sync.sync.closing.from_kuma import note_closings
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.leader import LeaderLease, NotLeader
from kuma_sync.sync.polling.enqueue import put_behind, route_anew
from kuma_sync.sync.polling.fetch import Fetcher
from kuma_sync.sync.polling.recorder import Recorder
from kuma_sync.sync.polling.round import Pass, PollSettings, Round, answered_in, wanted_in
from kuma_sync.sync.remote.gate import RemoteGate

log = structlog.get_logger(__name__)


class Poller:
    """Reads KUMA, one round at a time."""

    def __init__(
        self,
        *,
        store: Store,
        kuma: KumaClient,
        gate: RemoteGate,
        leader: LeaderLease,
        recorder: Recorder,
        poll_settings: PollSettings,
    ) -> None:
        self._store = store
        self._reader = Fetcher(kuma=kuma, gate=gate, recorder=recorder, poll_settings=poll_settings)
        self._leader = leader
        self._recorder = recorder
        self._settings = poll_settings
        self._refused: set[AlertId] = set()
        self._round: Round | None = None
        self.turn: int | None = None
        """The turn of the leader's lease in which the last round began."""

    @property
    def read(self) -> int:
        """Return how many alerts the round under way has read so far; one that two reads show counts twice."""
        return sum(one.seen for one in self._round.passes) if self._round is not None else 0

    async def poll_once(self, *, sweep: bool = False) -> Round:
        """Read one round; with `sweep` it lists everything, even if no sweep is due.

        Raise NotLeader, GateClosed, RemoteError, ClaimLost or StoreUnavailable; what was recorded by then stays.
        """
        leadership = await self._leader.take()
        if leadership is None:
            raise NotLeader("another copy of the daemon reads")
        cursor = await self._store.read(lambda tx: tx.cursor.read())
        round_ = Round(
            leadership=leadership, cursor=cursor, began_at=self._settings.clock(), to_irp=self._settings.to_irp
        )
        self._round = round_
        self.turn = leadership.fence
        try:
            await self._gather(round_, sweep=sweep or not self._recorder.swept.complete)
        finally:
            self._round = None  # it may hold very many alerts
            await self._remember(round_)
        return round_

    async def _gather(self, round_: Round, *, sweep: bool) -> None:
        reads = await self._reads(round_, sweep=sweep)
        sweeps = any(query.lists_everything for query in reads)
        if sweeps:
            round_.sweep = await self._store.write(partial(_begin_sweep, round_.leadership))
        for query in reads:
            await self._reader.read(query, round_)
        asked = await self._reader.by_id(ReadKind.STATUS, sorted(round_.oversize), round_)
        unnamed = round_.unnamed or round_.oversize - answered_in(asked)
        if unnamed and any(query.kind is ReadKind.FULL for query in reads):
            # Alerts too large to hold and not to be had by id: only a listing can name them.
            await self._reader.read(Query(kind=ReadKind.SWEEP), round_)
        await self._read_wanted(round_.passes, round_)
        await self._list_late_again(round_)
        if sweeps and not round_.incomplete:
            await self._ask_unshown(round_)
        await self._conclude(round_, sweeps=sweeps)
        await self._recheck(round_)

    async def _reads(self, round_: Round, *, sweep: bool) -> list[Query]:
        watermark, tied = round_.cursor.watermark, 0
        if watermark is not None:
            tied = await self._store.read(partial(_tied, watermark))
        return next_reads(round_.cursor, self._settings.clock(), self._settings.schedule, tied=tied, sweep_now=sweep)

    async def _read_wanted(self, listings: Iterable[Pass], round_: Round) -> None:
        """Read the contents of alerts that listings showed as new or changed; record the others without contents."""
        wanted = wanted_in(listings)
        if not wanted:
            return
        asked = await self._reader.by_id(ReadKind.CONTENTS, list(wanted), round_)
        answered = answered_in(asked)
        listed = [
            Observation(alert=alert, oversize=alert_id in round_.oversize)
            for alert_id, alert in wanted.items()
            if alert_id not in answered
        ]
        if listed:
            await self._recorder.seen(listed, asked[-1], round_)

    async def _list_late_again(self, round_: Round) -> None:
        """Read the late listing again until it shows nothing new among the alerts that are about to leave it.

        Where rows move, or pages change their size, while a listing of several pages is read, a row may be in none of
        them. A later round finds it within the overlap. But what was last seen before that, in an outage, leaves the
        late listing as soon as the watermark moves.
        """
        for _ in range(self._settings.limits.listed_again):
            late = [read for read in round_.passes if read.of_any_status and read.complete]
            horizon = leaves_late_listing(round_.cursor, self._mark(round_), self._settings.schedule.overlap)
            if horizon is None or not late or late[0].pages == 1:
                return
            if len(late) > 1 and not late[-1].found_before(horizon):
                return
            await self._read_wanted(await self._reader.read(late[0].query, round_), round_)
        round_.stands = True
        log.warning("late_listing_unsettled", times=self._settings.limits.listed_again)

    def _mark(self, round_: Round) -> datetime | None:
        return next_watermark(round_.cursor.watermark, round_.newest, round_.now)

    async def _ask_unshown(self, round_: Round) -> None:
        """Ask by id for every open link that the sweep did not show, before anybody is told that it left.

        Whose status KUMA cannot give stays as it was, and is asked for again at the next sweep.
        """
        asked = await self._store.read(lambda tx: tx.alerts.unshown(round_.sweep))
        if not asked:
            return
        reads = await self._reader.by_id(ReadKind.STATUS, asked, round_)
        if round_.incomplete:
            return
        told = set(asked) - round_.unreadable[ReadKind.STATUS]
        found = left(CompletePass(sweep=round_.sweep), told, answered_in(reads))
        last = reads[-1]
        await self._read_wanted(reads, round_)

        def mark_gone(tx: Tx) -> Collection[AlertId]:
            lock(tx, leadership=round_.leadership)
            return tx.links.mark_gone(found.gone, now=tx.now)

        news = await self._store.write(mark_gone, long=True)
        last.left += len(news)
        for alert_id in news:
            round_.warnings.gone.add(alert_id)

    async def _conclude(self, round_: Round, *, sweeps: bool) -> None:
        """Write the round's closings and the cursor in one transaction."""
        poll_settings, moves = self._settings, dict[str, datetime | int | None]()
        complete = sweeps and not round_.incomplete
        if not (round_.incomplete or round_.stands):
            mark = self._mark(round_)
            moves |= {"watermark": mark} if mark != round_.cursor.watermark else {}
        if complete:
            moves |= {"sweep": round_.sweep, "swept_at": poll_settings.clock()}
        failing = round_.unreadable[ReadKind.CONTENTS] - round_.refused
        closings = await self._store.read(partial(_closed, failing))

        def conclude(tx: Tx) -> None:
            lock(tx, leadership=round_.leadership)
            note_closings(
                tx, closings, brake=poll_settings.brake, open_before=round_.open_links, to_irp=poll_settings.to_irp
            )
            if complete and (behind := put_behind(tx)):
                log.info("deliveries_taken_up", count=behind)
            if moves:
                tx.cursor.move(**moves)
                self._tell_of_watermark(tx, round_)

        if moves or closings:
            await self._store.write(conclude, long=True)
            round_.passes[-1].left += len(closings)
            failpoint("cursor_moved")
            self._recorder.wake()
        # Another copy may have had other routes, and brought alerts that none of them took.
        if complete and await route_anew(self._store, self._settings.routing, leadership=round_.leadership):
            self._recorder.wake()
        swept = self._recorder.swept
        swept.complete |= complete
        swept.since = swept.since or round_.server_now

    def _tell_of_watermark(self, tx: Tx, round_: Round) -> None:
        """Say that the watermark we went by lay ahead of KUMA's clock, so that windows showed nothing."""
        ahead, now = round_.cursor.watermark, round_.now
        if round_.incomplete or ahead is None or ahead - now <= self._settings.schedule.overlap:
            return
        log.warning("watermark_taken_back", side="kuma", was=rfc3339(ahead), to=rfc3339(now))
        detail = f"kuma: {rfc3339(ahead)} lies ahead of {rfc3339(now)}"
        tx.audit.note("kuma-sync", "watermark_taken_back", detail=detail)

    async def _recheck(self, round_: Round) -> None:
        """Look once more at contents whose lastSeen has just left the overlap: a listing has no event count."""
        watermark = (await self._store.read(lambda tx: tx.cursor.read())).watermark
        if watermark is None or self._settings.schedule.full_only:
            return
        # In a quiet hour the watermark stands still: KUMA's clock goes on.
        left_overlap = max(watermark, round_.server_now or watermark) - self._settings.schedule.overlap
        due = await self._store.read(lambda tx: tx.alerts.to_recheck(left_overlap))
        unreadable = round_.unreadable[ReadKind.CONTENTS]
        # What KUMA refused once it will refuse again, but for ever? Asking with every sweep finds out.
        left_out = unreadable if round_.sweep else unreadable | self._refused
        for query in by_id(ReadKind.CONTENTS, [alert_id for alert_id in due if alert_id not in left_out]):
            await self._reader.by_id(ReadKind.CONTENTS, query.ids, round_)
            seen = set(query.ids) - unreadable
            await self._store.write(partial(_rechecked, round_.leadership, seen, left_overlap))
            self._refused = (self._refused - set(query.ids)) | round_.refused

    async def _remember(self, round_: Round) -> None:
        """Record how the round's reads went, and count their results."""
        round_.tally(self._settings.metrics)
        if missed := sum(read.missed for read in round_.passes):
            log.warning("alerts_missed", count=missed)
        round_.warnings.log()
        records = [read.record() for read in round_.passes]
        await self._store.write(partial(_note_passes, records))


def _begin_sweep(leadership: Leadership | str, tx: Tx) -> int:
    lock(tx, leadership=leadership)
    return tx.cursor.begin_sweep()


def _closed(failing: Collection[AlertId], tx: Tx) -> dict[AlertId, str]:
    """Return the alerts that KUMA closed, with its reasons.

    The contents of the `failing` ones could not be had just now. If they were never read before, the closing waits for
    another round: a closed incident is not written to any more, and would stay without events.
    """
    closed = tx.alerts.newly_closed()
    known = tx.alerts.snapshots([alert_id for alert_id in closed if alert_id in failing])
    unread = {alert_id for alert_id, one in known.items() if one.affected is None and not one.oversize}
    return {alert_id: reason for alert_id, reason in closed.items() if alert_id not in unread}


def _tied(watermark: datetime, tx: Tx) -> int:
    return tx.alerts.tied(watermark)


def _rechecked(leadership: Leadership | str, ids: Collection[AlertId], left_overlap: datetime, tx: Tx) -> None:
    lock(tx, leadership=leadership)
    tx.alerts.rechecked(ids, left_overlap)


def _note_passes(records: Iterable[PassRecord], tx: Tx) -> None:
    for record in records:
        tx.audit.note_pass(record)
