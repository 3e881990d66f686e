"""KUMA's listings: which alerts one page holds, in which order, and how they are written as JSON.

The parameters are those of KUMA help 222254 and 269916.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from kuma_sync.sim.knobs import KumaKnobs
from kuma_sync.sim.values import Json, SimError, milliseconds, moment

NUMBERS = {"low": 2, "medium": 6, "high": 10, "critical": 14}
"""One number inside each band of the internal scale (KUMA help 233888)."""

ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})
STATUSES = frozenset({"new", "assigned", "escalated", "closed"})
FIELDS = frozenset({"lastSeen", "firstSeen"})
NEVER = datetime.min.replace(tzinfo=UTC)


def shown_time(alert: Json, field: str, knobs: KumaKnobs) -> object:
    """Give firstSeen or lastSeen as written: with made-up milliseconds, always the same for one alert, where wanted."""
    stored = alert.get(field)
    if not knobs.fraction_seconds or not isinstance(stored, str) or not stored.endswith("Z") or "." in stored:
        return stored
    return f"{stored[:-1]}.{zlib.crc32(str(alert['id']).encode()) % 1000:03d}Z"


def dressed(alert: Json, knobs: KumaKnobs, *, with_events: bool, with_affected: bool) -> Json:
    """Give an alert as a client gets it. The stored one is not touched, and not copied deeper than needed."""
    item = dict(alert)
    item |= {field: shown_time(alert, field, knobs) for field in ("firstSeen", "lastSeen")}
    if knobs.numeric_priority:
        item["priority"] = NUMBERS.get(str(alert["priority"]), alert["priority"])
    if with_events:
        item["events"] = _events(alert["events"], knobs)
    elif knobs.without_events == "absent":
        del item["events"]
    else:
        item["events"] = None if knobs.without_events == "null" else []
    if not with_affected:
        item |= {"affectedAssets": [], "affectedAccounts": []}
    elif knobs.fqdn_array:
        item["affectedAssets"] = [{**asset, "fqdn": [asset.get("fqdn")]} for asset in alert["affectedAssets"]]
    return item


def _events(events: Any, knobs: KumaKnobs) -> Any:
    if not isinstance(events, list):
        return events
    listed = [part for event in events for part in (_flat(event) if knobs.flat_events else [event])]
    return [_with_text_time(event) for event in listed] if knobs.rfc3339_event_time else listed


def _flat(event: Any) -> list[Any]:
    if not isinstance(event, dict) or not isinstance(event.get("BaseEvents"), list):
        return [event]
    return [{**event, "BaseEvents": None}, *(part for base in event["BaseEvents"] for part in _flat(base))]


def _with_text_time(event: Any) -> Any:
    if not isinstance(event, dict):
        return event
    changed = dict(event)
    if isinstance(event.get("Timestamp"), int):
        changed["Timestamp"] = milliseconds(datetime.fromtimestamp(event["Timestamp"] / 1000, UTC))
    if isinstance(event.get("BaseEvents"), list):
        changed["BaseEvents"] = [_with_text_time(base) for base in event["BaseEvents"]]
    return changed


def encoded(value: object, knobs: KumaKnobs) -> bytes:
    """Write JSON as Go does: compact, UTF-8, integers in full."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (text.translate(ESCAPES) if knobs.html_escape else text).encode("utf-8", "surrogatepass")


async def array(
    items: Sequence[Json], write: Callable[[Json], bytes], head: Sequence[bytes], finish: Callable[[], None]
) -> AsyncIterator[bytes]:
    """Write a bare array, an alert a chunk, letting others run in between; `finish` is called before the last byte."""
    opening = b"["
    for ready in head:
        yield opening + ready
        opening = b","
    for item in items:
        yield opening + write(item)
        opening = b","
        await asyncio.sleep(0)
    finish()
    yield b"[]" if opening == b"[" else b"]"


async def squeezed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Compress a stream with gzip."""
    gzip = zlib.compressobj(wbits=31)
    async for chunk in chunks:
        if part := gzip.compress(chunk):
            yield part
    yield gzip.flush()


async def in_pieces(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Cut a stream into pieces of at most so many bytes, each sent by itself."""
    async for chunk in chunks:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]
            await asyncio.sleep(0)


class BadQuery(SimError):
    """Refuse a query in KUMA's words: `message`, and `details` where KUMA gives them."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Hold one listing's parameters, checked."""

    page: int
    ids: tuple[str, ...]
    tenants: frozenset[str]
    statuses: frozenset[str]
    name: re.Pattern[str] | None
    field: str
    since: datetime | None
    until: datetime | None
    with_events: bool
    with_affected: bool

    @classmethod
    def parse(cls, raw: str) -> Query:
        """Read a raw query string; a flag is on with any value. Raise BadQuery."""
        given = parse_qs(raw, keep_blank_values=True)
        statuses = frozenset(given.get("status", []))
        if statuses - STATUSES:
            raise BadQuery("invalid status")
        field = given.get("timestampField", ["lastSeen"])[-1]
        if field not in FIELDS:
            raise BadQuery("invalid timestamp field")
        since, until = _limit(given, "from"), _limit(given, "to")
        if since and until and since > until:
            raise BadQuery("from cannot be greater than to")
        return cls(
            page=_page(given.get("page", ["1"])[-1]),
            ids=tuple(given.get("id", [])),
            tenants=frozenset(given.get("tenantID", [])),
            statuses=statuses,
            name=_pattern(given.get("name", [""])[-1]),
            field=field,
            since=since,
            until=until,
            with_events="withEvents" in given,
            with_affected="withAffected" in given,
        )

    def cut(self, alerts: Mapping[str, Json], knobs: KumaKnobs) -> list[Json]:
        """Give one page of the alerts asked for: newest first by the chosen field, equal moments by id.

        Hidden alerts are left out after the cut, so a page may be short although others follow.
        """
        named = dict.fromkeys(self.ids)
        asked = [alerts[one] for one in named if one in alerts] if named else list(alerts.values())
        timed = [(shown_moment(alert, self.field, knobs), str(alert["id"]), alert) for alert in asked]
        found = [entry for entry in timed if self._wants(entry[2], entry[0], knobs)]
        found.sort(key=lambda entry: entry[1])
        found.sort(key=lambda entry: entry[0], reverse=True)
        start = 0 if knobs.clamp_page else (self.page - 1) * knobs.page_size
        cut = found[start : start + knobs.page_size]
        return [alert for _, id_, alert in cut if id_ not in knobs.hidden]

    def means(self, alert: Json) -> bool:
        """Tell whether the alert counts as shown: it is new, or the query names ids or statuses."""
        return bool(self.ids or self.statuses) or alert["status"] == "new"

    def _wants(self, alert: Json, when: datetime, knobs: KumaKnobs) -> bool:
        tenant, status = str(alert["tenantID"]), str(alert["status"])
        return (
            (knobs.tenants is None or tenant in knobs.tenants)
            and (not self.tenants or tenant in self.tenants)
            and (not self.statuses or status in self.statuses)
            and (self.name is None or self.name.search(str(alert["name"])) is not None)
            and (self.since is None or when >= self.since)
            and (self.until is None or when <= self.until)
        )


def shown_moment(alert: Json, field: str, knobs: KumaKnobs) -> datetime:
    """Tell the moment a client reads in an alert's field; unreadable ones are older than everything."""
    shown = shown_time(alert, field, knobs)
    return (moment(shown) if isinstance(shown, str) else None) or NEVER


def _page(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BadQuery("invalid query parameter value", "page")
    return int(text)


def _limit(given: dict[str, list[str]], name: str) -> datetime | None:
    text = given.get(name, [""])[-1]
    if not text:
        return None
    when = moment(text)
    if when is None:
        raise BadQuery(f"cannot parse {name}", text)
    return when


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.IGNORECASE) if text else None
    except re.error as error:
        raise BadQuery("invalid query parameter value", "name") from error
