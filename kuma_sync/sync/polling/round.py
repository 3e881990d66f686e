"""One round of reading: its settings, its reads and their counts, and the warnings to write when it ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from kuma_sync.core.alert import Alert, AlertId
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.plan import Brake
from kuma_sync.core.recording import ReadFacts, Recording
from kuma_sync.core.routing import Routing
from kuma_sync.core.window import Cursor, Query, ReadKind, ReadSchedule
from kuma_sync.kuma.client import Element, End, PageEnd
from kuma_sync.store import Leadership, PassRecord
from kuma_sync.sync.limits import Limits
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSettings:
    """The settings of a round: clock, schedule, brake, limits; and the metrics and health that it reports to.

    `to_irp` names the targets whose incidents are closed once their alerts are; `routing` chooses an alert's target.
    """

    clock: Callable[[], datetime]
    schedule: ReadSchedule
    brake: Brake
    to_irp: frozenset[str]
    routing: Routing
    limits: Limits
    metrics: Metrics
    health: Health


FIRST = 10
"""Alerts that a line names; the rest is counted."""


@dataclass(slots=True)
class Sample:
    """How many alerts something was found of, which were the first, and the first few different `words` about them."""

    count: int = 0
    alert_ids: list[str] = field(default_factory=list)
    words: set[str] = field(default_factory=set)

    def add(self, alert_id: str, *words: str) -> None:
        """Count one alert."""
        self.count += 1
        if len(self.alert_ids) < FIRST:
            self.alert_ids.append(alert_id)
        for word in words:
            if len(self.words) < FIRST:
                self.words.add(word)

    def __bool__(self) -> bool:
        """Tell whether there is something to say."""
        return self.count > 0


@dataclass(slots=True, kw_only=True)
class Warnings:
    """The warnings of a round, gathered until it ends."""

    gone: Sample = field(default_factory=Sample)
    left_out: Sample = field(default_factory=Sample)
    contents_unreadable: Sample = field(default_factory=Sample)
    status_unreadable: Sample = field(default_factory=Sample)
    held_creates: int = 0
    rejected: int = 0
    reasons: set[str] = field(default_factory=set)

    def reject(self, rejected: Sequence[Rejected]) -> None:
        """Count pieces of KUMA's answer that are no alerts."""
        self.rejected += len(rejected)
        for item in rejected:
            if len(self.reasons) < FIRST:
                self.reasons.add(item.reason)

    def log(self) -> None:
        """Write the lines."""
        if self.held_creates:
            log.error("brake_holds_creates", held=self.held_creates)
        if gone := self.gone:
            log.warning("alert_gone", count=gone.count, alert_ids=gone.alert_ids)
        if one := self.contents_unreadable:
            log.warning("contents_unreadable", count=one.count, alert_ids=one.alert_ids, reasons=sorted(one.words))
        if one := self.status_unreadable:
            log.warning("status_unreadable", count=one.count, alert_ids=one.alert_ids, reasons=sorted(one.words))
        if self.rejected:
            log.error("alerts_rejected", count=self.rejected, reasons=sorted(self.reasons))
        if one := self.left_out:
            log.warning("fields_left_out", count=one.count, alert_ids=one.alert_ids, fields=sorted(one.words))


CHUNK = 4 * 1024 * 1024
PORTION = 500
"""Bytes, and number, of the alerts that one transaction takes at most, a single larger alert aside."""

ENOUGH = 3 * 1024 * 1024
"""Bytes with which it does not wait for more: they would be held in memory meanwhile."""


@dataclass(slots=True)
class Chunk:
    """Elements of a read for one transaction: their bytes and digests."""

    elements: list[Element] = field(default_factory=list)
    size: int = 0

    def takes(self, element: Element) -> bool:
        """Tell whether one transaction takes this element, too."""
        return not self.elements or self.size + element.size <= CHUNK

    @property
    def full(self) -> bool:
        """Tell whether there is enough for one transaction."""
        return self.size >= ENOUGH or len(self.elements) >= PORTION

    def add(self, element: Element) -> None:
        """Take one element."""
        self.elements.append(element)
        self.size += element.size


@dataclass(slots=True, kw_only=True)
class Pass:
    """One read under way: what it showed, and its counts. `asked_again`: it failed, and another one took its place.

    `answered` are the ids that it showed when it asked for them. `wanted` are the alerts whose contents are to be
    read, as a listing showed them. `oldest` is the earliest lastSeen of the alerts that it showed for the first time.
    """

    query: Query
    started_at: datetime
    ended_at: datetime | None = None
    pages: int = 0
    bytes: int = 0
    seen: int = 0
    appeared: int = 0
    changed: int = 0
    left: int = 0
    rejected: int = 0
    late: int = 0
    missed: int = 0
    oldest: datetime | None = None
    end: End | None = None
    error: str = ""
    asked_again: bool = False
    answered: set[AlertId] = field(default_factory=set)
    wanted: dict[AlertId, Alert] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Tell whether it came to its end."""
        return self.end is not None and self.end.complete

    @property
    def of_any_status(self) -> bool:
        """Tell whether it also lists alerts in statuses that `kuma.statuses` does not name."""
        return self.query.kind is ReadKind.LATE

    def shows(self, ids: Iterable[AlertId]) -> None:
        """Note which alerts a read by id showed. A listing notes none: it may be very long."""
        if self.query.ids:
            self.answered |= set(ids)

    def learn(self, recording: Recording) -> None:
        """Count the recorded alerts, and note those whose contents are to be read."""
        first_shown = [*recording.new, *recording.missed]
        moments = [alert.last_seen for alert in first_shown if alert.last_seen is not None]
        self.oldest = min(moments if self.oldest is None else [self.oldest, *moments], default=None)
        self.appeared += len(recording.new)
        self.missed += len(recording.missed)
        self.changed += recording.updated
        self.late += recording.late
        self.wanted.update(recording.wanted)

    def found_before(self, moment: datetime) -> bool:
        """Tell whether it showed something for the first time that was last seen before that moment."""
        return self.rejected > 0 or (self.oldest is not None and self.oldest < moment)

    def sweep(self, round_: Round) -> int:
        """Return the number of the sweep under way that marks what this read shows; 0 where it marks nothing.

        What only the late listing shows may have left the statuses asked for: the sweep has to ask for it by id.
        """
        return 0 if self.of_any_status else round_.sweep

    def page(self, page: PageEnd) -> None:
        """Count a page."""
        self.pages += 1
        self.bytes += page.bytes
        self.end = page.end

    def finish(self, now: datetime, metrics: Metrics) -> None:
        """Note the end of the read, and count it."""
        self.ended_at = now
        result = "failed" if self.error else "complete" if self.complete else "incomplete"
        metrics.polls.labels(kind=self.query.kind.value, result=result).inc()
        metrics.poll_bytes.inc(self.bytes)

    def record(self) -> PassRecord:
        """Return the row to remember it by."""
        seconds = ((self.ended_at or self.started_at) - self.started_at).total_seconds()
        return PassRecord(
            kind=self.query.kind.value,
            started_at=self.started_at,
            seconds=max(seconds, 0.0),
            complete=self.complete,
            pages=self.pages,
            bytes=self.bytes,
            seen=self.seen,
            appeared=self.appeared,
            changed=self.changed,
            left=self.left,
            rejected=self.rejected,
            error=self.error,
        )


def answered_in(reads: Iterable[Pass]) -> set[AlertId]:
    """Return the ids that these reads showed to a question by id."""
    return set().union(*(read.answered for read in reads))


def wanted_in(reads: Iterable[Pass]) -> dict[AlertId, Alert]:
    """Return the alerts whose contents are to be read after these reads, as they were shown last."""
    return {alert_id: alert for read in reads for alert_id, alert in read.wanted.items()}


@dataclass(slots=True, kw_only=True)
class Round:
    """One poll with all its reads.

    `open_links` counts the links that were not closed before the round changed any; None while it has changed nothing.
    `sweep` is the number that a listing of everything gives to what it shows; 0 while nothing is swept. `creates`
    counts planned incidents. `unread` are new alerts that only a listing has shown. The contents of
    `oversize` alerts are too large to take; `unnamed` counts elements that are too large and show no id. `unreadable`
    alerts KUMA did not give by id, by kind of read; the contents of `refused` ones it refused for good. `stands`: the
    watermark stays where it is, for the late listing showed other alerts each time. `server_now` is KUMA's clock at the
    first page: what a later read saw must not move the watermark past what an earlier one had no chance to see.
    `began_at` is our clock when the round began. `to_irp` as in PollSettings: `open_links` counts the links of these.
    `leadership` is the reader's; a command that reads beside it gives the lease's name. `new_alone`: alerts that are
    known are left as they are.
    """

    leadership: Leadership | str
    cursor: Cursor
    began_at: datetime
    to_irp: frozenset[str]
    new_alone: bool = False
    open_links: int | None = None
    sweep: int = 0
    creates: int = 0
    newest: datetime | None = None
    server_now: datetime | None = None
    unread: set[AlertId] = field(default_factory=set)
    oversize: set[AlertId] = field(default_factory=set)
    unnamed: int = 0
    unreadable: defaultdict[ReadKind, set[AlertId]] = field(default_factory=lambda: defaultdict(set))
    refused: set[AlertId] = field(default_factory=set)
    stands: bool = False
    passes: list[Pass] = field(default_factory=list)
    warnings: Warnings = field(default_factory=Warnings)

    @property
    def now(self) -> datetime:
        """Return the time that the watermark is clamped to: KUMA's, or ours where it does not tell the time."""
        return self.server_now or self.began_at

    def leave_contents(self, large: Iterable[Element]) -> None:
        """Note the alerts whose contents are too large; a listing has to serve for them."""
        for element in large:
            hint = element.alert_id_hint()
            if hint is None:
                self.unnamed += 1
            else:
                self.oversize.add(AlertId(hint))

    def saw(self, last_seen: datetime | None) -> None:
        """Take note of the lastSeen of an alert that a read showed."""
        if last_seen is not None and (self.newest is None or last_seen > self.newest):
            self.newest = last_seen

    def facts(self, *, listing: bool, any_status: bool, swept_since: datetime | None) -> ReadFacts:
        """Return the facts for the decision about a chunk."""
        return ReadFacts(
            listing=listing,
            new_alone=self.new_alone,
            any_status=any_status,
            watermark=self.cursor.watermark,
            first_read=self.cursor.first_read,
            server_now=self.server_now,
            swept_since=swept_since,
            oversize=self.oversize,
            unread=self.unread,
            creates=self.creates,
        )

    def learn(self, recording: Recording, read: Pass) -> None:
        """Take over the results of a committed chunk of this read."""
        read.learn(recording)
        self.creates += recording.creates
        self.warnings.held_creates += len(recording.held)
        self.unread |= recording.unread

    @property
    def first_read_due(self) -> bool:
        """Tell whether a page was read, and when this store was first read is not known, or lies ahead of KUMA."""
        known, now = self.cursor.first_read, self.server_now
        return any(read.pages for read in self.passes) and (known is None or (now is not None and known > now))

    def tally(self, metrics: Metrics) -> None:
        """Add the results of the reads to the metrics."""
        for read in self.passes:
            metrics.alerts.labels(change="new").inc(read.appeared)
            metrics.alerts.labels(change="updated").inc(read.changed)
            metrics.alerts.labels(change="left").inc(read.left)
            metrics.alerts.labels(change="rejected").inc(read.rejected)
            metrics.alerts.labels(change="missed").inc(read.missed)
            metrics.late_alerts.inc(read.late)

    @property
    def incomplete(self) -> str:
        """Say which read did not reach its end; empty when all did.

        Contents that could not be had are no such read, nor is a status: they were asked for one by one then.
        """
        for read in self.passes:
            asked_singly = read.query.kind is ReadKind.STATUS and (read.error or len(read.query.ids) > 1)
            if not (read.complete or read.asked_again or asked_singly or read.query.kind is ReadKind.CONTENTS):
                return read.error or f"the {read.query.kind.value} read did not end: {read.end or 'no page'}"
        return ""
