"""What a chunk of a read becomes in the store: one transaction each, opened when the bytes are in hand.

Must not: read from KUMA, or decide beyond what the core says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from kuma_sync.core.alert import Alert, AlertId, Contents, Picture, Seen
from kuma_sync.core.diff import Admission, AdmissionRule, Appeared, Changed, Rejected, Unseen, diff, to_read
from kuma_sync.core.errors import ValueRefused
from kuma_sync.core.incident import Doubt, Link
from kuma_sync.core.moments import before
from kuma_sync.core.plan import Brake, Plan, check
from kuma_sync.core.window import ReadKind
from kuma_sync.daemon.allowance import Allowance
from kuma_sync.daemon.copies import in_order, later_copies
from kuma_sync.daemon.puts import put_changed, put_unmade, to_tell, to_wake
from kuma_sync.daemon.rejects import REMEMBERED, KnownRejects, RefusedAlerts, as_listed, refused, too_large
from kuma_sync.daemon.round import Chunk, Pass, Round, taken_back
from kuma_sync.kuma.client import Element
from kuma_sync.kuma.wire import Parsed, parse_alert
from kuma_sync.store import Lane, Put, Shape, Shown, Store, Tx

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that decide what becomes of an alert.

    `statuses` are those that KUMA is asked for; `retention` is for how long settled links are kept.
    """

    overlap: timedelta
    ignore_before: datetime | None
    statuses: frozenset[str]
    unseen: Unseen
    retention: timedelta
    max_events: int
    brake: Brake
    find_always: bool
    can_find: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aside:
    """What a chunk brings beside alerts that are new or changed: pieces that are none, and what is as known."""

    rejected: Sequence[Rejected] = ()
    to_mark: Collection[AlertId] = ()


@dataclass(slots=True)
class Swept:
    """Whether this process has completed a sweep of what it asks KUMA for; before that, every new link is doubtful."""

    complete: bool = False


class Recorder:
    """Writes chunks."""

    def __init__(
        self, *, store: Store, rules: Rules, swept: Swept, wake: Callable[[], None], allowance: Allowance
    ) -> None:
        self._store = store
        self._allowance = allowance
        self._rules = rules
        self.wake = wake
        self._rejects = KnownRejects()
        self._left_alone: set[bytes] = set()
        self._refused = RefusedAlerts()
        self.swept = swept

    async def first_read(self, round_: Round) -> None:
        """Note when this store first read KUMA, by KUMA's clock."""
        async with self._store.begin() as tx:
            await tx.lease.assure(round_.turn)
            at = round_.server_now or tx.now
            await tx.records.move_cursor(first_read_at=at)
        round_.cursor = replace(round_.cursor, first_read_at=at)

    async def contents(self, chunk: Chunk, read: Pass, round_: Round) -> None:
        """Record elements that came with their contents."""
        async with self._allowance.take(chunk.size):
            await self._record(chunk, read, round_, Shape.CONTENTS)

    async def listing(self, chunk: Chunk, read: Pass, round_: Round) -> None:
        """Record elements of a listing: what differs is wanted with its contents, and only then written."""
        await self._record(chunk, read, round_, Shape.LISTING)

    async def seen(self, items: Sequence[Seen], read: Pass, round_: Round) -> None:
        """Record alerts of which there is no more than the listing; they are delivered without events."""
        try:
            await self._write_listed(items, read, round_)
        except ValueRefused as error:
            if len(items) > 1:
                for item in items:
                    await self.seen([item], read, round_)
                return
            alert = items[0].alert
            await self._park(refused(alert.id, as_listed(alert), error), alert.id, read, round_)
        self.wake()

    async def _write_listed(self, items: Sequence[Seen], read: Pass, round_: Round) -> None:
        ids = [item.alert.id for item in items]
        with taken_back(read, round_):
            async with self._store.begin() as tx:
                await tx.lease.assure(round_.turn)
                await self._save(tx, diff(items, await tx.alerts.pictures(ids)), {}, Shape.LISTING, read, round_)
                await put_unmade(tx, ids)

    async def _record(self, chunk: Chunk, read: Pass, round_: Round, shape: Shape) -> None:
        taken = [element for element in chunk.elements if element.raw is not None]
        large = [element for element in chunk.elements if element.raw is None]
        digests = {digest: one for digest, one in in_order(taken).items() if digest not in self._left_alone}
        async with self._store.read() as tx:
            await self._refused.recall(tx)
            unchanged = await tx.alerts.by_digest(shape, list(digests)) | self._refused.among(digests)
            # Unchanged since a round that did not reach its end: the watermark has not come so far yet.
            round_.saw(await tx.alerts.newest(unchanged.values()))
            known_ids = set(unchanged.values())
            to_mark = known_ids if round_.mark(read) else await tx.alerts.gone(known_ids)
        parsed = [
            (digest, await self._parsed(element, shape))
            for digest, element in digests.items()
            if digest not in unchanged
        ]
        seen = later_copies(digests, unchanged, {key: item for key, item in parsed if isinstance(item, Parsed)})
        no_alerts = [item for _digest, item in parsed if isinstance(item, Rejected)]
        if shape is Shape.CONTENTS:
            round_.leave_contents(large)
        else:
            no_alerts += map(too_large, large)
            round_.answered |= {AlertId(hint) for element in large if (hint := element.alert_id_hint())}
        rejected = self._rejects.fresh(no_alerts)
        read.seen += len(taken)
        for item in seen.values():
            round_.saw(item.seen.alert.last_seen)
        round_.answered |= known_ids | {item.seen.alert.id for item in seen.values()}
        if not (seen or rejected or to_mark):
            return
        aside = _Aside(rejected=rejected, to_mark=to_mark)
        try:
            await self._write(seen, aside, shape, read, round_)
        except ValueRefused:
            await self._write({}, aside, shape, read, round_)
            for digest, item in seen.items():
                await self._write_one(digests[digest], item, shape, read, round_)
        self._rejects.note(rejected)
        self.wake()

    async def _write(self, seen: dict[bytes, Parsed], aside: _Aside, shape: Shape, read: Pass, round_: Round) -> None:
        with taken_back(read, round_):
            async with self._store.begin() as tx:
                await tx.lease.assure(round_.turn)
                read.rejected += await tx.records.park(aside.rejected)
                # Links before jobs, in the order that whoever hands in a closing locks them.
                await tx.alerts.mark_shown(aside.to_mark, round_.mark(read))
                await self._compare(tx, seen, shape, read, round_)

    async def _write_one(self, element: Element, item: Parsed, shape: Shape, read: Pass, round_: Round) -> None:
        """Write one alert of a chunk that the database refused as a whole, or park it with the reason."""
        try:
            await self._write({element.digest: item}, _Aside(), shape, read, round_)
        except ValueRefused as error:
            alert_id = item.seen.alert.id
            await self._park(refused(alert_id, element.raw or element.head, error), alert_id, read, round_)
            self._refused.note(alert_id, element.digest)

    async def _park(self, rejected: Rejected, alert_id: AlertId, read: Pass, round_: Round) -> None:
        async with self._store.begin() as tx:
            await tx.lease.assure(round_.turn)
            read.rejected += await tx.records.park([rejected])
            await tx.alerts.mark_shown([alert_id], round_.sweep)
        round_.refuse(alert_id)
        self._rejects.note([rejected])

    async def _parsed(self, element: Element, shape: Shape) -> Parsed | Rejected:
        await asyncio.sleep(0)  # a chunk of megabytes in one go would hold the loop
        return parse_alert(element.raw or b"", with_events=shape is Shape.CONTENTS, max_events=self._rules.max_events)

    async def _compare(self, tx: Tx, seen: dict[bytes, Parsed], shape: Shape, read: Pass, round_: Round) -> None:
        digest_of = {item.seen.alert.id: digest for digest, item in seen.items()}
        items = [item.seen for item in seen.values()]
        known = await tx.alerts.pictures(digest_of)
        await tx.alerts.mark_shown(known.keys(), round_.mark(read))
        if read.query.kind is ReadKind.LATE:
            items = await self._admit(tx, items, known, digest_of, read, round_)
        if shape is Shape.LISTING:
            items, unread = self._want(items, known, read, round_)
            await self._save(tx, diff(unread, known), {}, shape, read, round_)
        changes = diff(items, known)
        await self._save(tx, changes, digest_of, shape, read, round_)
        self._warn(changes, seen)
        done = {change.picture.alert.id for change in changes} | round_.wanted.keys()
        await tx.alerts.note_digests(shape, {key: digest for key, digest in digest_of.items() if key not in done})

    async def _admit(
        self,
        tx: Tx,
        listed: Sequence[Seen],
        known: dict[AlertId, Picture],
        digest_of: dict[AlertId, bytes],
        read: Pass,
        round_: Round,
    ) -> list[Seen]:
        """Return what goes on its way, of a listing of every status; what was missed is recorded as such."""
        rule, was_missed = self._rule(round_), await tx.links.missed(known.keys())
        judged = {
            item.alert.id: rule.admit(item.alert)
            for item in listed
            if item.alert.id not in known or item.alert.id in was_missed
        }
        missed = [item for item in listed if judged.get(item.alert.id) is Admission.MISSED]
        self._leave_alone(
            digest_of[alert_id] for alert_id, admission in judged.items() if admission is Admission.LEFT_ALONE
        )
        await self._save_missed(tx, diff(missed, known), digest_of, read, round_)
        return [item for item in listed if judged.get(item.alert.id, Admission.TAKEN) is Admission.TAKEN]

    def _rule(self, round_: Round) -> AdmissionRule:
        cursor, server_now = round_.cursor, round_.server_now
        limits = [
            before(at, by)
            for at, by in ((cursor.watermark, self._rules.overlap), (server_now, self._rules.retention))
            if at
        ]
        return AdmissionRule(
            statuses=self._rules.statuses,
            unseen=self._rules.unseen,
            first_read_at=cursor.first_read_at,
            forgotten_before=min(limits) if len(limits) == 2 else None,
        )

    def _leave_alone(self, digests: Iterable[bytes]) -> None:
        """Remember what need not be looked at again; when that is too much, all is looked at once more."""
        if len(self._left_alone) > REMEMBERED:
            self._left_alone.clear()
        self._left_alone.update(digests)

    async def _save_missed(
        self,
        tx: Tx,
        changes: Sequence[Appeared | Changed],
        digest_of: dict[AlertId, bytes],
        read: Pass,
        round_: Round,
    ) -> None:
        shown = [
            Shown(picture=change.picture, shape=Shape.LISTING, digest=digest_of[change.picture.alert.id])
            for change in changes
        ]
        await tx.alerts.save(shown, now=tx.now, sweep=round_.mark(read))
        appeared = [change.picture.alert for change in changes if isinstance(change, Appeared)]
        await tx.links.add([Link(alert_id=alert.id, ignored=True, missed=True) for alert in appeared], now=tx.now)
        await tx.records.note_all(
            "kuma-sync", [("missed", alert.id, f"was {alert.status} before it was read") for alert in appeared]
        )
        read.missed += len(appeared)

    def _want(
        self, listed: Sequence[Seen], known: dict[AlertId, Picture], read: Pass, round_: Round
    ) -> tuple[list[Seen], list[Seen]]:
        """Want the contents of what a listing shows as new or changed.

        Returns what can be recorded as it is (unchanged, too large, or too old to be delivered), and the new alerts
        among the wanted: they are recorded at once, so that none is forgotten should its contents not be had.
        """
        large = {item.alert.id for item in listed} & round_.oversize
        old = {item.alert.id for item in listed if item.alert.id not in known and self._old(item.alert)}
        wanted = set(to_read([item.alert for item in listed], known)) - large - old
        unread = [item for item in listed if item.alert.id in wanted and item.alert.id not in known]
        round_.unread |= {item.alert.id for item in unread}
        if read.query.kind is ReadKind.LATE:
            round_.late |= {item.alert.id for item in unread if round_.behind(item.alert)}
        round_.wanted.update({item.alert.id: item.alert for item in listed if item.alert.id in wanted})
        rest = [replace(item, oversize=item.alert.id in large) for item in listed if item.alert.id not in wanted]
        return rest, unread

    async def _save(
        self,
        tx: Tx,
        changes: Sequence[Appeared | Changed],
        digest_of: dict[AlertId, bytes],
        shape: Shape,
        read: Pass,
        round_: Round,
    ) -> None:
        told = await to_tell(tx, [change for change in changes if isinstance(change, Changed)])
        shown = [
            Shown(
                picture=change.picture,
                shape=shape,
                digest=digest_of.get(change.picture.alert.id),
                contents=self._to_keep(change, told),
                recheck=self._recheck(change, round_),
            )
            for change in changes
        ]
        if changes and round_.open_links is None:
            round_.open_links = await tx.links.open_count()
        await tx.alerts.save(shown, now=tx.now, sweep=round_.mark(read))
        await self._refused.taken(tx, [change.picture.alert.id for change in changes])
        appeared = [change.picture.alert for change in changes if isinstance(change, Appeared)]
        fresh = [alert.id for alert in appeared if not self._old(alert)]
        held = self._held([*fresh, *to_wake(told.values())], round_)
        await self._join(tx, appeared, held, round_)
        await put_changed(tx, told.values(), held=held)
        # A closing that is parked is tried once more, just as a delivery is.
        await tx.closes.wake([*fresh, *told])
        read.appeared += len(appeared)
        read.late += sum(alert.id in round_.late for alert in appeared)
        read.changed += sum(alert_id not in round_.unread for alert_id in told)

    def _held(self, creates: Sequence[AlertId], round_: Round) -> Collection[AlertId]:
        """Count these creates of the round, and return which of them the brake holds."""
        plan = check(Plan(creates=creates), self._rules.brake, created_before=round_.created)
        round_.created += len(creates)
        if plan.held_creates:
            log.error("brake_holds_creates", held=len(plan.held_creates))
        return plan.held_creates

    async def _join(self, tx: Tx, appeared: Sequence[Alert], held: Collection[AlertId], round_: Round) -> None:
        """Make the links of new alerts, and queue those whose contents are there."""
        doubtful = self._rules.can_find and (self._rules.find_always or not self.swept.complete)
        links = [
            Link(
                alert_id=alert.id,
                doubt=Doubt.UNKNOWN if doubtful else None,
                held_create=alert.id in held,
                ignored=self._old(alert),
            )
            for alert in appeared
        ]
        await tx.links.add(links, now=tx.now)
        ready = [link.alert_id for link in links if not (link.ignored or link.alert_id in round_.unread)]
        await tx.delivery.put([Put(subject=alert_id, lane=Lane.CREATE) for alert_id in ready])

    def _warn(self, changes: Sequence[Appeared | Changed], seen: dict[bytes, Parsed]) -> None:
        left_out = {item.seen.alert.id: item.left_out for item in seen.values() if item.left_out}
        for change in changes:
            fields = left_out.get(change.picture.alert.id)
            if fields:
                log.warning(
                    "fields_left_out", alert_id=change.picture.alert.id, fields=sorted(set(fields)), count=len(fields)
                )

    def _to_keep(self, change: Appeared | Changed, told: Collection[AlertId]) -> Contents | None:
        """Keep the contents of what will be delivered."""
        alert = change.picture.alert
        keep = alert.id in told if isinstance(change, Changed) else not self._old(alert)
        return change.seen.contents if keep else None

    def _old(self, alert: Alert) -> bool:
        limit = self._rules.ignore_before
        return limit is not None and alert.last_seen is not None and alert.last_seen < limit

    def _recheck(self, change: Appeared | Changed, round_: Round) -> bool:
        """Tell whether to look once more when lastSeen leaves the overlap: until then a listing may hide growth."""
        last_seen = change.picture.alert.last_seen
        if last_seen is None or change.picture.oversize:
            return False
        unread = change.seen.contents is None
        return unread or round_.server_now is None or last_seen >= round_.server_now - self._rules.overlap
