"""JSON read although it is not as it should be, and how much one element may cost to parse.

A byte of JSON may become fifty bytes of objects, and a megabyte of empty objects takes longer to take in than twenty of
events. So what holds too many values is not parsed at all, just as what has too many bytes.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from kuma_sync.kuma.array_splitter import BRACKET

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


_LONGEST_NUMBER = 300
"""Digits; beyond it a number fits no float, and Python refuses to print it from 4,300 on."""
_DEEPEST = 64
"""Levels of nesting; events have a handful, and deeper values would break recursive code further on."""
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_RUN = b"0" * _LONGEST_NUMBER
_LOOKED_AT = frozenset({dict, list, float})
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def load(raw: bytes, left_out: list[str]) -> object:
    """Parse JSON, making of it what every later step can carry; raise ValueError where it is none.

    What had to be replaced (by null or U+FFFD) is named in `left_out`.
    """
    # pydantic's parser is twice as fast as the standard library's, and stricter: what it takes has no half characters.
    try:
        value: object = from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return _load_carefully(raw, left_out)
    # Long numbers are seen in the bytes, ten times as fast as among the values; a text that looks like one is no harm.
    odd = _LONG_RUN in raw.translate(_DIGITS_AS_ZERO) or _odd(value)
    return _load_carefully(raw, left_out) if odd else value


def _odd(value: object) -> bool:
    """Tell whether a number is infinite, or a value too deep."""
    found: list[Any] = [value] if type(value) in _LOOKED_AT else []
    for _ in range(_DEEPEST + 1):
        nodes = [child for child in found if type(child) is not float]
        if not all(math.isfinite(child) for child in found if type(child) is float):
            return True
        if not nodes:
            return False
        inside = (node.values() if type(node) is dict else node for node in nodes)
        found = [child for each in inside for child in each if type(child) in _LOOKED_AT]
    return True


def _load_carefully(raw: bytes, left_out: list[str]) -> object:

    def dropped(_text: str) -> int | None:
        left_out.append("a number")
        return None

    def integer(text: str) -> int | None:
        return int(text) if len(text) <= _LONGEST_NUMBER else dropped(text)

    def real(text: str) -> float | None:
        number = float(text)
        return number if math.isfinite(number) else dropped(text)

    def parse(data: bytes) -> object:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            left_out.append("broken UTF-8")
            text = data.decode(errors="replace")
        return json.loads(text, strict=False, parse_int=integer, parse_float=real, parse_constant=dropped)

    try:
        value = parse(raw)
        deep = _too_deep(value)
    except RecursionError:
        deep = True
    if deep:
        left_out[:] = ["deeper values"]
        value = parse(_pruned(raw))
    return _without_surrogates(value, left_out) if _SURROGATE_ESCAPE.search(raw) else value


def _too_deep(value: object) -> bool:
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(_DEEPEST):
        children = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for each in children for child in each if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _pruned(raw: bytes) -> bytes:
    """Replace by null whatever is nested deeper than `_DEEPEST`."""
    kept, copied, depth, position = bytearray(), 0, 0, 0
    while (reached := BRACKET.match(raw, position)) is not None:
        at = reached.end()
        position = at + 1
        if raw[at] in b"{[":
            depth += 1
            if depth == _DEEPEST + 1:
                kept += raw[copied:at] + b"null"
        elif raw[at] in b"}]":
            if depth == _DEEPEST + 1:
                copied = position
            depth -= 1
        else:
            raise ValueError("a string without an end")
    return bytes(kept + raw[copied:])


def _without_surrogates(value: object, left_out: list[str]) -> object:
    """Replace halves of surrogate pairs, which no UTF-8 text (a database, a request) can carry."""
    text, count = _SURROGATE.subn("\ufffd", json.dumps(value, ensure_ascii=False))
    left_out.extend(["half a character"] * bool(count))
    return json.loads(text)
