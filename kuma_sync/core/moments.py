"""Times as text, and back.

Must not: read the clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime.min.replace(tzinfo=UTC)


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


def rfc3339(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with Z; fractions only where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def before(moment: datetime, by: timedelta) -> datetime:
    """Return the time that lies so long before, the earliest there is at most: a store may remember the year 1."""
    return moment - min(by, moment - _EARLIEST)
