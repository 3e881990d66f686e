"""Which further calls of KUMA a caller may make through our door: `[web.passthrough] allow`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_EXPECTED = f'expected "METHOD /api/…" with one of the methods {", ".join(METHODS)}, such as "GET /api/v1/assets/*"'
_WRITTEN = re.compile(r"[A-Za-z0-9._~*-]+")
_NEVER = re.compile(r"[\x00-\x20\x7f/\\%?#;]")
_OURS = (("alerts",), ("alerts", "close"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One allowed call: its method, and the pattern of its path.

    In the pattern `*` as a whole segment stands for one segment, at the end for all that follows (at least one sign).
    """

    method: str
    pattern: str

    def matches(self, method: str, path: str) -> bool:
        """Tell whether this call is allowed; `path` is as it came, still percent-encoded and without its query.

        A path that could be read in two ways, and the calls of alerts that the door serves itself, never match.
        """
        segments = _segments(path)
        return method == self.method and bool(segments) and not _is_ours(segments) and self._fits(segments)

    def _fits(self, segments: Sequence[str]) -> bool:
        *wanted, last = self.pattern.strip("/").split("/")
        if last.endswith("*"):
            first, rest = segments[: len(wanted)], "/".join(segments[len(wanted) :])
            stem = last.removesuffix("*")
            return _same(wanted, first) and rest.startswith(stem) and len(rest) > len(stem)
        return _same([*wanted, last], segments)

    def __str__(self) -> str:
        return f"{self.method} {self.pattern}"


def passage(value: Any) -> Passage:
    """Read `"METHOD /path"`; raise ValueError."""
    if isinstance(value, Passage):
        return value
    method, _, pattern = value.strip().partition(" ") if isinstance(value, str) else ("", "", "")
    method, pattern = method.upper(), pattern.strip()
    if method not in METHODS or not pattern.startswith("/"):
        raise ValueError(_EXPECTED)
    if not pattern.startswith("/api/") or pattern == "/api/":
        raise ValueError("expected a path that begins with /api/ and goes on")
    if "?" in pattern:
        raise ValueError("expected a path without ? and what follows; a caller's query is passed on as it is")
    segments = pattern.removeprefix("/").removesuffix("/").split("/")
    if not all(_WRITTEN.fullmatch(part) and part not in {".", ".."} for part in segments):
        raise ValueError('expected a path of letters, digits and . _ ~ - between single slashes, without ".."')
    if any("*" in part and part != "*" for part in segments[:-1]) or "*" in segments[-1][:-1]:
        raise ValueError("expected * at the end, or as a whole part between two slashes")
    if _is_ours(segments):
        raise ValueError("names a call that the door serves itself; it is there without being listed")
    return Passage(method=method, pattern=pattern)


def _segments(path: str) -> list[str]:
    """Return the decoded parts of a path, [] if any of them could be read in two ways.

    A slash at the end makes no difference, as it makes none at our own doors.
    """
    if not path.startswith("/"):
        return []
    try:
        parts = [unquote(part, errors="strict") for part in path.removeprefix("/").removesuffix("/").split("/")]
    except UnicodeDecodeError:
        return []
    odd = any(not part or part in {".", ".."} or _NEVER.search(part) for part in parts)
    return [] if odd else parts


def _is_ours(segments: Sequence[str]) -> bool:
    """Tell whether these are the calls of alerts that the door serves itself, in any version and any case."""
    return len(segments) > 2 and tuple(part.casefold() for part in segments[2:]) in _OURS


def _same(pattern: Sequence[str], segments: Sequence[str]) -> bool:
    return len(pattern) == len(segments) and all(
        wanted in {"*", part} for wanted, part in zip(pattern, segments, strict=True)
    )


Allowed = Annotated[
    Passage,
    BeforeValidator(passage),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "description": 'METHOD /api/…, such as "GET /api/v1/assets/*"'}),
]
