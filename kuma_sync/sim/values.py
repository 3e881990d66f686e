"""Values that both simulators use: JSON objects, clocks, RFC 3339 times, and the one error they raise."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

Json = dict[str, Any]
Clock = Callable[[], datetime]
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


class SimError(Exception):
    """One sentence about a mistake of the simulator's caller, or about something that is missing."""


def utc_now() -> datetime:
    """Tell the real time, aware, in UTC."""
    return datetime.now(UTC)


@lru_cache(maxsize=100_000)
def moment(text: str) -> datetime | None:
    """Parse strict RFC 3339 into UTC; None for anything else (a date alone, a missing offset, a space for a plus)."""
    if not RFC3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def whole_second(when: datetime) -> str:
    """Write a moment as KUMA does: UTC, whole seconds, `2024-02-16T17:47:08Z`."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def milliseconds(when: datetime) -> str:
    """Write a moment as the simulated IRP does: UTC, three decimals, `2024-02-16T17:47:08.250Z`."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_FORMS: dict[str, Callable[[datetime], object]] = {
    "": milliseconds,
    "seconds": lambda when: int(when.timestamp()),
    "seconds_text": lambda when: str(int(when.timestamp())),
    "milliseconds": lambda when: int(when.timestamp() * 1000),
    "milliseconds_text": lambda when: str(int(when.timestamp() * 1000)),
    "naive": lambda when: when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
    "points": lambda when: when.astimezone(UTC).strftime("%d.%m.%Y %H:%M:%S"),
    "slashes": lambda when: when.astimezone(UTC).strftime("%m/%d/%Y %I:%M %p"),
}


def written(when: datetime, form: str) -> object:
    """Write a moment in one of the forms that IRPs have."""
    return _FORMS[form](when)
