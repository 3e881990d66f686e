"""Text from elsewhere, made fit for every place it may go to. Must not: shorten or translate it."""

from __future__ import annotations

import re

_UNFIT = re.compile("[\x00\ud800-\udfff]")


def fit(text: str) -> str:
    """Replace what PostgreSQL (NUL) or UTF-8 (half a surrogate pair) cannot hold."""
    return _UNFIT.sub("\ufffd", text)


def printable(text: str, *, keep: str = "") -> str:
    """Escape what a terminal obeys instead of showing it, as `\\x1b` or `\\u202e`.

    That is control characters (C1 ones too), marks that turn the direction of writing, and whatever else has no look of
    its own; those to `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else _escape(sign) for sign in text)


def printable_json(text: str) -> str:
    """Do the same to JSON text, with JSON's own escapes: it means what it meant."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else _json_escape(sign) for sign in text)


def _escape(sign: str) -> str:
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
