"""JSON from outside, made harmless: no number, depth or half character that would break a later step.

Must not: know what an alert is.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from pydantic_core import from_json

from kuma_sync.kuma.stream import BRACKET

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
