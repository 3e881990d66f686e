"""What a chunk of a read becomes in the store: one transaction each, opened when the bytes are in hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from kuma_sync.core.alert import Alert, AlertId, AlertSnapshot, Contents, Observation
from kuma_sync.core.comparison import Appeared, Changed, Fate, Rejected, Wanted, diff, to_read
from kuma_sync.core.errors import ValueRefused
from kuma_sync.core.link import Doubt, Ignored, Link, NotMade, Sought, State
from kuma_sync.core.plan import Brake, Plan, check
from kuma_sync.core.window import ReadKind
from kuma_sync.kuma.client import Element
from kuma_sync.kuma.parse import Parsed, parse_in_turns
from kuma_sync.store import Lane, Put, Shape, Shown, Store, Tx
from kuma_sync.store.locks import lock
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.polling.enqueue import put_changed, put_unmade, to_leave, to_tell, to_wake
from kuma_sync.sync.polling.round import Chunk, Pass, Round, taken_back
from kuma_sync.sync.polling.set_aside import KnownRejects, LeftAlone, RefusedAlerts, as_read, refused, too_large


def in_order(elements: Sequence[Element]) -> dict[bytes, Element]:
    """Return each element once, by its digest, where it comes last."""
    found: dict[bytes, Element] = {}
    for element in elements:
        found.pop(element.digest, None)
        found[element.digest] = element
    return found


def later_copies(
    order: Iterable[bytes], unchanged: Mapping[bytes, AlertId], seen: Mapping[bytes, Parsed]
) -> dict[bytes, Parsed]:
    """Return what was `seen` by its digest, without copies of an alert after which another one comes."""
    whose = {**unchanged, **{digest: item.seen.alert.id for digest, item in seen.items()}}
    latest = {whose[digest]: digest for digest in order if digest in whose}
    return {digest: item for digest, item in seen.items() if latest[item.seen.alert.id] == digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSettings:
    """The settings that decide what becomes of an alert."""

    overlap: timedelta
    ignore_before: datetime | None
    max_events: int
    brake: Brake
    find_always: bool
    can_find: bool
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aside:
    """What a chunk brings beside alerts that are new or changed: pieces that are none, and what is as known."""

    rejected: Sequence[Rejected] = ()
    to_mark: Collection[AlertId] = ()


@dataclass(slots=True)
class Swept:
    """What tells, beside the store, whether an alert may be known already: the store may be an older copy.

    `complete`: this process has completed a sweep of what it asks KUMA for. `since` is when it first read KUMA, by
    KUMA's clock; None where KUMA does not tell the time. A sweep alone proves little: while rows move, an alert may be
    on no page of it.
    """

    complete: bool = False
    since: datetime | None = None

    def is_new(self, alert: Alert, now: datetime | None) -> bool:
        """Tell whether an alert cannot have had an incident before this process first read KUMA; `now` is KUMA's clock.

        A date ahead of KUMA's clock tells nothing. The clock comes in whole seconds: one of the same second is new.
        """
        if not self.complete or self.since is None or now is None or alert.first_seen is None:
            return False
        return self.since <= alert.first_seen < now + timedelta(seconds=1)


class Recorder:
    """Writes chunks."""

    def __init__(self, *, store: Store, rules: RecordSettings, swept: Swept, wake: Callable[[], None]) -> None:
        self._store = store
        self._rules = rules
        self.wake = wake
        self._rejects = KnownRejects()
        self._left_alone = LeftAlone()
        self._refused = RefusedAlerts()
        self.swept = swept

    async def contents(self, chunk: Chunk, read: Pass, round_: Round) -> None:
        """Record elements that came with their contents."""
        await self._record(chunk, read, round_, Shape.CONTENTS)

    async def listing(self, chunk: Chunk, read: Pass, round_: Round) -> None:
        """Record elements of a listing: what differs is wanted with its contents, and only then written."""
        await self._record(chunk, read, round_, Shape.LISTING)
        if read.of_any_status and read.complete:
            self._left_alone.listed()

    async def seen(self, items: Sequence[Observation], read: Pass, round_: Round) -> None:
        """Record alerts of which there is no more than the listing; they are delivered without events."""
        try:
            await self._write_listed(items, read, round_)
        except ValueRefused as error:
            if len(items) > 1:
                for item in items:
                    await self.seen([item], read, round_)
                return
            alert = items[0].alert
            await self._park(refused(alert.id, as_read(items[0]), error), alert.id, read, round_)
        self.wake()

    async def _write_listed(self, items: Sequence[Observation], read: Pass, round_: Round) -> None:
        ids = [item.alert.id for item in items]

        def write(tx: Tx) -> None:
            lock(tx, turn=round_.turn)
            self._save(tx, diff(items, tx.alerts.snapshots(ids)), {}, Shape.LISTING, read, round_)
            put_unmade(tx, ids)

        with taken_back(read, round_):
            await self._store.write(write, long=True)

    async def _record(self, chunk: Chunk, read: Pass, round_: Round, shape: Shape) -> None:
        taken = [element for element in chunk.elements if element.raw is not None]
        large = [element for element in chunk.elements if element.raw is None]
        digests = in_order(taken)
        if read.of_any_status:
            digests = self._not_left_alone(digests, round_)
        unchanged, newest, gone = await self._store.read(
            partial(self._unchanged, shape, digests, bool(read.sweep(round_)))
        )
        known_ids = set(unchanged.values())
        to_mark = known_ids if read.sweep(round_) else gone
        # Unchanged since a round that did not reach its end: the watermark has not come so far yet.
        round_.saw(newest)
        count, order = len(taken), list(digests)
        chunk.elements.clear()
        taken.clear()
        # Bytes that were parsed are let go: what they become takes enough room.
        read_out = {
            digest: await self._parsed(digests.pop(digest), shape) for digest in order if digest not in unchanged
        }
        seen = later_copies(order, unchanged, {key: item for key, item in read_out.items() if isinstance(item, Parsed)})
        no_alerts = [item for item in read_out.values() if isinstance(item, Rejected)]
        if shape is Shape.CONTENTS:
            round_.leave_contents(large)
        else:
            no_alerts += map(too_large, large)
            hints = (element.alert_id_hint() for element in large)
            round_.shown(read.query, {AlertId(hint) for hint in hints if hint})
        rejected = self._rejects.fresh(no_alerts)
        read.seen += count
        for item in seen.values():
            round_.saw(item.seen.alert.last_seen)
        round_.shown(read.query, known_ids | {item.seen.alert.id for item in seen.values()})
        if not (seen or rejected or to_mark or round_.first_read_due):
            return
        aside = _Aside(rejected=rejected, to_mark=to_mark)
        try:
            await self._write(seen, aside, shape, read, round_)
        except ValueRefused:
            await self._write({}, aside, shape, read, round_)
            for digest, item in seen.items():
                await self._write_one(digest, item, shape, read, round_)
        self._rejects.note(rejected)
        round_.told.reject(rejected)
        self.wake()

    def _unchanged(
        self,
        shape: Shape,
        digests: Collection[bytes],
        sweeps: bool,
        tx: Tx,  # by partial
    ) -> tuple[dict[bytes, AlertId], datetime | None, Collection[AlertId]]:
        """Return which elements are as they were known, the latest lastSeen of these alerts, and which were gone.

        A sweep marks all that it shows, whether or not they were gone.
        """
        self._refused.recall(tx)
        unchanged = tx.alerts.by_digest(shape, list(digests)) | self._refused.among(digests)
        ids = set(unchanged.values())
        return unchanged, tx.alerts.newest(ids), [] if sweeps else tx.alerts.gone(ids)

    async def _write(self, seen: dict[bytes, Parsed], aside: _Aside, shape: Shape, read: Pass, round_: Round) -> None:
        def write(tx: Tx) -> datetime | None:
            lock(tx, turn=round_.turn)
            failpoint("turn_assured")
            read.rejected += tx.rejects.park(aside.rejected)
            tx.alerts.mark_shown(aside.to_mark, read.sweep(round_))
            self._compare(tx, seen, shape, read, round_)
            return self._note_first_read(tx, round_)

        with taken_back(read, round_):
            first_read = await self._store.write(write, long=True)
        round_.cursor = replace(round_.cursor, first_read=first_read)

    async def _write_one(self, digest: bytes, item: Parsed, shape: Shape, read: Pass, round_: Round) -> None:
        """Write one alert of a chunk that the database refused as a whole, or park it with the reason."""
        try:
            await self._write({digest: item}, _Aside(), shape, read, round_)
        except ValueRefused as error:
            alert_id = item.seen.alert.id
            await self._park(refused(alert_id, as_read(item.seen), error), alert_id, read, round_)
            self._refused.note(alert_id, digest)

    async def _park(self, rejected: Rejected, alert_id: AlertId, read: Pass, round_: Round) -> None:
        def park(tx: Tx) -> int:
            lock(tx, turn=round_.turn)
            fresh = tx.rejects.park([rejected])
            tx.alerts.mark_shown([alert_id], read.sweep(round_))
            return fresh

        read.rejected += await self._store.write(park)
        round_.refuse(alert_id)
        self._rejects.note([rejected])
        round_.told.reject([rejected])

    def _not_left_alone(self, digests: dict[bytes, Element], round_: Round) -> dict[bytes, Element]:
        left_alone = self._left_alone.among(digests)
        for last_seen in left_alone.values():
            round_.saw(last_seen)
        return {digest: element for digest, element in digests.items() if digest not in left_alone}

    def _note_first_read(self, tx: Tx, round_: Round) -> datetime | None:
        """Return when this store was first read; note it if that is now, or if it turned out to lie ahead."""
        if not round_.first_read_due:
            return round_.cursor.first_read
        # Without KUMA's clock, what it showed last errs towards an incident too many.
        moment = round_.server_now or min(round_.newest or tx.now, tx.now)
        tx.cursor.move(first_read_at=moment)
        return moment

    async def _parsed(self, element: Element, shape: Shape) -> Parsed | Rejected:
        whole = shape is Shape.CONTENTS
        return await parse_in_turns(element.raw or b"", with_events=whole, max_events=self._rules.max_events)

    def _compare(self, tx: Tx, seen: dict[bytes, Parsed], shape: Shape, read: Pass, round_: Round) -> None:
        digest_of = {item.seen.alert.id: digest for digest, item in seen.items()}
        items = [item.seen for item in seen.values()]
        known = tx.alerts.snapshots(digest_of)
        tx.alerts.mark_shown(known.keys(), read.sweep(round_))
        if read.of_any_status:
            items = self._judged(items, known, digest_of, round_)
        round_.left = set()
        if shape is Shape.LISTING:
            known_now = [item.alert for item in items if item.alert.id in known]
            round_.left = to_leave(tx, known_now, self._rules.wanted)
            items, unread = self._want(items, known, read, round_)
            self._save(tx, diff(unread, known), {}, shape, read, round_)
        changes = diff(items, known)
        self._save(tx, changes, digest_of, shape, read, round_)
        _warn(changes, seen, round_)
        done = {change.snapshot.alert.id for change in changes} | round_.wanted.keys()
        tx.alerts.note_digests(shape, {key: digest for key, digest in digest_of.items() if key not in done})

    def _judged(
        self,
        listed: Sequence[Observation],
        known: dict[AlertId, AlertSnapshot],
        digest_of: dict[AlertId, bytes],
        round_: Round,
    ) -> list[Observation]:
        """Return what of a listing of all statuses is ours, and note which new ones left the statuses asked for."""
        ours, wanted = list[Observation](), self._rules.wanted
        for item in listed:
            alert = item.alert
            fate = Fate.TAKEN if alert.id in known else wanted.fate(alert, round_.cursor.first_read)
            if fate is Fate.LEFT_ALONE:
                self._left_alone.note(digest_of.pop(alert.id), alert.last_seen)
                continue
            if fate is Fate.MISSED and not self._old(alert):
                round_.missed.add(alert.id)
            elif alert.id not in known and alert.status not in wanted.statuses:
                round_.unseen.add(alert.id)
            ours.append(item)
        return ours

    def _want(
        self, listed: Sequence[Observation], known: dict[AlertId, AlertSnapshot], read: Pass, round_: Round
    ) -> tuple[list[Observation], list[Observation]]:
        """Want the contents of what a listing shows as new or changed.

        Returns what can be recorded as it is (unchanged, too large, or not to be delivered), and the new alerts among
        the wanted: they are recorded at once, so that none is forgotten should its contents not be had.
        """
        large = {item.alert.id for item in listed} & round_.oversize
        idle = {item.alert.id for item in listed if item.alert.id not in known and self._idle(item.alert, round_)}
        wanted = set(to_read([item.alert for item in listed], known)) - large - idle - round_.left
        unread = [item for item in listed if item.alert.id in wanted and item.alert.id not in known]
        round_.unread |= {item.alert.id for item in unread}
        if read.query.kind is ReadKind.LATE:
            round_.late |= {item.alert.id for item in unread if round_.behind(item.alert)}
        round_.wanted.update({item.alert.id: item.alert for item in listed if item.alert.id in wanted})
        rest = [replace(item, oversize=item.alert.id in large) for item in listed if item.alert.id not in wanted]
        return rest, unread

    def _save(
        self,
        tx: Tx,
        changes: Sequence[Appeared | Changed],
        digest_of: dict[AlertId, bytes],
        shape: Shape,
        read: Pass,
        round_: Round,
    ) -> None:
        changed = [change for change in changes if isinstance(change, Changed)]
        told = to_tell(tx, changed, self._rules.wanted)
        shown = [
            Shown(
                snapshot=change.snapshot,
                shape=shape,
                digest=digest_of.get(change.snapshot.alert.id),
                contents=self._to_keep(change, told, round_),
                recheck=self._recheck(change, round_),
            )
            for change in changes
        ]
        if changes and round_.open_links is None:
            round_.open_links = tx.links.open_count()
        tx.alerts.save(shown, now=tx.now, sweep=read.sweep(round_))
        self._refused.taken(tx, [change.snapshot.alert.id for change in changes])
        appeared = [change.snapshot.alert for change in changes if isinstance(change, Appeared)]
        fresh = [alert.id for alert in appeared if not self._idle(alert, round_)]
        held = self._held([*fresh, *to_wake(told.values())], round_)
        self._join(tx, appeared, held, round_)
        put_changed(tx, told.values(), held=held)
        # A closing that is parked is tried once more, just as a delivery is.
        tx.closes.wake([*fresh, *told])
        missed = [alert for alert in appeared if alert.id in round_.missed]
        tx.audit.note_all("kuma", [("missed", alert.id, alert.closing_reason) for alert in missed])
        read.missed += len(missed)
        read.appeared += len(appeared) - len(missed)
        read.note_oldest(appeared)
        read.late += sum(alert.id in round_.late for alert in appeared)
        read.changed += sum(alert_id not in round_.unread for alert_id in told)

    def _held(self, creates: Sequence[AlertId], round_: Round) -> Collection[AlertId]:
        """Count these creates of the round, and return which of them the brake holds."""
        plan = check(Plan(creates=creates), self._rules.brake, created_before=round_.created)
        round_.created += len(creates)
        round_.told.held_creates += len(plan.held_creates)
        return plan.held_creates

    def _join(self, tx: Tx, appeared: Sequence[Alert], held: Collection[AlertId], round_: Round) -> None:
        """Make the links of new alerts, and queue those whose contents are there."""
        links = [Link(alert_id=alert.id, state=self._born(alert, round_, held=alert.id in held)) for alert in appeared]
        tx.links.add(links, now=tx.now)
        ready = [link.alert_id for link in links if not (link.ignored or link.alert_id in round_.unread)]
        tx.delivery.put([Put(subject=alert_id, lane=Lane.CREATE) for alert_id in ready])

    def _born(self, alert: Alert, round_: Round, *, held: bool) -> State:
        # One that left the statuses asked for may be known no more, for it was pruned.
        doubtful = alert.id in round_.unseen or not self.swept.is_new(alert, round_.server_now)
        unknown = (self._rules.find_always or doubtful) and self._rules.can_find
        if self._idle(alert, round_):
            return Ignored(missed=alert.id in round_.missed, unknown=unknown)
        return Sought(doubt=Doubt.UNKNOWN, held=held) if unknown else NotMade(held=held)

    def _to_keep(self, change: Appeared | Changed, told: Collection[AlertId], round_: Round) -> Contents | None:
        """Keep the contents of what will be delivered."""
        alert = change.snapshot.alert
        keep = alert.id in told if isinstance(change, Changed) else not self._idle(alert, round_)
        return change.seen.contents if keep else None

    def _idle(self, alert: Alert, round_: Round) -> bool:
        """Tell whether no incident is made of a new alert until it changes."""
        return self._old(alert) or alert.id in round_.missed

    def _old(self, alert: Alert) -> bool:
        limit = self._rules.ignore_before
        return limit is not None and alert.last_seen is not None and alert.last_seen < limit

    def _recheck(self, change: Appeared | Changed, round_: Round) -> bool:
        """Tell whether to look once more when lastSeen leaves the overlap: until then a listing may hide growth."""
        last_seen = change.snapshot.alert.last_seen
        if last_seen is None or change.snapshot.oversize or change.snapshot.alert.id in round_.missed | round_.left:
            return False
        unread = change.seen.contents is None
        return unread or round_.server_now is None or last_seen >= round_.server_now - self._rules.overlap


def _warn(changes: Sequence[Appeared | Changed], seen: dict[bytes, Parsed], round_: Round) -> None:
    left_out = {item.seen.alert.id: item.left_out for item in seen.values() if item.left_out}
    for change in changes:
        alert_id = change.snapshot.alert.id
        if alert_id in left_out:
            round_.told.left_out.add(alert_id, *left_out[alert_id])
