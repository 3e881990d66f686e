"""Regular expressions from outside: one that would run for ever is recognised before it is used."""

from __future__ import annotations

import re._constants as signs  # type: ignore[import-not-found,unused-ignore]
import re._parser as parser  # type: ignore[import-not-found,unused-ignore]
from collections.abc import Iterator
from typing import Any

MANY = 16
"""A part repeated up to this often may be repeated again."""

MOST = 4
"""Parts that may be repeated without end, one after the other: each multiplies the time by the text's length."""

LONGEST = 500

_REPEATS = (signs.MAX_REPEAT, signs.MIN_REPEAT)


def runs_away(pattern: str) -> bool:
    """Tell whether a valid expression may take very long on a short text: repeats of repeats, or too many of them."""
    if len(pattern) > LONGEST:
        return True
    repeats = list(_unbounded(parser.parse(pattern), inside=False))
    return any(repeats) or len(repeats) > MOST


def _unbounded(parts: Any, *, inside: bool) -> Iterator[bool]:
    """Yield for each part that is repeated very often, and each choice in one, whether another such part holds it."""
    for sign, value in parts:
        many = sign in _REPEATS and value[1] > MANY
        if many or (inside and sign is signs.BRANCH):
            yield inside
        for nested in _nested(value):
            yield from _unbounded(nested, inside=inside or many)


def _nested(value: Any) -> Iterator[Any]:
    """Yield the expressions inside a part."""
    if isinstance(value, parser.SubPattern):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _nested(one)
