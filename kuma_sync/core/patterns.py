"""A regular expression as the core uses it; `settings/expressions` makes them."""

from __future__ import annotations

from typing import Protocol


class Expression(Protocol):
    """Searches a text in a time that grows with the text's length alone."""

    @property
    def pattern(self) -> str:
        """Return the expression as it was written."""

    def search(self, text: str) -> bool:
        """Tell whether it fits anywhere in the text."""
