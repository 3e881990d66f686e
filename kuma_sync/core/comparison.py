"""Which alerts are new, changed or gone; and what is done with an alert that was first read after its status changed.

An analyst may take an alert, or close it, before any read showed it. Only the late listing, which asks for every
status, shows such an alert.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto

from kuma_sync.core.alert import Alert, AlertId, AlertSnapshot, Observation, first_snapshot
from kuma_sync.core.privacy import Privacy


@dataclass(frozen=True, slots=True, kw_only=True)
class Appeared:
    """An alert never seen before."""

    seen: Observation
    snapshot: AlertSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A known alert that differs from its last known state.

    `first_read`: only in contents that nobody had read before. The alert itself is as it was.
    """

    seen: Observation
    snapshot: AlertSnapshot
    first_read: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A piece of KUMA's answer that is no alert: no object, or without a usable id. `raw` is kept as it came, as far as
    privacy allows."""

    digest: str
    reason: str
    raw: bytes

    @classmethod
    def piece(cls, digest: str, reason: str, raw: bytes, privacy: Privacy) -> Rejected:
        """Return a piece as it may be kept."""
        kept = privacy.hidden_piece(raw)
        lost = "; not kept, for [privacy] cannot be applied to it" if raw and not kept else ""
        return cls(digest=digest, reason=reason + lost, raw=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletePass:
    """A listing of everything, read to its end, with its number. Only this may conclude that something left."""

    sweep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The links that a complete pass did not show: those whose alerts KUMA still knows by id, and the others."""

    elsewhere: frozenset[AlertId]
    gone: frozenset[AlertId]


def diff(seen: Iterable[Observation], known: Mapping[AlertId, AlertSnapshot]) -> list[Appeared | Changed]:
    """Compare a read with what was known. Within one read the later copy of an alert wins."""
    latest: dict[AlertId, Observation] = {item.alert.id: item for item in seen}
    changes: list[Appeared | Changed] = []
    for alert_id, item in latest.items():
        before = known.get(alert_id)
        if before is None:
            changes.append(Appeared(seen=item, snapshot=first_snapshot(item)))
            continue
        after = before.with_seen(item)
        if after.fingerprint != before.fingerprint:
            first_read = before.affected is None and before.same_scalars(item.alert)
            changes.append(Changed(seen=item, snapshot=after, first_read=first_read))
    return changes


def to_read(listed: Iterable[Alert], known: Mapping[AlertId, AlertSnapshot]) -> list[AlertId]:
    """Return the alerts of a listing whose contents must be read: new ones, unread ones, those whose scalars differ.

    One above the size limit is not read again until its scalars differ; within the listing the later copy wins.
    """
    latest = {alert.id: alert for alert in listed}
    return [alert_id for alert_id, alert in latest.items() if _unread(known.get(alert_id), alert)]


def left(_proof: CompletePass, asked: Collection[AlertId], answered: Collection[AlertId]) -> Left:
    """Judge links that a complete pass did not show by whether KUMA answered to their ids."""
    known = frozenset(answered)
    return Left(elsewhere=frozenset(asked) & known, gone=frozenset(asked) - known)


def _unread(before: AlertSnapshot | None, alert: Alert) -> bool:
    if before is None or not before.same_scalars(alert):
        return True
    return before.affected is None and not before.oversize


NEW = "new"


class Unseen(StrEnum):
    """Which alerts that left the statuses asked for before they were ever read become incidents (`poll.unseen`)."""

    OPEN = "open"  # those that are not closed by now
    ALL = "all"
    NONE = "none"


class Fate(Enum):
    """What is done with an alert that was never seen before."""

    TAKEN = auto()  # an incident is made of it
    MISSED = auto()  # it is recorded, and no incident is made
    LEFT_ALONE = auto()  # it was there before this store's first read, and its status is not asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which alerts incidents are wanted for: the statuses asked for, and what is done about alerts that left them."""

    statuses: frozenset[str]
    unseen: Unseen = Unseen.OPEN

    def wants(self, alert: Alert) -> bool:
        """Tell whether an incident may be made of an alert that stands like this."""
        if alert.status in self.statuses or self.unseen is Unseen.ALL:
            return True
        return self.unseen is Unseen.OPEN and not alert.closed

    def fate(self, alert: Alert, first_read: datetime | None) -> Fate:
        """Judge an alert never seen before; `first_read` is when this store's first read began, by KUMA's clock.

        Every alert begins as new. Where new ones are not asked for, nobody can tell whether this one ever had a status
        that is: it is left alone. So is one that was there before the first read. One of the same second is taken.
        """
        if alert.status in self.statuses:
            return Fate.TAKEN
        appeared = alert.first_seen or alert.last_seen
        before = first_read is None or (appeared is not None and appeared < first_read)
        if before or NEW not in self.statuses:
            return Fate.LEFT_ALONE
        return Fate.TAKEN if self.wants(alert) else Fate.MISSED
