"""The poller: gather what KUMA shows, let the core compare it with what was known, record what follows.

Must not: speak to the IRP, or keep in memory what the store can tell.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime

import structlog

from kuma_sync.core.alert import AlertId, Seen
from kuma_sync.core.diff import CompletePass, left
from kuma_sync.core.errors import RemoteError, Transient
from kuma_sync.core.window import Query, ReadKind, by_id, next_reads, next_watermark
from kuma_sync.daemon.habits import Habits
from kuma_sync.daemon.kuma_closings import note_closings
from kuma_sync.daemon.points import passed
from kuma_sync.daemon.puts import put_behind
from kuma_sync.daemon.recorder import Recorder
from kuma_sync.daemon.round import Chunk, Pass, Round
from kuma_sync.daemon.side import Side, SideStopped
from kuma_sync.daemon.turn import NotOurTurn, ReadersTurn
from kuma_sync.kuma.client import Element, End, KumaClient, PageEnd
from kuma_sync.store import Store

log = structlog.get_logger(__name__)

FAILURES_IN_A_ROW = 3
"""By-id reads of single alerts that may fail one after the other before KUMA itself is taken for unwell."""

CHUNK = 4 * 1024 * 1024
"""Bytes of alerts that one transaction takes at most, a single larger alert aside."""


class Poller:
    """Reads KUMA, one round at a time."""

    def __init__(
        self, *, store: Store, kuma: KumaClient, side: Side, turns: ReadersTurn, recorder: Recorder, habits: Habits
    ) -> None:
        self._store = store
        self._kuma = kuma
        self._side = side
        self._turns = turns
        self._recorder = recorder
        self._habits = habits

    async def poll_once(self, *, sweep: bool = False) -> Round:
        """Read one round; `sweep` lists everything whatever the clock says.

        Raise NotOurTurn, SideStopped, RemoteError, ClaimLost or StoreUnavailable; what was recorded by then stays.
        """
        turn = await self._turns.take()
        if turn is None:
            raise NotOurTurn("another copy of the daemon reads")
        async with self._store.read() as tx:
            round_ = Round(turn=turn, cursor=await tx.records.cursor())
        try:
            await self._gather(round_, sweep=sweep or not self._recorder.swept.complete)
        finally:
            await self._remember(round_)
        return round_

    async def _gather(self, round_: Round, *, sweep: bool) -> None:
        reads = await self._reads(round_, sweep=sweep)
        sweeps = any(query.lists_everything for query in reads)
        if sweeps:
            async with self._store.begin() as tx:
                await tx.lease.assure(round_.turn)
                round_.sweep = await tx.records.begin_sweep()
        for query in reads:
            await self._read(query, round_)
        if round_.unnamed and not any(query.kind is ReadKind.LATE for query in reads):
            # Alerts too large to hold and without an id up front: only a listing can name them.
            await self._read(Query(kind=ReadKind.SWEEP, timestamp_field="firstSeen"), round_)
        for query in by_id(ReadKind.STATUS, sorted(round_.oversize)):
            await self._read(query, round_)
        await self._read_wanted(round_)
        if sweeps and not round_.incomplete:
            await self._ask_unshown(round_)
        await self._conclude(round_, sweeps=sweeps)
        await self._recheck(round_)

    async def _reads(self, round_: Round, *, sweep: bool) -> list[Query]:
        watermark, tied = round_.cursor.watermark, 0
        if watermark is not None:
            async with self._store.read() as tx:
                tied = await tx.alerts.tied(watermark)
        return next_reads(round_.cursor, self._habits.clock(), self._habits.rhythm, tied=tied, sweep_now=sweep)

    async def _read(self, query: Query, round_: Round) -> Pass:
        """Take one read to its end, chunk by chunk."""
        self._habits.health.beat("poll")  # however often KUMA fails, each read of it is bounded
        read = Pass(query=query, started_at=self._habits.clock())
        round_.passes.append(read)
        try:
            async with self._side.admit(paced=True), aclosing(self._kuma.read(query)) as items:
                await self._take(items, read, round_)
        except RemoteError as error:
            read.error = error.summary
            raise
        except SideStopped as stopped:
            read.error = stopped.reason
            raise
        finally:
            read.finish(self._habits.clock(), self._habits.metrics)
        return read

    async def _take(self, items: AsyncIterator[Element | PageEnd], read: Pass, round_: Round) -> None:
        record = self._recorder.contents if read.query.with_events else self._recorder.listing
        chunk = Chunk()
        async for item in items:
            match item:
                case Element():
                    chunk.add(item)
                case PageEnd():
                    self._turn_page(item, read, round_)
            if isinstance(item, PageEnd) or chunk.size >= CHUNK:
                await record(chunk, read, round_)
                passed("page_committed")
                chunk = Chunk()
                self._habits.health.moved_on("poll")
                self._habits.health.beat("poll")

    def _turn_page(self, page: PageEnd, read: Pass, round_: Round) -> None:
        read.page(page)
        if page.server_date is not None:
            round_.server_now = round_.server_now or page.server_date
            skew = (page.server_date - self._habits.clock()).total_seconds()
            self._habits.metrics.clock_skew_seconds.set(skew)
        if page.end in (End.REPEATED, End.CAP):
            log.error("paging_does_not_end", read=read.query.kind.value, page=page.number, how=page.end.value)

    async def _read_wanted(self, round_: Round) -> None:
        """Read the contents of what listings showed as new or changed; without contents, record the listing."""
        wanted, round_.wanted = round_.wanted, {}
        if not wanted:
            return
        for query in by_id(ReadKind.CONTENTS, list(wanted)):
            await self._read_contents(query, round_)
        listed = [
            Seen(alert=alert, oversize=alert_id in round_.oversize)
            for alert_id, alert in wanted.items()
            if alert_id not in round_.answered
        ]
        if listed:
            await self._recorder.seen(listed, round_.passes[-1], round_)

    async def _read_contents(self, query: Query, round_: Round) -> None:
        """Read the contents of some alerts; one by one where they cannot be had together: one stops no other."""
        unnamed = round_.unnamed
        round_.answered -= set(query.ids)
        try:
            await self._read(query, round_)
        except Transient as error:
            if error.retry_after is not None:
                raise
        else:
            if round_.unnamed == unnamed:
                return
        await self._read_singly([alert_id for alert_id in query.ids if alert_id not in round_.answered], round_)

    async def _read_singly(self, ids: Sequence[AlertId], round_: Round) -> None:
        """Find out which of these are too large, and which KUMA cannot give; raise where it gives none at all."""
        failures = 0
        for alert_id in ids:
            unnamed = round_.unnamed
            try:
                await self._read(Query(kind=ReadKind.CONTENTS, with_events=True, ids=(alert_id,)), round_)
            except Transient as error:
                failures += 1
                if error.retry_after is not None or failures == FAILURES_IN_A_ROW:
                    raise
                log.warning("contents_unreadable", alert_id=alert_id, reason=error.summary)
                round_.unreadable.add(alert_id)
                continue
            failures = 0
            if round_.unnamed > unnamed:
                round_.oversize.add(alert_id)

    async def _ask_unshown(self, round_: Round) -> None:
        """Ask by id for every open link that the sweep did not show, before anybody is told that it left."""
        async with self._store.read() as tx:
            asked = await tx.alerts.unshown(round_.sweep)
        if not asked:
            return
        round_.answered.clear()
        for query in by_id(ReadKind.STATUS, asked):
            if not (await self._read(query, round_)).complete:
                return
        found = left(CompletePass(sweep=round_.sweep), asked, round_.answered)
        last = round_.passes[-1]
        await self._read_wanted(round_)
        async with self._store.begin() as tx:
            await tx.lease.assure(round_.turn)
            news = await tx.links.mark_gone(found.gone, now=tx.now)
        last.left += len(news)
        for alert_id in news:
            log.warning("alert_gone", alert_id=alert_id)

    async def _conclude(self, round_: Round, *, sweeps: bool) -> None:
        """Write the round's closings and the cursor in one transaction."""
        habits, moves = self._habits, dict[str, datetime | int | None]()
        complete = sweeps and not round_.incomplete
        if not round_.incomplete:
            mark = next_watermark(round_.cursor.watermark, round_.newest, round_.server_now)
            moves |= {"watermark": mark} if mark != round_.cursor.watermark else {}
        if complete:
            moves |= {"sweep": round_.sweep, "swept_at": habits.clock()}
        async with self._store.read() as tx:
            closings = await tx.alerts.newly_closed()
        if moves or closings:
            async with self._store.begin() as tx:
                await tx.lease.assure(round_.turn)
                if complete and (behind := await put_behind(tx)):
                    log.info("deliveries_taken_up", count=behind)
                await note_closings(
                    tx, closings, brake=habits.brake, open_before=round_.open_links, to_irp=habits.to_irp
                )
                if moves:
                    await tx.records.move_cursor(**moves)
            round_.passes[-1].left += len(closings)
            passed("cursor_moved")
            self._recorder.wake()
        self._recorder.swept.complete |= complete

    async def _recheck(self, round_: Round) -> None:
        """Look once more at contents whose lastSeen has just left the overlap: a listing has no event count."""
        async with self._store.read() as tx:
            watermark = (await tx.records.cursor()).watermark
            if watermark is None or self._habits.rhythm.full_only:
                return
            # In a quiet hour the watermark stands still: KUMA's clock goes on.
            passed_until = max(watermark, round_.server_now or watermark)
            due = await tx.alerts.to_recheck(passed_until - self._habits.rhythm.overlap)
        for query in by_id(ReadKind.CONTENTS, due):
            await self._read_contents(query, round_)
            async with self._store.begin() as tx:
                await tx.lease.assure(round_.turn)
                await tx.alerts.rechecked([alert_id for alert_id in query.ids if alert_id not in round_.unreadable])

    async def _remember(self, round_: Round) -> None:
        """Write down how the round's reads went, and count what they brought."""
        round_.tally(self._habits.metrics)
        async with self._store.begin() as tx:
            for read in round_.passes:
                await tx.records.note_pass(read.record())
