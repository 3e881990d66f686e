"""An alert of KUMA as values: its scalars, its contents, its last known state, and when two states count as equal."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NewType

from kuma_sync.core.moments import read_moment

AlertId = NewType("AlertId", str)
Fingerprint = NewType("Fingerprint", str)
"""A digest that changes when, and only when, something worth delivering changed; prefixed with its scheme's version."""

EventDigest = NewType("EventDigest", bytes)
"""16 bytes that stand for one event."""

JsonObject = Mapping[str, Any]

_SCHEME = "1:"
CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """The scalar fields of KUMA's public alert (KUMA help 222254, 269916); times are aware and UTC.

    A field that KUMA left out or sent malformed is empty, `None` or false.
    """

    id: AlertId
    tenant_id: str = ""
    tenant_name: str = ""
    name: str = ""
    rule_id: str = ""
    priority: str = ""
    status: str = ""
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    assignee: str = ""
    closing_reason: str = ""
    overflow: bool = False

    @property
    def closed(self) -> bool:
        """Tell whether KUMA calls this alert closed."""
        return self.status == CLOSED


@dataclass(frozen=True, kw_only=True)
class Contents:
    """An alert's events, assets and accounts, as KUMA sent them.

    `events` are those kept (the newest `max_events`), in KUMA's order; `event_ids` are those of all distinct events.
    `raw` is the alert itself as it came, without these three lists. No digest covers it: what only differs there is no
    change of the alert.
    """

    events: tuple[JsonObject, ...] = ()
    event_ids: frozenset[EventDigest] = frozenset()
    assets: tuple[JsonObject, ...] = ()
    accounts: tuple[JsonObject, ...] = ()
    raw: JsonObject = field(default_factory=dict)

    @cached_property
    def by_digest(self) -> dict[EventDigest, JsonObject]:
        """Return the kept events by their identity, in KUMA's order."""
        return {event_digest(event): event for event in self.events}

    @cached_property
    def affected(self) -> Fingerprint:
        """Digest assets and accounts; their order does not count."""
        return _digest([sorted(map(canonical_json, self.assets)), sorted(map(canonical_json, self.accounts))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One alert as a read showed it; `contents` is None for a listing, and for an alert above the size limit."""

    alert: Alert
    contents: Contents | None = None
    oversize: bool = False


@dataclass(frozen=True, kw_only=True)
class AlertSnapshot:
    """All we know of an alert: its scalars, every event id ever seen, and its assets and accounts as a digest.

    `affected` is None as long as the contents were never read. Events that KUMA no longer shows stay counted.
    """

    alert: Alert
    event_ids: frozenset[EventDigest] = frozenset()
    affected: Fingerprint | None = None
    oversize: bool = False

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Digest everything a change of which is worth an update; the order of events and assets does not count."""
        ids = hashlib.sha256(b"".join(sorted(self.event_ids))).hexdigest()
        return _digest([_scalars(self.alert), ids, self.affected, self.oversize])

    @property
    def contents_known(self) -> bool:
        """Tell whether the contents were read, and were not above the size limit at the last look."""
        return self.affected is not None and not self.oversize

    def with_seen(self, seen: Observation) -> AlertSnapshot:
        """Return the snapshot after a read: a listing leaves the contents as they were known."""
        if seen.contents is None or seen.oversize:
            return replace(self, alert=seen.alert, oversize=seen.oversize or self.oversize)
        return AlertSnapshot(
            alert=seen.alert,
            event_ids=self.event_ids | seen.contents.event_ids,
            affected=seen.contents.affected,
        )

    def same_scalars(self, alert: Alert) -> bool:
        """Tell whether a listing shows nothing new about this alert."""
        return self.alert == alert


def first_snapshot(seen: Observation) -> AlertSnapshot:
    """Return the snapshot of an alert never seen before."""
    return AlertSnapshot(alert=seen.alert).with_seen(seen)


def event_digest(event: JsonObject) -> EventDigest:
    """Return an event's identity: its `ID` (KUMA help 217941: it never changes), else a digest of the whole event."""
    identity = event.get("ID")
    named = isinstance(identity, str | int) and identity != "" and not isinstance(identity, bool)
    text = f"id:{identity}" if named else "json:" + canonical_json(event)
    return EventDigest(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16])


def take_contents(
    events: Iterable[JsonObject], *, assets: Sequence[JsonObject], accounts: Sequence[JsonObject], max_events: int
) -> Contents:
    """Keep the newest `max_events` distinct events by `Timestamp` (0 = all), in the order given; count the rest."""
    distinct: dict[EventDigest, JsonObject] = {}
    for event in events:
        distinct.setdefault(event_digest(event), event)
    kept = list(distinct.values())
    if max_events and len(kept) > max_events:
        newest = sorted(range(len(kept)), key=lambda i: (event_time(kept[i]), i))[-max_events:]
        kept = [kept[i] for i in sorted(newest)]
    return Contents(events=tuple(kept), event_ids=frozenset(distinct), assets=tuple(assets), accounts=tuple(accounts))


def event_time(event: JsonObject) -> float:
    """Return an event's `Timestamp` in epoch milliseconds; it comes as a number or RFC 3339 text, unknown is oldest."""
    value = event.get("Timestamp")
    if isinstance(value, str):
        moment = read_moment(value)
        return moment.timestamp() * 1000 if moment else 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:  # JSON knows integers that no float can hold
        return 0.0
    return number if math.isfinite(number) else 0.0  # NaN has no order, so it would make the choice arbitrary


def canonical_json(value: object) -> str:
    """Serialise to one unambiguous text: sorted keys, no spaces."""
    return _CANONICAL(value)


def _scalars(alert: Alert) -> dict[str, Any]:
    return {name: getattr(alert, name) for name in _NAMES}


def _digest(value: object) -> Fingerprint:
    text = canonical_json(value).encode("utf-8", "surrogatepass")
    return Fingerprint(_SCHEME + hashlib.sha256(text).hexdigest())


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"cannot be digested: {type(value).__name__}")


_NAMES = tuple(scalar.name for scalar in fields(Alert))
# One encoder: json.dumps makes a new one at every call.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_iso).encode
