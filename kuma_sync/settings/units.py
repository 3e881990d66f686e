"""Values with units, as operators write them: durations, sizes, moments; and back again.

Must not: know which key a value belongs to. Errors are ValueErrors that say what is expected.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_SECONDS = {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d{1,15})\s*(B|KB|MB|GB|)", re.IGNORECASE)
_BYTES = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_LONGEST = 36500 * 86400


def duration(value: Any) -> timedelta:
    """Read `"500ms" "30s" "10m" "2h" "90d"` or a number of seconds."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(_number_or_text(value).strip())
    if not match:
        raise ValueError('expected a duration such as "500ms", "30s", "10m", "2h" or "90d", or a number of seconds')
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST:
        raise ValueError("expected a duration of at most 100 years")
    return timedelta(seconds=seconds)


def size(value: Any) -> int:
    """Read `"512KB" "32MB" "1GB"` (1 KB is 1024 bytes) or a number of bytes."""
    match = _SIZE.fullmatch(_number_or_text(value).strip())
    if not match:
        raise ValueError('expected a size such as "512KB" or "32MB", or a number of bytes')
    return int(match[1]) * _BYTES[match[2].upper()]


def moment(value: Any) -> datetime | None:
    """Read an RFC 3339 time with its offset (or TOML's own), as UTC; `""` is None."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and _RFC_3339.fullmatch(value.strip()):
        value = _datetime(value.strip())
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError('expected a time with its offset, such as "2026-01-31T00:00:00Z"')
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time that lies between the years 1 and 9999 in UTC too") from None


def show_duration(value: timedelta) -> str:
    """Write a duration in the largest unit that keeps it whole."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit, factor in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def show_size(value: int) -> str:
    """Write a size in the largest unit that keeps it whole."""
    for unit in ("GB", "MB", "KB"):
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]}{unit}"
    return f"{value}B"


def _number_or_text(value: Any) -> str:
    """Return what the patterns read; a boolean is a number for Python, not for us."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "?"
    return value if isinstance(value, str) else f"{value:f}".rstrip("0").rstrip(".") if value else "0"


def _datetime(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None
