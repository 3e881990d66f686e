"""The filters a template may use beside Jinja's own: `map`, `date`, `unique`, `json`.

Must not: know Jinja, or look anything up outside its arguments. A ValueError becomes the reason for a parked job.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DEFAULT_ENTRY = "*"

Maps = Mapping[str, Mapping[str, object]]


def value_map(maps: Maps) -> Callable[[object, str], object]:
    """Return the filter `map`: the entry of a value map, or its `*`."""

    def mapped(value: object, name: str) -> object:
        if name not in maps:
            raise ValueError(f"there is no [maps.{name}]")
        entries = maps[name]
        key = str(value).lower() if isinstance(value, bool) else str(value)
        if key not in entries and DEFAULT_ENTRY not in entries:
            raise ValueError(f'[maps.{name}] has neither "{key}" nor "{DEFAULT_ENTRY}"')
        return entries[key] if key in entries else entries[DEFAULT_ENTRY]

    return mapped


def date(value: object, format: str = "", tz: str = "UTC") -> str | None:
    """Write a time in another form and zone: RFC 3339 text, or an event's epoch milliseconds; nothing stays nothing."""
    if value is None or value == "":
        return None
    try:
        zone = ZoneInfo(tz)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f'there is no time zone "{tz}"') from None
    moment = _moment(value).astimezone(zone)
    return moment.strftime(format) if format else moment.isoformat().replace("+00:00", "Z")


def unique(values: Iterable[object]) -> list[object]:
    """Keep the first of equal values, in order; unlike Jinja's own it tells upper case from lower."""
    kept: dict[str, object] = {}
    for value in values:
        kept.setdefault(to_json(value), value)
    return list(kept.values())


def to_json(value: object) -> str:
    """Write a value as JSON text, for fields that hold JSON inside a string."""
    return json.dumps(value, ensure_ascii=False)


def _moment(value: object) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
    moment = datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
