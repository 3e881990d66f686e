"""An answer to an IRP that polls us: which alerts it holds, its bytes, and when it counts as delivered.

What is given comes from the store alone: a KUMA that is away or slow changes nothing for who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog

from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import NotTheirs, StoreError, StoreUnavailable
from kuma_sync.core.handout import PAGE, Asked
from kuma_sync.core.routing import IGNORE, NO_ROUTE
from kuma_sync.store import Store, Tx
from kuma_sync.store.handouts import NO_AFFECTED, Out, Parts
from kuma_sync.telemetry.health import Health, part_of
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_EVENTS = b',"events":'


LOOKS = 20
"""Looks (sync/handout/expecting) in the time that a target may be silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoutLimits:
    """How much is given at once.

    `made_at_once`: answers that something is read or made for at the same time: what else the process does must not
    wait for all of them. `batch`: bytes, unpacked, that are read from the store in one go, a larger alert aside;
    `piece`: bytes in one piece of an answer. `listed`: alerts in one listing. `noted_every`: how often it is stored
    that a target asked.
    """

    made_at_once: int = 1
    batch: int = 1024 * 1024
    piece: int = 128 * 1024
    listed: int = 10_000
    noted_every: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Puller:
    """A target that polls us, as it is configured."""

    name: str
    repeat_for: timedelta
    expect_every: timedelta | None


class Giving:
    """Answers IRPs that poll us, once the store is ready (`open`)."""

    def __init__(self, *, store: Store, health: Health, metrics: Metrics, limits: HandoutLimits | None = None) -> None:
        self.limits = limits or HandoutLimits()
        self.open = False
        self.store = store
        self.making = asyncio.Semaphore(self.limits.made_at_once)
        self.metrics = metrics
        self._health = health
        self._pullers: Mapping[str, Puller] = {}
        self._noted: dict[str, float] = {}
        self._noting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def serve(self, pullers: Mapping[str, Puller]) -> None:
        """Take over which targets poll us."""
        self._pullers = pullers

    async def give(self, target: str, asked: Asked) -> GivenAnswer:
        """Return the answer to a query of a target. Raise StoreUnavailable, or NotTheirs for another's alert."""
        if not self.open:
            raise StoreUnavailable("the store is not ready yet")
        puller = self._pullers[target]
        async with self._noting[target]:  # what was sent just now is not shown as new again
            pass
        async with self.making:
            outs = await self._outs(puller, asked)
        self.metrics.last_asked.labels(target=puller.name).set_to_current_time()
        return GivenAnswer(giving=self, target=target, asked=asked, outs=outs)

    async def _outs(self, puller: Puller, asked: Asked) -> list[Out]:
        if asked.ids:
            outs = await self.store.read(partial(_by_id, puller.name, asked), long=True)
            return outs[(asked.page - 1) * PAGE : asked.page * PAGE]
        if not asked.first:
            kept = await self.store.read(partial(_kept_page, puller.name, asked), long=True)
            if kept is not None:
                return kept
        elif not asked.name and await self.store.read(partial(_is_nothing, puller, asked)):
            return []
        return await self._listing(puller, asked)

    async def _listing(self, puller: Puller, asked: Asked) -> list[Out]:
        """Return a page of a new listing; later pages are kept in the store, where every copy finds them."""
        found = None if asked.name else await self.store.read(partial(_few, puller, asked), long=True)
        if found is None:
            # In a thread, on PostgreSQL too: of very many it takes long.
            found = await asyncio.to_thread(self._all, puller, asked)
        if found.outdated or len(found.ids) > PAGE:
            await self.store.write(lambda tx: tx.handout_pages.keep(puller.name, asked, found.ids), long=True)
        return found.outs

    def _all(self, puller: Puller, asked: Asked) -> _Listing:
        with self.store.reading() as tx:
            ids = tx.handouts.listed(puller.name, asked, repeat_for=puller.repeat_for, limit=self.limits.listed)
            return _listing(puller.name, asked, ids, tx)

    async def end(self, target: str, outs: Sequence[Out], finish: Callable[[], Awaitable[bool]]) -> None:
        """Let an answer's last piece be sent, and note that it was sent whole, where `finish` says so."""
        fresh = [out for out in outs if out.pending]
        try:
            # Whoever got the last byte may ask again at once: that question waits.
            async with self._noting[target] if fresh else contextlib.nullcontext():
                if not await finish():
                    return
                if fresh:
                    now, fresh = await self.store.write(partial(_delivered, target, fresh), long=True)
        except StoreError as error:
            # It is shown once more: at least once.
            log.warning("handout_not_noted", target=target, count=len(fresh), reason=str(error))
            return
        with contextlib.suppress(StoreError):  # told by the loops; the next answer is noted
            await self._note_asked(target)
        if not fresh:
            return
        self.metrics.handed_out.labels(target=target).inc(len(fresh))
        for out in fresh:
            self.metrics.delivered(target, max((now - out.put_out_at).total_seconds(), 0.0))
        log.info("handed_out", target=target, count=len(fresh))

    async def _note_asked(self, target: str) -> None:
        """Note a question whose answer was taken whole; one that breaks every answer off gets nothing."""
        puller = self._pullers.get(target)
        if puller is None:  # taken out of the configuration meanwhile
            return
        self._health.succeeded(part_of("irp", target))
        last, now = self._noted.get(target), time.monotonic()
        # A time that is noted late must not look like a silence.
        every = min(self.limits.noted_every, (puller.expect_every or timedelta.max) / LOOKS)
        if last is None or now - last > every.total_seconds():
            await self.store.write(lambda tx: tx.targets.note_asked(target, tx.now))
            self._noted[target] = now


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """An answer, whose length is known before its bytes are made."""

    giving: Giving
    target: str
    asked: Asked
    outs: Sequence[Out]
    length: int = field(init=False)

    def __post_init__(self) -> None:
        """Count the bytes."""
        object.__setattr__(self, "length", 2 + max(len(self.outs) - 1, 0) + sum(map(self._size, self.outs)))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes, piece by piece; raise StoreError where some are gone."""
        opening = b"["
        for some in self._batches():
            async with self.giving.making:
                parts = await self.giving.store.read(partial(_parts, some, self.asked), long=True)
            if len(parts) < len(some):
                raise StoreError("an alert was replaced too long ago")
            texts = self._texts([parts.pop(out.alert_id) for out in some], opening)
            opening = b","
            while (piece := await self._next(texts)) is not None:
                yield piece
        yield b"]" if self.outs else b"[]"

    async def end(self, finish: Callable[[], Awaitable[bool]]) -> None:
        """Let the last piece be sent, and note that the answer was sent whole, where `finish` says so.

        An answer to `id=` shows what was wanted, and changes nothing.
        """
        await self.giving.end(self.target, () if self.asked.ids else self.outs, finish)

    async def _next(self, texts: Iterator[bytes]) -> bytes | None:
        async with self.giving.making:
            # zlib lets the loop's thread run meanwhile.
            return await asyncio.to_thread(_gathered, texts, self.giving.limits.piece)

    def _texts(self, batch: Sequence[Parts], opening: bytes) -> Iterator[bytes]:
        for parts in batch:
            yield from _texts(parts, opening, self.giving.limits.piece)
            opening = b","

    def _batches(self) -> Iterator[list[Out]]:
        some, size = list[Out](), 0
        for out in self.outs:
            if some and size + self._size(out) > self.giving.limits.batch:
                yield some
                some, size = [], 0
            some.append(out)
            size += self._size(out)
        if some:
            yield some

    def _size(self, out: Out) -> int:
        affected = out.affected_lists if self.asked.lists else out.affected
        events = out.events if self.asked.with_events else 2
        tail = affected if self.asked.with_affected else len(NO_AFFECTED)
        return out.head + len(_EVENTS) + events + 1 + tail


def _gathered(texts: Iterator[bytes], most: int) -> bytes | None:
    """Return the next texts as one piece; None at the end."""
    piece = bytearray()
    for text in texts:
        piece += text
        if len(piece) >= most:
            break
    return bytes(piece) or None


def _texts(parts: Parts, opening: bytes, most: int) -> Iterator[bytes]:
    yield opening
    yield from _unpack(parts.head, most)
    yield _EVENTS
    yield from _unpack(parts.events, most) if parts.events is not None else [b"[]"]
    yield b","
    yield from _unpack(parts.affected, most) if parts.affected is not None else [NO_AFFECTED]


def _unpack(packed: bytes, most: int) -> Iterator[bytes]:
    unpacker, rest = zlib.decompressobj(), packed
    while rest:
        yield unpacker.decompress(rest, most)
        rest = unpacker.unconsumed_tail
    yield unpacker.flush()


def _by_id(target: str, asked: Asked, tx: Tx) -> list[Out]:
    stored = set(tx.links.stored_as(asked.ids).values())
    for alert_id, whose in tx.links.targets_of(stored).items():
        if whose not in (target, NO_ROUTE, IGNORE):
            raise NotTheirs(f"alert {alert_id} belongs to another target")
    return tx.handouts.by_id(target, asked, stored)


def _parts(outs: Sequence[Out], asked: Asked, tx: Tx) -> dict[AlertId, Parts]:
    return tx.handouts.parts(outs, asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """A new listing: all its alerts, and those on the page asked for. `outdated`: pages of an earlier one are kept."""

    ids: Sequence[AlertId]
    outs: list[Out]
    outdated: bool


def _is_nothing(puller: Puller, asked: Asked, tx: Tx) -> bool:
    """Tell whether a listing is empty, and no pages of an earlier one are kept."""
    ids = tx.handouts.listed(puller.name, asked, repeat_for=puller.repeat_for, limit=1)
    return not ids and not tx.handout_pages.kept(puller.name, asked)


def _few(puller: Puller, asked: Asked, tx: Tx) -> _Listing | None:
    """Return a new listing; None where it has more than one page."""
    ids = tx.handouts.listed(puller.name, asked, repeat_for=puller.repeat_for, limit=PAGE + 1)
    return None if len(ids) > PAGE else _listing(puller.name, asked, ids, tx)


def _listing(target: str, asked: Asked, ids: Sequence[AlertId], tx: Tx) -> _Listing:
    outs = _on_page(target, asked, ids[(asked.page - 1) * PAGE : asked.page * PAGE], tx)
    return _Listing(ids=ids, outs=outs, outdated=tx.handout_pages.kept(target, asked))


def _kept_page(target: str, asked: Asked, tx: Tx) -> list[Out] | None:
    """Return a page of a listing that is kept; None where none is."""
    ids = tx.handout_pages.page(target, asked)
    return None if ids is None else _on_page(target, asked, ids, tx)


def _on_page(target: str, asked: Asked, ids: Sequence[AlertId], tx: Tx) -> list[Out]:
    # A listing stays as it was while its pages are fetched, whatever became of its alerts. On PostgreSQL an alert of a
    # new one, too, may change between the two statements, and is then shown as it is now.
    return tx.handouts.by_id(target, Asked(by_first_seen=asked.by_first_seen), ids)


def _delivered(target: str, outs: Sequence[Out], tx: Tx) -> tuple[datetime, list[Out]]:
    fresh = tx.handouts.delivered(outs)
    tx.audit.note_all(target, [("handed_out", out.alert_id, "") for out in fresh])
    return tx.now, fresh
