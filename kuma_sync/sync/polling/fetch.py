"""Reads of KUMA taken to their end, and alerts asked for by id: together, or one by one where that fails."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import NotAllowed, Permanent, RemoteError, Transient
from kuma_sync.core.window import Query, ReadKind, by_id
from kuma_sync.kuma.client import Element, End, KumaClient, PageEnd
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.polling.recorder import Recorder
from kuma_sync.sync.polling.round import Chunk, Pass, PollSettings, Round, answered_in
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate

log = structlog.get_logger(__name__)


class Fetcher:
    """Takes the reads of a round, chunk by chunk."""

    def __init__(self, *, kuma: KumaClient, gate: RemoteGate, recorder: Recorder, poll_settings: PollSettings) -> None:
        self._kuma = kuma
        self._gate = gate
        self._recorder = recorder
        self._settings = poll_settings
        self._warned: set[tuple[ReadKind, AlertId]] = set()

    async def read(self, query: Query, round_: Round) -> list[Pass]:
        """Take one read to its end; once more from its start where it alone was answered 401 or 403.

        Return the reads that this took: one, or two.
        """
        before = len(round_.passes)
        try:
            await self._read(query, round_)
        except NotAllowed:
            round_.passes[-1].asked_again = True
            await self._read(query, round_)
        return round_.passes[before:]

    async def _read(self, query: Query, round_: Round) -> None:
        self._settings.health.beat("poll")  # however often KUMA fails, each read of it is bounded
        read = Pass(query=query, started_at=self._settings.clock())
        round_.passes.append(read)
        try:
            async with self._gate.admit(paced=True, reads=True), aclosing(self._kuma.read(query)) as items:
                await self._take(items, read, round_)
        except (RemoteError, GateClosed) as error:
            read.error = error.summary
            raise
        finally:
            read.finish(self._settings.clock(), self._settings.metrics)

    async def by_id(self, kind: ReadKind, ids: Sequence[AlertId], round_: Round) -> list[Pass]:
        """Ask for alerts by id, and return the reads that this took; those that KUMA cannot give are `unreadable`.

        Raise RemoteError where KUMA asks to wait, or is unwell itself.
        """
        before = len(round_.passes)
        for query in by_id(kind, ids):
            first = len(round_.passes)
            if len(query.ids) == 1 or not await self._together(query, round_):
                await self._singly(query, first, round_)
            self._warned -= {(kind, alert_id) for alert_id in query.ids if alert_id not in round_.unreadable[kind]}
        return round_.passes[before:]

    async def _together(self, query: Query, round_: Round) -> bool:
        """Ask for some alerts at once; false where one of them kept the others from being had."""
        unnamed = round_.unnamed
        try:
            await self.read(query, round_)
        except (Transient, Permanent) as error:
            if _asks_to_wait(error):
                raise
            return False
        return round_.unnamed == unnamed and round_.passes[-1].complete

    async def _singly(self, query: Query, first: int, round_: Round) -> None:
        """Find out which of these are too large, and which KUMA cannot give; the reads since `first` answered some."""
        limits, in_a_row, slow = self._settings.limits, 0, 0
        for alert_id in query.ids:
            if alert_id in answered_in(round_.passes[first:]):
                continue
            unnamed, asked_at = round_.unnamed, time.monotonic()
            try:
                await self.read(replace(query, ids=(alert_id,)), round_)
            except (Transient, Permanent) as error:
                slow = slow + 1 if time.monotonic() - asked_at > limits.slow_question.total_seconds() else 0
                if _asks_to_wait(error) or slow == limits.single_failures:
                    raise
                if in_a_row % limits.single_failures == 0:
                    async with self._gate.admit(paced=True, reads=True):
                        await self._kuma.assure_answers(query.kind)
                in_a_row += 1
                self._leave(alert_id, query.kind, error, round_)
                continue
            in_a_row = slow = 0
            if round_.unnamed > unnamed:
                round_.oversize.add(alert_id)
            if not round_.passes[-1].complete:
                return  # one id, and yet no end: asking for the next would be no better

    def _leave(self, alert_id: AlertId, kind: ReadKind, error: RemoteError, round_: Round) -> None:
        round_.unreadable[kind].add(alert_id)
        if isinstance(error, Permanent) and kind is ReadKind.CONTENTS:
            round_.refused.add(alert_id)
        if (kind, alert_id) in self._warned:
            return
        self._warned.add((kind, alert_id))
        warnings = round_.warnings
        kept = warnings.contents_unreadable if kind is ReadKind.CONTENTS else warnings.status_unreadable
        kept.add(alert_id, error.summary)

    async def _take(self, items: AsyncIterator[Element | PageEnd], read: Pass, round_: Round) -> None:
        chunk = Chunk()
        async for item in items:
            match item:
                case Element():
                    if not chunk.takes(item):
                        chunk = await self._record(chunk, read, round_)
                    chunk.add(item)
                case PageEnd():
                    self._turn_page(item, read, round_)
            if isinstance(item, PageEnd) or chunk.full:
                chunk = await self._record(chunk, read, round_)
            if isinstance(item, PageEnd) and item.end is End.MORE:
                await self._gate.turn_page()

    async def _record(self, chunk: Chunk, read: Pass, round_: Round) -> Chunk:
        """Record this chunk, and return an empty one."""
        record = self._recorder.contents if read.query.with_events else self._recorder.listing
        await record(chunk, read, round_)
        failpoint("page_committed")
        self._settings.health.moved_on("poll")
        self._settings.health.beat("poll")
        return Chunk()

    def _turn_page(self, page: PageEnd, read: Pass, round_: Round) -> None:
        read.page(page)
        round_.server_now = round_.server_now or page.server_date
        if page.skew is not None:
            self._settings.metrics.clock_skew_seconds.set(page.skew.total_seconds())
        if page.end in (End.REPEATED, End.CAP):
            log.error("paging_does_not_end", read=read.query.kind.value, page=page.number, how=page.end.value)


def _asks_to_wait(error: RemoteError) -> bool:
    return isinstance(error, Transient) and error.retry_after is not None
