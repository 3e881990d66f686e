"""How alerts are written on KUMA's wire: keys and forms, one alert at a time. Choosing them lies in kuma_query."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from kuma_sync.sim.knobs import KumaKnobs
from kuma_sync.sim.values import Json, milliseconds

NUMBERS = {"low": 2, "medium": 6, "high": 10, "critical": 14}
"""One number inside each band of the internal scale (KUMA help 233888)."""
ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


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
