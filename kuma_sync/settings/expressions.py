"""Regular expressions from outside: RE2's, as KUMA's own are (it is written in Go), so that none can run away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import re2  # type: ignore[import-untyped,unused-ignore]  # has no types

LONGEST = 1000
"""Signs of an expression."""

_MEMORY = 1024 * 1024
"""Bytes that a compiled expression may take; one that repeats repeats is refused by it."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression, compiled. Two of the same text are equal."""

    pattern: str
    ignore_case: bool = False
    _compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile it; raise ValueError with the reason."""
        if len(self.pattern) > LONGEST:
            raise ValueError(f"it is longer than {LONGEST} signs")
        options = re2.Options()
        options.case_sensitive = not self.ignore_case
        options.log_errors = False
        options.max_mem = _MEMORY
        try:
            object.__setattr__(self, "_compiled", re2.compile(self.pattern, options=options))
        except (re2.error, UnicodeEncodeError) as error:
            raise ValueError(_said(error)) from None

    def search(self, text: str) -> bool:
        """Tell whether it fits anywhere in the text."""
        return self._found(text) is not None

    @property
    def groups(self) -> int:
        """Return how many groups it has."""
        return int(self._compiled.groups)

    def first_group(self, text: str) -> str | None:
        """Return what its first group picks out of the text; None where it fits nowhere, or without that group."""
        found = self._found(text)
        picked: bytes | None = found.group(1) if found else None
        return None if picked is None else picked.decode("utf-8", "replace")

    def _found(self, text: str) -> Any:
        # KUMA may send half a surrogate pair.
        return self._compiled.search(text.encode("utf-8", "replace"))


def _said(error: Exception) -> str:
    said = error.args[0] if error.args and not isinstance(error, UnicodeEncodeError) else b""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return text or "it holds what is no character"
