"""Records chunks of a read in the store: one transaction each, opened when the bytes are there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from kuma_sync.core.alert import AlertId, Observation
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.errors import ValueRefused
from kuma_sync.core.privacy import Privacy
from kuma_sync.core.recording import Known, Recording, RecordSettings, concerned, decide
from kuma_sync.kuma.client import Element
from kuma_sync.kuma.parse import Parsed, parse_in_turns
from kuma_sync.store import Lane, Put, Shape, Shown, Store, Tx
from kuma_sync.store.locks import lock
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.polling.enqueue import put_changed, put_unmade
from kuma_sync.sync.polling.round import Chunk, Pass, Round
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
    """Return the alerts by their digests. Of several copies of one alert, only the last one in `order` counts."""
    whose = {**unchanged, **{digest: item.seen.alert.id for digest, item in seen.items()}}
    latest = {whose[digest]: digest for digest in order if digest in whose}
    return {digest: item for digest, item in seen.items() if latest[item.seen.alert.id] == digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """The content of one transaction: alerts that may be new or changed, pieces that are no alerts, unchanged alerts.

    `digests` are of the bytes that each alert came in; an alert without one is looked at again when it comes next.
    `left_out` names the fields of each alert that could not be used. `contents_refused`: KUMA does not give the
    contents of these alerts, so none are wanted, and they are delivered without.
    """

    seen: Sequence[Observation] = ()
    digests: Mapping[AlertId, bytes] = field(default_factory=dict)
    left_out: Mapping[AlertId, Collection[str]] = field(default_factory=dict)
    rejected: Sequence[Rejected] = ()
    to_mark: Collection[AlertId] = ()
    contents_refused: bool = False

    def only(self, item: Observation) -> _Batch:
        """Return one of its alerts as a batch of its own."""
        key = item.alert.id
        digests = {key: self.digests[key]} if key in self.digests else {}
        return replace(self, seen=[item], digests=digests, rejected=(), to_mark=())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """The result of a transaction; the round learns it after the commit."""

    recording: Recording
    rejected: int
    first_read: datetime | None
    open_links: int | None


@dataclass(slots=True)
class Swept:
    """Since when this process knows every alert that KUMA shows. The store alone does not tell: it may be an old copy.

    `complete`: this process has completed a sweep of what it asks KUMA for. `since` is when it first read KUMA, by
    KUMA's clock; None where KUMA does not tell the time. A sweep alone proves little: while rows move, an alert may be
    on no page of it.
    """

    complete: bool = False
    since: datetime | None = None

    @property
    def proven_since(self) -> datetime | None:
        """Return `since`, once a sweep was complete."""
        return self.since if self.complete else None


def _nothing_else(_tx: Tx, _recording: Recording) -> None:
    return


class Recorder:
    """Writes chunks: `decide` says what becomes of the alerts, one transaction does it, then the round learns of it.

    What else belongs to such a transaction is done by `also`.
    """

    def __init__(  # noqa: PLR0913  one keyword an ingredient, given once, in the composition root
        self,
        *,
        store: Store,
        rules: RecordSettings,
        max_events: int,
        privacy: Privacy,
        swept: Swept,
        wake: Callable[[], None],
        also: Callable[[Tx, Recording], None] = _nothing_else,
    ) -> None:
        self._also = also
        self._store = store
        self._rules = rules
        self._max_events = max_events
        self._privacy = privacy
        self.wake = wake
        self._rejects = KnownRejects()
        self._left_alone = LeftAlone()
        self._refused = RefusedAlerts()
        self.swept = swept

    async def contents(self, chunk: Chunk, read: Pass, round_: Round) -> None:
        """Record elements that came with their contents."""
        await self._record(chunk, read, round_, Shape.CONTENTS)

    async def listing(self, chunk: Chunk, read: Pass, round_: Round) -> None:
        """Record elements of a listing; the contents of new and changed alerts are wanted."""
        await self._record(chunk, read, round_, Shape.LISTING)
        if read.of_any_status and read.complete:
            self._left_alone.listed()

    async def seen(self, items: Sequence[Observation], read: Pass, round_: Round) -> None:
        """Record alerts whose contents KUMA does not give; they are delivered without events."""
        await self._write_all(_Batch(seen=items, contents_refused=True), Shape.LISTING, read, round_)
        self.wake()

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
        parsed = {digest: await self._parsed(digests.pop(digest), shape) for digest in order if digest not in unchanged}
        seen = later_copies(order, unchanged, {key: item for key, item in parsed.items() if isinstance(item, Parsed)})
        no_alerts = [item for item in parsed.values() if isinstance(item, Rejected)]
        if shape is Shape.CONTENTS:
            round_.leave_contents(large)
        else:
            no_alerts += [too_large(element, self._privacy) for element in large]
            read.shows(AlertId(hint) for element in large if (hint := element.alert_id_hint()))
        read.seen += count
        for item in seen.values():
            round_.saw(item.seen.alert.last_seen)
        read.shows(known_ids | {item.seen.alert.id for item in seen.values()})
        batch = _Batch(
            seen=[item.seen for item in seen.values()],
            digests={item.seen.alert.id: digest for digest, item in seen.items()},
            left_out={item.seen.alert.id: item.left_out for item in seen.values() if item.left_out},
            rejected=self._rejects.fresh(no_alerts),
            to_mark=to_mark,
        )
        if seen or batch.rejected or to_mark or round_.first_read_due:
            await self._write_all(batch, shape, read, round_)
            self.wake()

    def _not_left_alone(self, digests: dict[bytes, Element], round_: Round) -> dict[bytes, Element]:
        left_alone = self._left_alone.among(digests)
        for last_seen in left_alone.values():
            round_.saw(last_seen)
        return {digest: element for digest, element in digests.items() if digest not in left_alone}

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

    async def _parsed(self, element: Element, shape: Shape) -> Parsed | Rejected:
        whole = shape is Shape.CONTENTS
        return await parse_in_turns(
            element.raw or b"", with_events=whole, max_events=self._max_events, privacy=self._privacy
        )

    async def _write_all(self, batch: _Batch, shape: Shape, read: Pass, round_: Round) -> None:
        """Write a batch; where the database refuses it as a whole, one alert after the other.

        An alert that it refuses is parked with the reason.
        """
        try:
            await self._write(batch, shape, read, round_)
        except ValueRefused:
            await self._write(_Batch(rejected=batch.rejected, to_mark=batch.to_mark), shape, read, round_)
            for item in batch.seen:
                await self._write_one(batch.only(item), shape, read, round_)
        self._rejects.note(batch.rejected)
        round_.warnings.reject(batch.rejected)

    async def _write_one(self, batch: _Batch, shape: Shape, read: Pass, round_: Round) -> None:
        """Write one alert, or park it where the database refuses it."""
        try:
            await self._write(batch, shape, read, round_)
        except ValueRefused as error:
            (item,) = batch.seen
            alert_id = item.alert.id
            await self._park(refused(alert_id, as_read(item), error), alert_id, read, round_)
            if alert_id in batch.digests:
                self._refused.note(alert_id, batch.digests[alert_id])

    async def _write(self, batch: _Batch, shape: Shape, read: Pass, round_: Round) -> None:
        facts = round_.facts(
            listing=shape is Shape.LISTING and not batch.contents_refused,
            any_status=read.of_any_status,
            swept_since=self.swept.proven_since,
        )

        def write(tx: Tx) -> _Written:
            lock(tx, leadership=round_.leadership)
            failpoint("leadership_assured")
            rejected = tx.rejects.park(batch.rejected)
            tx.alerts.mark_shown(batch.to_mark, read.sweep(round_))
            snapshots = tx.alerts.snapshots([item.alert.id for item in batch.seen])
            if not batch.contents_refused:  # those a listing showed, perhaps one that marks nothing
                tx.alerts.mark_shown(snapshots.keys(), read.sweep(round_))
            links = lock(tx, links=concerned(batch.seen, snapshots, facts.oversize)).links
            recording = decide(batch.seen, Known(snapshots=snapshots, links=links), self._rules, facts)
            # Counted before this round changes any.
            uncounted = recording.saved and round_.open_links is None
            open_links = tx.links.open_count(round_.to_irp) if uncounted else round_.open_links
            self._apply(tx, recording, batch.digests, shape, read.sweep(round_))
            if batch.contents_refused:
                put_unmade(tx, [item.alert.id for item in batch.seen])
            return _Written(
                recording=recording,
                rejected=rejected,
                first_read=_note_first_read(tx, round_),
                open_links=open_links,
            )

        self._learn(await self._store.write(write, long=True), batch, read, round_)

    def _learn(self, written: _Written, batch: _Batch, read: Pass, round_: Round) -> None:
        """Take over what was committed."""
        round_.learn(written.recording, read)
        round_.open_links = written.open_links
        round_.cursor = replace(round_.cursor, first_read=written.first_read)
        read.rejected += written.rejected
        for item in written.recording.saved:
            alert_id = item.snapshot.alert.id
            if alert_id in batch.left_out and not item.unread:
                round_.warnings.left_out.add(alert_id, *batch.left_out[alert_id])
        for one in batch.seen:
            if one.alert.id in written.recording.left_alone:
                self._left_alone.note(batch.digests[one.alert.id], one.alert.last_seen)

    def _apply(self, tx: Tx, recording: Recording, digests: Mapping[AlertId, bytes], shape: Shape, sweep: int) -> None:
        """Write the decisions about a chunk."""
        shown = [
            Shown(
                snapshot=item.snapshot,
                shape=shape,
                digest=None if item.unread else digests.get(item.snapshot.alert.id),
                contents=item.contents,
                recheck=item.recheck,
            )
            for item in recording.saved
        ]
        tx.alerts.save(shown, now=tx.now, sweep=sweep)
        ids = {item.snapshot.alert.id for item in recording.saved}
        self._refused.taken(tx, ids)
        tx.links.add(recording.links, now=tx.now)
        tx.delivery.put([Put(subject=link.alert_id, lane=Lane.CREATE, target=link.target) for link in recording.ready])
        tx.links.save_all(recording.routed, now=tx.now)
        put_changed(tx, recording.changed, held=recording.held)
        # A closing that is parked is tried once more, just as a delivery is.
        fresh = [link.alert_id for link in recording.links if not link.ignored]
        tx.closes.wake([*fresh, *(link.alert_id for link in recording.changed)])
        tx.audit.note_all("kuma", [("missed", alert.id, alert.closing_reason) for alert in recording.missed])
        done = ids | recording.wanted.keys() | recording.left_alone
        tx.alerts.note_digests(shape, {key: digest for key, digest in digests.items() if key not in done})
        self._also(tx, recording)

    async def _park(self, rejected: Rejected, alert_id: AlertId, read: Pass, round_: Round) -> None:
        def park(tx: Tx) -> int:
            lock(tx, leadership=round_.leadership)
            fresh = tx.rejects.park([rejected])
            tx.alerts.mark_shown([alert_id], read.sweep(round_))
            return fresh

        read.rejected += await self._store.write(park)
        self._rejects.note([rejected])
        round_.warnings.reject([rejected])


def _note_first_read(tx: Tx, round_: Round) -> datetime | None:
    """Return when this store was first read; note it if that is now, or if it turned out to lie ahead."""
    if not round_.first_read_due:
        return round_.cursor.first_read
    # Without KUMA's clock, what it showed last errs towards an incident too many.
    moment = round_.server_now or min(round_.newest or tx.now, tx.now)
    tx.cursor.move(first_read_at=moment)
    return moment
