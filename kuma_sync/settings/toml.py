"""TOML, the limits of what we take as such, and what is odd about a text that is none.

Must not: know a key's meaning, or quote a value.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_LARGEST = 2**63
_TOO_LARGE = "holds a whole number of more than 64 bits"
_LONG = re.compile(r"\d[\d_]{4299,}")
"""Python refuses to read a number of more digits."""

_PLACE = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_HEADER = re.compile(r"\s*\[\[?\s*([^\]\n]+?)\s*\]")
_BARE = re.compile(r"[A-Za-z0-9_.-]+")
_LONG_TEXTS = ('"""', "'''")
_OTHER_WORDS = {
    "yes": "true",
    "on": "true",
    "no": "false",
    "off": "false",
    "none": '""',
    "null": '""',
    "nil": '""',
    "true": "true",
    "false": "false",
}
_QUOTES = "“”„‟«»‘’‚‛`"


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; a ValueError says in a few words where it is none, and what is odd there."""
    try:
        tree = tomllib.loads(text)
        large = next(_too_large(tree, ()), None)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(_told(text.replace("\r\n", "\n"), str(error))) from None
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except ValueError:
        place = _LONG.search(text)
        line = text.count("\n", 0, place.start()) + 1 if place else "unknown"
        raise ValueError(f"{_TOO_LARGE} at line {line}") from None
    if large is not None:
        raise ValueError(f"{_TOO_LARGE} at {'.'.join(large)}")
    return tree


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """Where a parser stopped: `before` and `after` are what its line holds on either side, `lines` those above it."""

    said: str
    before: str
    after: str
    lines: list[str]

    @property
    def line(self) -> str:
        return self.before + self.after

    @property
    def value(self) -> str:
        """Return what stands behind the first `=` of the line."""
        return self.line.partition("=")[2].strip()

    def key(self) -> str:
        """Return the nearest key at or above the spot, as it is written. Not what stands in a text of many lines."""
        above = [] if any(quotes in "\n".join(self.lines) for quotes in _LONG_TEXTS) else reversed(self.lines)
        for line in (self.line, *above):
            if found := _KEY.match(line):
                return found[1]
        return "a key"


def _told(text: str, said: str) -> str:
    place = _PLACE.search(said)
    lines = text.split("\n")
    if place and place[1]:
        number, column = int(place[1]), int(place[2])
    else:
        number = max((at for at, line in enumerate(lines, 1) if line.strip()), default=1)
        column = len(lines[number - 1]) + 1
    line = lines[min(number, len(lines)) - 1]
    spot = _Spot(said=said, before=line[: column - 1], after=line[column - 1 :], lines=lines[: number - 1])
    odd = _of_a_name(spot) or _of_a_sign(spot) or _of_a_value(spot) or _of_a_line(spot)
    return f"is not valid TOML at line {number}, column {column}{f': {odd}' if odd else ''}"


def _of_a_name(spot: _Spot) -> str:
    """Say which name is there twice."""
    header = _HEADER.match(spot.line)
    if header and re.search(r"Cannot (declare|overwrite|mutate)", spot.said):
        return f"the section [{header[1]}] is there twice"
    if re.search(r"Cannot (overwrite|mutate)|Cannot redefine|Duplicate inline table key", spot.said):
        return f"{spot.key()} is there twice, or is a value and a section at once"
    if "Invalid statement" in spot.said and spot.after[:1].isalpha():
        return "a name that has other letters than A-Z, a-z, 0-9, _ and - is written in quotation marks"
    return ""


def _of_a_sign(spot: _Spot) -> str:
    """Say which sign is no sign of TOML."""
    sign = spot.after[:1]
    if "Unescaped" in spot.said or "hex value" in spot.said or "scalar value" in spot.said:
        return "a backslash in \"…\" begins an escape; write the text in '…', or every backslash twice"
    if sign and sign in _QUOTES:
        return "this quotation mark is a typographic one; TOML knows \" and '"
    if sign and sign not in "\t\n" and (not sign.isascii() or not sign.isprintable()) and not sign.isalpha():
        name = unicodedata.name(sign, "a control character").lower()
        return f"the sign U+{ord(sign):04X} ({name}) does not belong here"
    return ""


def _of_a_value(spot: _Spot) -> str:
    """Say what is wrong with what follows a `=`."""
    if re.search(r"""Illegal character|Unterminated|Expected ["']['"]""", spot.said):
        return "the closing quotation mark is missing"
    if "Unclosed" in spot.said:
        return f"the closing {'}' if 'inline table' in spot.said else ']'} is missing, or a comma between two entries"
    if "Invalid date" in spot.said:
        return "this date or time does not exist"
    if "Invalid value" in spot.said:
        return _of_no_value(spot)
    if "Expected newline" in spot.said and "=" in spot.before:
        return _of_what_follows(spot)
    return ""


def _of_no_value(spot: _Spot) -> str:
    word = (_BARE.match(spot.after) or [""])[0].lower()
    if word in _OTHER_WORDS:
        return f"write {_OTHER_WORDS[word]}"
    there = spot.after.partition("#")[0].strip(" ,]}")
    return "text is written in quotation marks" if there else "the value is missing"


def _of_what_follows(spot: _Spot) -> str:
    if spot.value[:1] in {'"', "'"}:
        return 'something follows the closing quotation mark; inside "…" a quotation mark is written \\"'
    if spot.value[:1] in {"[", "{"} or spot.after.strip() in {",", ";"}:
        return "something follows the value"
    return 'what is no plain number is written in quotation marks, as in "30s" or "127.0.0.1:8484"'


def _of_a_line(spot: _Spot) -> str:
    """Say what is wrong with a line that is none of TOML's."""
    if spot.line.lstrip().startswith(("[", "]")):
        return "a section is written [name], with nothing behind it"
    if spot.line.lstrip().startswith((";", "//")):
        return "a comment begins with #"
    if spot.line.lstrip().startswith(("{", "---")) and not "".join(spot.lines).strip():
        return "this looks like JSON or YAML"
    if spot.after[:1] == ":":
        return "a key and its value are joined by =, not by a colon"
    if "Expected '='" in spot.said:
        return "a line is key = value; there is no = behind this key (a name with a space stands in quotation marks)"
    return ""


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
