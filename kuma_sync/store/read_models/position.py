"""A position in a sorted list, as an address may hold it: rows may come and go, it stays where it was."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime

from kuma_sync.core.moments import read_moment
from kuma_sync.core.text import fit

MOST_SEGMENTS = 100

Key = str | datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A row by what it is sorted by. `segment` is a part of the list that is sorted by itself.

    With neither key nor id it is the beginning of the segment.
    """

    segment: int
    key: Key
    id: str | None

    def written(self) -> str:
        """Return it as text for an address."""
        key = ["t", self.key.isoformat()] if isinstance(self.key, datetime) else ["s", self.key]
        return base64.urlsafe_b64encode(json.dumps([self.segment, *key, self.id]).encode()).decode().rstrip("=")


def read_position(text: str) -> Position | None:
    """Read a position; None for no text. Raise ValueError for what is none."""
    if not text:
        return None
    try:
        segment, kind, value, alert_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, RecursionError):
        raise ValueError("not a position in a list") from None
    key = read_moment(value) if kind == "t" else value
    numbered = isinstance(segment, int) and 0 <= segment < MOST_SEGMENTS
    if not numbered or not _stored(alert_id) or not (isinstance(key, datetime) or (kind == "s" and _stored(key))):
        raise ValueError("not a position in a list")
    return Position(segment=segment, key=key, id=alert_id)


def _stored(value: object) -> bool:
    """Tell whether a row may hold it."""
    return value is None or (isinstance(value, str) and fit(value) == value)
