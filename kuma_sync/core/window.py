"""Which part of KUMA's alerts to ask for, and how far we have come.

KUMA has no `updatedAt` (help 222254): a window over lastSeen finds growth, a listing of the whole set finds edits, and
what a complete listing no longer shows is asked for by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from kuma_sync.core.alert import AlertId
from kuma_sync.core.moments import before

IDS_PER_READ = 50
"""Ids in one by-id read, and how many alerts of one second are re-read with their events at every poll."""


class ReadKind(StrEnum):
    """The reads of KUMA, as they are named in metrics and in the record of passes."""

    FULL = "full"
    WINDOW = "window"
    LATE = "late"
    SWEEP = "sweep"
    CONTENTS = "contents"
    STATUS = "status"
    BACKFILL = "backfill"


# firstSeen does not move when an alert grows, so a sweep's pages stay put while they are read.
_DATED_BY = {
    ReadKind.WINDOW: "lastSeen",
    ReadKind.LATE: "lastSeen",
    ReadKind.SWEEP: "firstSeen",
    ReadKind.BACKFILL: "firstSeen",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One read: what it asks of `GET alerts/`. `since` and `until` are inclusive (KUMA help 222254).

    A backfill asks for the `statuses` that the operator names, or for all.
    """

    kind: ReadKind
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[AlertId, ...] = ()
    statuses: tuple[str, ...] = ()

    @property
    def with_events(self) -> bool:
        """Tell whether alerts come with their contents."""
        return self.kind in (ReadKind.FULL, ReadKind.WINDOW, ReadKind.CONTENTS)

    @property
    def dated_by(self) -> str | None:
        """Return the alert's time that `since` means and pages are ordered by; None leaves that to KUMA."""
        return _DATED_BY.get(self.kind)

    @property
    def any_status(self) -> bool:
        """Tell whether alerts of every status are asked for, not only those of `kuma.statuses`."""
        return self.kind in (ReadKind.LATE, ReadKind.BACKFILL) or bool(self.ids)

    @property
    def may_end_short(self) -> bool:
        """Tell whether a page that is not empty may be the last one: what is missing there means nothing."""
        return self.kind in (ReadKind.WINDOW, ReadKind.LATE)

    @property
    def lists_everything(self) -> bool:
        """Tell whether, read to its end, it shows the whole set asked for."""
        return self.kind in (ReadKind.FULL, ReadKind.SWEEP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far the store has come. `sweep` numbers the complete sweeps.

    `first_read` is when its first read began, by KUMA's clock; None as long as KUMA has answered none.
    """

    watermark: datetime | None = None
    sweep: int = 0
    swept_at: datetime | None = None
    first_read: datetime | None = None
    born_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSchedule:
    """The settings that decide which reads are due."""

    full_only: bool
    overlap: timedelta
    sweep_interval: timedelta


def next_reads(cursor: Cursor, now: datetime, schedule: ReadSchedule, *, tied: int, sweep_now: bool) -> list[Query]:
    """Return the reads of one round, in order.

    `tied` counts the known alerts that share the watermark's second: too many of them and the window would re-read
    them all at every poll, so the listing shows them instead. `sweep_now` asks for a sweep whatever the clock says.
    """
    since = late_since(cursor, schedule.overlap)
    late = [] if since is None else [Query(kind=ReadKind.LATE, since=since)]
    if schedule.full_only or cursor.watermark is None:
        return [Query(kind=ReadKind.FULL), *late]
    reads = []
    if tied <= IDS_PER_READ:
        reads.append(Query(kind=ReadKind.WINDOW, since=cursor.watermark))
    reads += late
    if sweep_now or sweep_due(cursor, now, schedule.sweep_interval):
        reads.append(Query(kind=ReadKind.SWEEP))
    return reads


def late_since(cursor: Cursor, overlap: timedelta) -> datetime | None:
    """Return the earliest lastSeen that the late listing shows; alerts missed while the daemon was away are among them.

    As long as nothing was ever received, that is since the first read. None before that.
    """
    return cursor.first_read if cursor.watermark is None else before(cursor.watermark, overlap)


def sweep_due(cursor: Cursor, now: datetime, interval: timedelta) -> bool:
    """Tell whether the last complete sweep is too old, or lies in the future because the clock was set back."""
    return cursor.swept_at is None or not timedelta() <= now - cursor.swept_at < interval


def next_watermark(known: datetime | None, received: datetime | None, server_now: datetime | None) -> datetime | None:
    """Return the newest lastSeen received, clamped to KUMA's clock: an alert dated tomorrow must not hide today's."""
    newest = max((moment for moment in (known, received) if moment is not None), default=None)
    if newest is None or server_now is None:
        return newest
    return min(newest, server_now.replace(microsecond=0))


def leaves_late_listing(cursor: Cursor, mark: datetime | None, overlap: timedelta) -> datetime | None:
    """Return before when alerts are shown by no later late listing once the watermark stands at `mark`.

    None where whatever leaves was listed by earlier rounds already: those whose watermark lay within the overlap.
    """
    start = cursor.watermark or cursor.first_read
    if mark is None or start is None:
        return None
    horizon = before(mark, overlap)
    return horizon if horizon > start else None


def by_id(kind: ReadKind, ids: Sequence[AlertId]) -> list[Query]:
    """Return the by-id reads for these alerts, at most `IDS_PER_READ` each."""
    return [
        Query(kind=kind, ids=tuple(ids[start : start + IDS_PER_READ])) for start in range(0, len(ids), IDS_PER_READ)
    ]
