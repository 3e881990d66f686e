"""A secret that never shows itself, and that can be read again from its file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kuma_sync.settings.paths import read_text

MASK = "**********"
SECRET_NAME = re.compile(
    r"token|passw|passphr|pwd|secret|authorization|cookie|credential|(api|private)[-_]?key", re.IGNORECASE
)
"""Names that sound like a secret's: for values of which only the name is known."""


class Secret:
    """A secret given as text or as the path of a file that holds it (a trailing newline is stripped).

    The file must be UTF-8, else ValueError is raised. An empty secret is falsy.
    """

    __slots__ = ("_path", "_value")

    def __init__(self, value: str = "", *, path: Path | None = None) -> None:
        self._value = value
        self._path = path
        if path is not None:
            self._value = _read(path)

    @property
    def path(self) -> Path | None:
        """Return the file it comes from, if it comes from one."""
        return self._path

    def reveal(self) -> str:
        """Return the secret itself, for the one place that sends or compares it."""
        return self._value

    def reload(self) -> bool:
        """Read the file again; tell whether the secret changed. An unreadable file changes nothing."""
        if self._path is None:
            return False
        try:
            fresh = _read(self._path)
        except (OSError, ValueError):
            return False
        changed = fresh != self._value
        self._value = fresh
        return changed

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Secret('{MASK}')" if self._value else "Secret('')"


def _read(path: Path) -> str:
    return read_text(path).rstrip("\r\n")


def masked_values(value: Any, name: str = "") -> Any:
    """Mask every value with a secret's name: a site's own profile may have any options."""
    match value:
        case _ if value and SECRET_NAME.search(name):
            return MASK
        case Mapping():
            return {key: masked_values(inner, key) for key, inner in value.items()}
        case list() | tuple():
            return [masked_values(inner) for inner in value]
        case _:
            return "" if value is None else value
