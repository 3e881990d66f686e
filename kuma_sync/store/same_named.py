"""Values that have one name in a row and in what the row stands for.

Must not: know which.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any


def same_named(*names: str) -> Callable[[object], dict[str, Any]]:
    """Return what takes these attributes of anything, by name; asked for one by one they cost twice as much."""
    take = attrgetter(*names)

    def taken(owner: object) -> dict[str, Any]:
        return dict(zip(names, take(owner), strict=True))

    return taken
