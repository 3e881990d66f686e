"""How much one element may cost to parse: in bytes, in values, and in objects and lists.

A byte of JSON may become fifty bytes of objects, and a megabyte of empty objects takes longer to take in than twenty of
events. So what holds too many values is not parsed at all, just as what has too many bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

VALUES = 2_000_000
CONTAINERS = 250_000
"""What an element may always hold; a real alert of 32 MB has two thirds of the values, a tenth of the rest."""

_SOME_VALUES = 50_000
_SOME_CONTAINERS = 5_000
"""What takes a few milliseconds to parse and to digest."""

_AT_ONCE = 1000
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _signs(signs: bytes) -> re.Pattern[bytes]:
    """Return what matches up to so many of these signs outside of strings."""
    return re.compile(rb'(?:[^"%b]*+(?:%b[^"%b]*+)*+[%b]){%d}+' % (signs, _STRING, signs, signs, _AT_ONCE), re.S)


_COMMAS, _OPENING = _signs(b","), _signs(rb"{\[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most that an element may hold: bytes, values (commas between them), and objects and lists."""

    size: int
    values: int = VALUES
    containers: int = CONTAINERS

    def doubtful(self, raw: bytes) -> bool:
        """Tell whether an element may hold too many values: quickly, and counting what stands in texts as well."""
        # Counting takes as long as receiving: what is too short to hold so many is not counted.
        if len(raw) > self.values and raw.count(b",") > self.values:
            return True
        return len(raw) > 2 * self.containers and raw.count(b"{") + raw.count(b"[") > self.containers

    def crowded(self, raw: bytes) -> bool:
        """Tell whether an element holds too many values; it takes up to a fifth of a second for 32 MB."""
        return _more(_COMMAS, raw, self.values) or _more(_OPENING, raw, self.containers)


def bounds(max_alert_size: int) -> Bounds:
    """Return what an alert may hold where it may have so many bytes: a value for 16 of them, an object for 128."""
    return Bounds(
        size=max_alert_size,
        values=max(VALUES, max_alert_size // 16),
        containers=max(CONTAINERS, max_alert_size // 128),
    )


def takes_long(raw: bytes) -> bool:
    """Tell whether to parse an element takes longer than other work should have to wait."""
    if len(raw) > _SOME_VALUES and raw.count(b",") > _SOME_VALUES:
        return True
    return len(raw) > 2 * _SOME_CONTAINERS and raw.count(b"{") + raw.count(b"[") > _SOME_CONTAINERS


def _more(signs: re.Pattern[bytes], raw: bytes, most: int) -> bool:
    found = position = 0
    while found <= most and (reached := signs.match(raw, position)) is not None:
        found += _AT_ONCE
        position = reached.end()
    return found > most
