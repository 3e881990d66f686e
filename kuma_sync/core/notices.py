"""What a human is told by `[notify]`: that something needs him, and that it is over; each once, and not when it flaps.

Nothing is queued: what is still to be told is the difference between what is seen and what was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum


class Event(StrEnum):
    """The kinds of trouble that are told. Receivers go by these names."""

    PAUSED = "paused"
    """A side refuses us, and is not asked any more."""

    STUCK = "stuck"
    """A side is out, or a part of this program fails."""

    PARKED = "parked"
    HELD = "held"
    NOBODY_ASKS = "nobody_asks"
    CONFIGURATION = "configuration_refused"
    STORE = "store_unavailable"
    CERTIFICATE = "certificate_expires"


class Severity(StrEnum):
    """How bad it is: alerts do not flow, somebody should look, or it is over."""

    CRITICAL = "critical"
    WARNING = "warning"
    OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A trouble that needs a human, or (`severity` ok) its end. `since` says when it began."""

    event: Event
    severity: Severity
    text: str
    target: str
    """A target's name, or `kuma`, `store`, `door`; "" where it is the whole program's."""
    since: datetime
    hint: str = ""
    """What to do about it; "" where the text says enough."""

    @property
    def key(self) -> Key:
        """Return what makes it the same trouble as another."""
        return self.event, self.target

    @property
    def words(self) -> str:
        """Return what a human is told."""
        told = f"over: {self.text}" if self.is_over else self.text
        return f"{told}; {self.hint}" if self.hint and not self.is_over else told

    @property
    def is_over(self) -> bool:
        """Tell whether it says that a trouble is over."""
        return self.severity is Severity.OK


Key = tuple[Event, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The last trouble of a kind that was told, its end if that was told, and how often it came lately."""

    notice: Notice
    over_at: datetime | None = None
    times: int = 1

    @property
    def lasts(self) -> bool:
        """Tell whether whoever was told of it thinks that it still lasts."""
        return self.over_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A trouble that was seen lately: as it was seen last, and when first and last."""

    notice: Notice
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a trouble must last before it is told, and how long it must be gone before it counts as over."""

    stuck: timedelta = timedelta(minutes=5)
    """An outage shorter than that ends by itself, mostly."""

    brief: timedelta = timedelta(minutes=1)
    """A refusal, or a store out of reach: one of them may be a matter of seconds."""

    calm: timedelta = timedelta(minutes=2)
    """Doubled each time the same trouble comes again."""

    longest_calm: timedelta = timedelta(hours=1)
    forgotten: timedelta = timedelta(hours=6)
    """A trouble that comes again later than that is a new one."""

    def before(self, event: Event) -> timedelta:
        """Return how long a trouble of this kind must last."""
        match event:
            case Event.STUCK:
                return self.stuck
            case Event.PAUSED | Event.STORE:
                return self.brief
            case _:
                return timedelta()

    def after(self, told: Told | None) -> timedelta:
        """Return how long a trouble must be gone."""
        times = told.times if told is not None else 1
        doubled: int = 2 ** min(times - 1, 20)
        return min(self.calm * doubled, self.longest_calm)


_NONE = Patience(stuck=timedelta(), brief=timedelta(), calm=timedelta())


def taken_up(lasting: Mapping[Key, Sighting], told: Mapping[Key, Told], *, now: datetime) -> dict[Key, Sighting]:
    """Return the troubles that last for whoever begins to tell: what was told by then counts as seen now."""
    earlier = {key: Sighting(notice=one.notice, first=now, last=now) for key, one in told.items() if one.lasts}
    return {**earlier, **lasting}


def sighted(
    before: Mapping[Key, Sighting],
    seen: Iterable[Notice],
    told: Mapping[Key, Told],
    *,
    now: datetime,
    patience: Patience,
) -> dict[Key, Sighting]:
    """Return the troubles that last: those seen now, and those that are not gone for long enough yet."""
    # The clock may have been set back.
    lasting = {key: replace(one, first=min(one.first, now), last=min(one.last, now)) for key, one in before.items()}
    for notice in seen:
        known = lasting.get(notice.key)
        since = min(notice.since, known.notice.since) if known else notice.since
        first = known.first if known else now
        lasting[notice.key] = Sighting(notice=replace(notice, since=since), first=first, last=now)
    return {
        key: one for key, one in lasting.items() if one.last == now or now - one.last < patience.after(told.get(key))
    }


def untold(
    lasting: Mapping[Key, Sighting], told: Mapping[Key, Told], *, now: datetime, patience: Patience
) -> list[Notice]:
    """Return what is to be told now: first what is over, then what began, the worst and oldest first."""
    ended = [replace(one.notice, severity=Severity.OK) for key, one in told.items() if one.lasts and key not in lasting]
    begun = [
        one.notice
        for key, one in lasting.items()
        if one.last == now
        and now - one.first >= patience.before(one.notice.event)
        and not (key in told and told[key].lasts)
    ]
    return ended + sorted(begun, key=lambda notice: (notice.severity is not Severity.CRITICAL, notice.since))


def of_a_pass(
    seen: Iterable[Notice], told: Mapping[Key, Told], *, judged: Callable[[Notice], bool], now: datetime
) -> list[Notice]:
    """Return what is to be told after a single pass: all that it met, for it takes no second look.

    A trouble that was told before is over only where the pass has `judged` that: it may not have asked that side.
    """
    lasting = {key: one.notice for key, one in told.items() if one.lasts and not judged(one.notice)}
    lasting |= {notice.key: notice for notice in seen}
    sightings = {key: Sighting(notice=notice, first=now, last=now) for key, notice in lasting.items()}
    return untold(sightings, told, now=now, patience=_NONE)


def after_telling(told: Mapping[Key, Told], notice: Notice, *, now: datetime, patience: Patience) -> Told:
    """Return what is remembered of a trouble once this was told."""
    known = told.get(notice.key)
    if notice.is_over:
        known = known or Told(notice=notice)
        return replace(known, over_at=now)
    again = known is not None and known.over_at is not None and now - known.over_at < patience.forgotten
    return Told(notice=notice, times=known.times + 1 if known is not None and again else 1)


def remembered(told: Mapping[Key, Told], *, now: datetime, patience: Patience) -> dict[Key, Told]:
    """Return what is still worth remembering: what lasts, and what came lately."""
    return {key: one for key, one in told.items() if one.over_at is None or now - one.over_at < patience.forgotten}
