"""What a chunk of a read becomes in the store: one transaction each, opened when the bytes are in hand.

Must not: read from KUMA, or decide beyond what the core says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from kuma_sync.core.alert import AlertId, Picture, Seen
from kuma_sync.core.diff import Appeared, Changed, Rejected, diff, to_read
from kuma_sync.core.incident import Doubt, Link
from kuma_sync.core.plan import Brake, Plan, check
from kuma_sync.core.window import ReadKind
from kuma_sync.daemon.round import Pass, Round
from kuma_sync.kuma.client import Element
from kuma_sync.kuma.wire import Parsed, parse_alert
from kuma_sync.store import Lane, Put, Shape, Shown, Store, Tx

log = structlog.get_logger(__name__)

REMEMBERED_REJECTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that decide what becomes of an alert."""

    overlap: timedelta
    ignore_before: datetime | None
    max_events: int
    brake: Brake
    find_always: bool
    can_find: bool


@dataclass(slots=True)
class Chunk:
    """Elements of a read whose bytes are in hand, with their digests."""

    elements: list[Element] = field(default_factory=list)
    size: int = 0

    def add(self, element: Element) -> None:
        """Take one element."""
        self.elements.append(element)
        self.size += element.size


class Recorder:
    """Writes chunks. `swept`: this process has completed a sweep; before that, every new link is doubtful."""

    def __init__(self, *, store: Store, rules: Rules, wake: Callable[[], None]) -> None:
        self._store = store
        self._rules = rules
        self.wake = wake
        self._rejects: set[str] = set()
        self.swept = False

    async def contents(self, chunk: Chunk, read: Pass, round_: Round) -> None:
        """Record elements that came with their contents."""
        await self._record(chunk, read, round_, Shape.CONTENTS)

    async def listing(self, chunk: Chunk, read: Pass, round_: Round) -> None:
        """Record elements of a listing: what differs is wanted with its contents, and only then written."""
        await self._record(chunk, read, round_, Shape.LISTING)

    async def seen(self, items: Sequence[Seen], read: Pass, round_: Round) -> None:
        """Record alerts of which there is no more than the listing."""
        async with self._store.begin() as tx:
            await tx.lease.assure(round_.turn)
            known = await tx.alerts.pictures([item.alert.id for item in items])
            await self._save(tx, diff(items, known), {}, Shape.LISTING, read, round_)
        self.wake()

    async def _record(self, chunk: Chunk, read: Pass, round_: Round, shape: Shape) -> None:
        taken = [element for element in chunk.elements if element.raw is not None]
        self._oversize(chunk, round_)
        digests = {element.digest: element for element in taken}
        async with self._store.read() as tx:
            unchanged = await tx.alerts.by_digest(shape, list(digests))
        parsed = [
            (
                digest,
                parse_alert(element.raw or b"", with_events=shape is Shape.CONTENTS, max_events=self._rules.max_events),
            )
            for digest, element in digests.items()
            if digest not in unchanged
        ]
        seen = {digest: item for digest, item in parsed if isinstance(item, Parsed)}
        rejected = [item for _digest, item in parsed if isinstance(item, Rejected) and item.digest not in self._rejects]
        read.seen += len(taken)
        for item in seen.values():
            round_.saw(item.seen.alert)
        known_ids = set(unchanged.values())
        round_.answered |= known_ids | {item.seen.alert.id for item in seen.values()}
        marks = bool(round_.sweep)
        if not (seen or rejected or (marks and known_ids)):
            return
        async with self._store.begin() as tx:
            await tx.lease.assure(round_.turn)
            await self._reject(tx, rejected, read)
            await self._compare(tx, seen, shape, read, round_)
            if marks:
                await tx.alerts.mark_shown(known_ids, round_.sweep)
        self.wake()

    async def _compare(self, tx: Tx, seen: dict[bytes, Parsed], shape: Shape, read: Pass, round_: Round) -> None:
        digest_of = {item.seen.alert.id: digest for digest, item in seen.items()}
        items = [item.seen for item in seen.values()]
        known = await tx.alerts.pictures(digest_of)
        if shape is Shape.LISTING:
            items = self._want(items, known, read, round_)
        changes = diff(items, known)
        await self._save(tx, changes, digest_of, shape, read, round_)
        self._warn(changes, seen)
        done = {change.picture.alert.id for change in changes} | round_.wanted.keys()
        await tx.alerts.note_digests(shape, {key: digest for key, digest in digest_of.items() if key not in done})
        if round_.sweep:
            await tx.alerts.mark_shown(known.keys() & digest_of.keys(), round_.sweep)

    def _want(self, listed: Sequence[Seen], known: dict[AlertId, Picture], read: Pass, round_: Round) -> list[Seen]:
        """Want the contents of what a listing shows as new or changed; return the rest, and what is too large."""
        large = {item.alert.id for item in listed} & round_.oversize
        wanted = set(to_read([item.alert for item in listed], known)) - large
        if read.query.kind is ReadKind.LATE:
            round_.late |= wanted - known.keys()
        round_.wanted.update({item.alert.id: item.alert for item in listed if item.alert.id in wanted})
        return [replace(item, oversize=item.alert.id in large) for item in listed if item.alert.id not in wanted]

    async def _save(
        self,
        tx: Tx,
        changes: Sequence[Appeared | Changed],
        digest_of: dict[AlertId, bytes],
        shape: Shape,
        read: Pass,
        round_: Round,
    ) -> None:
        shown = [
            Shown(
                picture=change.picture,
                shape=shape,
                digest=digest_of.get(change.picture.alert.id),
                contents=None if isinstance(change, Appeared) and self._old(change.picture) else change.seen.contents,
                recheck=self._recheck(change.picture, round_),
            )
            for change in changes
        ]
        await tx.alerts.save(shown, now=tx.now, sweep=round_.sweep)
        appeared = [change.picture for change in changes if isinstance(change, Appeared)]
        changed = [change.picture for change in changes if isinstance(change, Changed)]
        await self._join(tx, appeared, round_)
        await self._update(tx, changed)
        read.appeared += len(appeared)
        read.late += sum(picture.alert.id in round_.late for picture in appeared)
        read.changed += len(changed)

    async def _join(self, tx: Tx, appeared: Sequence[Picture], round_: Round) -> None:
        """Make the links of new alerts, and queue their creates, held where the brake says so."""
        fresh = [picture.alert.id for picture in appeared if not self._old(picture)]
        plan = check(Plan(creates=fresh), self._rules.brake, created_before=round_.created)
        round_.created += len(fresh)
        doubtful = self._rules.can_find and (self._rules.find_always or not self.swept)
        links = [
            Link(
                alert_id=picture.alert.id,
                doubt=Doubt.UNKNOWN if doubtful else None,
                held_create=picture.alert.id in plan.held_creates,
                ignored=self._old(picture),
            )
            for picture in appeared
        ]
        await tx.links.add(links, now=tx.now)
        await tx.delivery.put([Put(subject=alert_id, lane=Lane.CREATE) for alert_id in fresh])
        if plan.held_creates:
            log.error("brake_holds_creates", held=len(plan.held_creates))

    async def _update(self, tx: Tx, changed: Sequence[Picture]) -> None:
        ids = [picture.alert.id for picture in changed]
        links = await tx.links.many(ids)
        puts = []
        for alert_id in ids:
            link = links.get(alert_id)
            if link is None or link.dropped:
                continue
            if link.ignored:
                await tx.links.change(alert_id, _no_longer_ignored, now=tx.now)
            puts.append(Put(subject=alert_id, lane=Lane.UPDATE if link.incident else Lane.CREATE))
        await tx.delivery.put(puts)

    async def _reject(self, tx: Tx, rejected: Sequence[Rejected], read: Pass) -> None:
        new = await tx.records.park(rejected)
        read.rejected += new
        if len(self._rejects) > REMEMBERED_REJECTS:
            self._rejects.clear()
        self._rejects |= {item.digest for item in rejected}
        if new:
            log.error("alerts_rejected", count=new, reasons=sorted({item.reason for item in rejected}))

    def _warn(self, changes: Sequence[Appeared | Changed], seen: dict[bytes, Parsed]) -> None:
        left_out = {item.seen.alert.id: item.left_out for item in seen.values() if item.left_out}
        for change in changes:
            fields = left_out.get(change.picture.alert.id)
            if fields:
                log.warning(
                    "fields_left_out", alert_id=change.picture.alert.id, fields=sorted(set(fields)), count=len(fields)
                )

    def _oversize(self, chunk: Chunk, round_: Round) -> None:
        for element in chunk.elements:
            if element.raw is None:
                hint = element.alert_id_hint()
                if hint is None:
                    round_.unnamed += 1
                else:
                    round_.oversize.add(AlertId(hint))

    def _old(self, picture: Picture) -> bool:
        limit, last_seen = self._rules.ignore_before, picture.alert.last_seen
        return limit is not None and last_seen is not None and last_seen < limit

    def _recheck(self, picture: Picture, round_: Round) -> bool:
        """Tell whether a listing may yet hide growth: contents read while lastSeen is within the overlap."""
        last_seen = picture.alert.last_seen
        if last_seen is None or picture.oversize:
            return False
        return round_.server_now is None or last_seen >= round_.server_now - self._rules.overlap


def _no_longer_ignored(link: Link) -> Link:
    return replace(link, ignored=False)
