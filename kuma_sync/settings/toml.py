"""Parse TOML within our limits, and explain a text that is no TOML."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from typing import Any

_LARGEST = 2**63
_TOO_LARGE = "holds a whole number of more than 64 bits"
_LONG = re.compile(r"\d[\d_]{4299,}")
"""Python refuses to read a number of more digits."""

_PLACE = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_LONG_TEXTS = ('"""', "'''")

_ODD = (
    # Names
    (r"Cannot (?:declare|overwrite|mutate)", r"^\s*\[\[?\s*([^\]\n]+?)\s*\]", "the section [{0}] is there twice"),
    (
        r"Cannot (?:overwrite|mutate|redefine)|Duplicate inline table key",
        "",
        "{key} is there twice, or is a value and a section at once",
    ),
    (
        "Invalid statement",
        r"\0[^\W\d_]",
        "a name that has other letters than A-Z, a-z, 0-9, _ and - is written in quotation marks",
    ),
    # Signs
    (
        "Unescaped|hex value|scalar value",
        "",
        "a backslash in \"…\" begins an escape; write the text in '…', or every backslash twice",
    ),
    ("", "\0[“”„‟«»‘’‚‛`]", "this quotation mark is a typographic one; TOML knows \" and '"),
    ("", r"\0(?![^\W\d_])[^\x20-\x7e\t\n]", "the sign {sign} does not belong here"),
    # Values
    (r"""Illegal character|Unterminated|Expected ["']['"]""", "", "the closing quotation mark is missing"),
    ("Unclosed inline table", "", "the closing }} is missing, or a comma between two entries"),
    ("Unclosed", "", "the closing ] is missing, or a comma between two entries"),
    ("Invalid date", "", "this date or time does not exist"),
    ("Invalid value", r"(?i)\0(?:yes|on|true)(?![\w.-])", "write true"),
    ("Invalid value", r"(?i)\0(?:no|off|false)(?![\w.-])", "write false"),
    ("Invalid value", r"(?i)\0(?:none|null|nil)(?![\w.-])", 'write ""'),
    ("Invalid value", r"\0[ ,\]}]*(?:#|$)", "the value is missing"),
    ("Invalid value", "", "text is written in quotation marks"),
    (
        "Expected newline",
        r"""^[^=\0]*=\s*["'].*\0""",
        'something follows the closing quotation mark; inside "…" a quotation mark is written \\"',
    ),
    ("Expected newline", r"^[^=\0]*=\s*[\[{].*\0|=.*\0\s*[,;]\s*$", "something follows the value"),
    (
        "Expected newline",
        r"=.*\0",
        'what is no plain number is written in quotation marks, as in "30s" or "127.0.0.1:8484"',
    ),
    # Lines
    ("", r"^\s*[\[\]]", "a section is written [name], with nothing behind it"),
    ("", r"^\s*(?:;|//)", "a comment begins with #"),
    ("^At the top", r"^\s*(?:\{|---)", "this looks like JSON or YAML"),
    ("", r"\0:", "a key and its value are joined by =, not by a colon"),
    (
        "Expected '='",
        "",
        "a line is key = value; there is no = behind this key (a name with a space stands in quotation marks)",
    ),
)
"""(parser's message, text there with NUL where the parser stopped, our explanation); the first that fits counts."""


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; raise ValueError with the place and the mistake in a few words."""
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


def _told(text: str, said: str) -> str:
    """Return the place and the mistake in a few words."""
    place = _PLACE.search(said)
    lines = text.split("\n")
    if place and place[1]:
        number, column = int(place[1]), int(place[2])
    else:
        number = max((at for at, line in enumerate(lines, 1) if line.strip()), default=1)
        column = len(lines[number - 1]) + 1
    above, line = lines[: number - 1], lines[min(number, len(lines)) - 1]
    odd = _odd(said if "".join(above).strip() else f"At the top: {said}", above, line, column - 1)
    return f"is not valid TOML at line {number}, column {column}{odd}"


def _odd(said: str, above: list[str], line: str, column: int) -> str:
    spot, sign = f"{line[:column]}\0{line[column:]}", line[column : column + 1] or " "
    for words, there, sentence in _ODD:
        found = re.search(there, line) or re.search(there, spot)
        if found and re.search(words, said):
            named = f"U+{ord(sign):04X} ({unicodedata.name(sign, 'a control character').lower()})"
            return ": " + sentence.format(*found.groups(), key=_key(above, line), sign=named)
    return ""


def _key(above: list[str], line: str) -> str:
    """Return the nearest key at or above a line, as it is written; text inside a multi-line string does not count."""
    long = any(quotes in "\n".join(above) for quotes in _LONG_TEXTS)
    found = (_KEY.match(one) for one in (line, *([] if long else reversed(above))))
    return next((match[1] for match in found if match), "a key")


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
