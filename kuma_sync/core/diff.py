"""What is new, what changed, what left: seen against known, as values.

Must not: act on it, or judge whether it is plausible (that is plan).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kuma_sync.core.alert import Alert, AlertId, Picture, Seen, first_picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Appeared:
    """An alert never seen before."""

    seen: Seen
    picture: Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A known alert that differs from what we knew.

    `first_read`: only in contents that nobody had read before. The alert itself is as it was.
    """

    seen: Seen
    picture: Picture
    first_read: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A piece of KUMA's answer that is no alert: no object, or without a usable id. `raw` is kept as it came."""

    digest: str
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletePass:
    """A listing of everything, read to its end, with its number. Only this may conclude that something left."""

    sweep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialPass:
    """A listing that ended early; it proves nothing about what it did not show."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a complete pass did not show: links that KUMA still knows by id, and those it does not."""

    elsewhere: frozenset[AlertId]
    gone: frozenset[AlertId]


def diff(seen: Iterable[Seen], known: Mapping[AlertId, Picture]) -> list[Appeared | Changed]:
    """Compare a read with what was known. Within one read the later copy of an alert wins."""
    latest: dict[AlertId, Seen] = {item.alert.id: item for item in seen}
    changes: list[Appeared | Changed] = []
    for alert_id, item in latest.items():
        before = known.get(alert_id)
        if before is None:
            changes.append(Appeared(seen=item, picture=first_picture(item)))
            continue
        after = before.with_seen(item)
        if after.fingerprint != before.fingerprint:
            first_read = before.affected is None and before.same_scalars(item.alert)
            changes.append(Changed(seen=item, picture=after, first_read=first_read))
    return changes


def to_read(listed: Iterable[Alert], known: Mapping[AlertId, Picture]) -> list[AlertId]:
    """Return the alerts of a listing whose contents must be read: new ones, unread ones, those whose scalars differ.

    One above the size limit is not read again until its scalars differ; within the listing the later copy wins.
    """
    latest = {alert.id: alert for alert in listed}
    return [alert_id for alert_id, alert in latest.items() if _unread(known.get(alert_id), alert)]


def left(_proof: CompletePass, asked: Collection[AlertId], answered: Collection[AlertId]) -> Left:
    """Judge links that a complete pass did not show by whether KUMA answered to their ids."""
    known = frozenset(answered)
    return Left(elsewhere=frozenset(asked) & known, gone=frozenset(asked) - known)


def _unread(before: Picture | None, alert: Alert) -> bool:
    if before is None or not before.same_scalars(alert):
        return True
    return before.affected is None and not before.oversize
