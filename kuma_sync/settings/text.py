"""What people's editors make of a text file: UTF-8, with or without a byte order mark.

Must not: quote what was read.
"""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path


def decoded(raw: bytes) -> str:
    """Return text without its byte order mark; ValueError says in a few words what it is instead of UTF-8."""
    if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in raw[:4]:
        raise ValueError("is UTF-16 text, as some editors on Windows write it; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8 text (line {line}); save it as UTF-8") from None


def read_text(path: Path) -> str:
    """Read a file as `decoded` does; raise OSError, or ValueError."""
    return decoded(path.read_bytes()).replace("\r\n", "\n")
