"""TOML, and the limits of what we take as such.

Must not: know a key, or quote what was written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

_LARGEST = 2**63
_TOO_LARGE = "holds a whole number of more than 64 bits"
_LONG = re.compile(r"\d[\d_]{4299,}")
"""Python refuses to read a number of more digits."""


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raise TOMLDecodeError as tomllib does, another ValueError for what is more than TOML promises."""
    try:
        tree = tomllib.loads(text)
        large = next(_too_large(tree, ()), None)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except ValueError:
        place = _LONG.search(text)
        line = text.count("\n", 0, place.start()) + 1 if place else "unknown"
        raise ValueError(f"{_TOO_LARGE} at line {line}") from None
    if large is not None:
        raise ValueError(f"{_TOO_LARGE} at {'.'.join(large)}")
    return tree


def _too_large(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    match value:
        case int() if not -_LARGEST <= value < _LARGEST:
            yield path
        case dict():
            for key, inner in value.items():
                yield from _too_large(inner, (*path, key))
        case list():
            for inner in value:
                yield from _too_large(inner, path)
