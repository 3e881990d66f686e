"""Times as text, and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime.min.replace(tzinfo=UTC)

_SECONDS = (10**8, 10**10)
"""Epoch seconds between 1973 and 2286. The same span in milliseconds, microseconds and nanoseconds begins a thousand
times higher each, so that a number tells its unit."""

_COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,9})?", re.ASCII)
_SLASH_DATE = re.compile(r"/Date\((\d{1,20})(?:[+-]\d{4})?\)/", re.ASCII)  # older .NET: milliseconds in UTC
_WRITTEN = re.compile(
    r"""(?:(?P<year>\d{4})(?P<sign>[-./])(?P<month>\d\d?)(?P=sign)(?P<day>\d\d?)   # slashes: the year comes first, or
       |(?P<day_>\d\d?)\.(?P<month_>\d\d?)\.(?P<year_>\d{4}))                     # nobody knows which is the month
       (?:[T\s.,_]+(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d*))?)?
       \s*(?:Z|UTC|GMT|(?P<zone>[+-]\d\d(?::?\d\d)?)(?:\s+\(?[A-Z]{2,5}\)?)?)?(?:\[[\w/+-]+\])?)?""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_BY_NAME = re.compile(
    r"(?:[a-z]{3},? )?(?:\d\d? [a-z]{3}|[a-z]{3} +\d\d?) [\d: ]+(?: [+-]\d{4}| GMT| UTC)?", re.IGNORECASE
)


def read_moment(value: object) -> datetime | None:
    """Read ISO 8601 text, UTC where it names no offset.

    None for what is no such text, and for what lies before 1970: no alert and no incident is that old, but Go's
    never-set time is the year 1, where arithmetic ends.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment >= EPOCH else None


def read_any_moment(value: object) -> datetime | None:
    """Read a time in whatever form servers write it; UTC where it names no zone, None for what could mean two times.

    ISO 8601 and its relatives (a blank for the T, `+0300`, a comma or nothing after the point), `28.11.2026 10:00`,
    `Sat, 28 Nov 2026 10:00:00 +0300`, `/Date(…)/`, and epoch seconds, milliseconds, microseconds or nanoseconds as a
    number or as text.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return _of_compact(text) if len(text) in _COMPACT else _of_number(float(text))
    if (slashed := _SLASH_DATE.fullmatch(text)) is not None:
        return _of_number(float(slashed[1]))
    return read_moment(text) or _of_written(text) or _of_names(text)


def form_of(value: object) -> str:
    """Describe how a value is written without telling what it says: digits as 9, letters as A, at most 40 signs."""
    if value is None:
        return "nothing"
    if not isinstance(value, str | int | float):
        return type(value).__name__
    return "".join("9" if sign.isdigit() else "A" if sign.isalpha() else sign for sign in str(value)[:40])


def rfc3339(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with Z; fractions only where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment(when: datetime) -> str:
    """Write a time in UTC, to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def span(seconds: float) -> str:
    """Write a length of time in its largest sensible unit."""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def since(now: datetime) -> Callable[[datetime | None], str]:
    """Return a writer of a time's distance from `now`, such as "5 min ago"."""

    def written(when: datetime | None) -> str:
        if when is None:
            return "never"
        seconds = (now - when).total_seconds()
        return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"

    return written


def before(moment: datetime, by: timedelta) -> datetime:
    """Return the time that lies so long before, the earliest there is at most: a store may remember the year 1."""
    return moment - min(by, moment - _EARLIEST)


def _of_number(number: float) -> datetime | None:
    low, high = _SECONDS
    for unit in (1, 10**3, 10**6, 10**9):
        if low * unit <= number < high * unit:
            return EPOCH + timedelta(seconds=number / unit)
    return None


def _of_compact(text: str) -> datetime | None:
    try:
        moment = datetime.strptime(text, _COMPACT[len(text)]).replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment if moment >= EPOCH else None


def _of_written(text: str) -> datetime | None:
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    year, month, day = (part[name] or part[f"{name}_"] for name in ("year", "month", "day"))
    hour, minute, second = (part[name] or "0" for name in ("hour", "minute", "second"))
    fraction = f".{part['fraction'][:6]}" if part["fraction"] else ""
    zone = part["zone"] or "+00:00"
    return read_moment(f"{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute:0>2}:{second:0>2}{fraction}{zone}")


def _of_names(text: str) -> datetime | None:
    if not _BY_NAME.fullmatch(text):
        return None
    try:
        return read_moment(parsedate_to_datetime(text).isoformat())
    except (ValueError, TypeError, OverflowError):
        return None
