"""Profile a piece of work: the time of each library and of each room of the package.

Must not run while figures are taken: profiling makes the code slower.
"""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SHOWN = 14
CHEAP = 0.02
"""A built-in function that took fewer seconds is not named on its own."""


@contextmanager
def profiled(say: Callable[[str], None] | None, *, per: int) -> Iterator[None]:
    """Report the milliseconds of each library and room for one of `per` items; None measures nothing."""
    if say is None:
        yield
        return
    profile = cProfile.Profile()
    with profile:
        yield
    rooms: Counter[str] = Counter()
    for (file, _line, name), (_calls, _all, own, _total, _callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # typeshed leaves it out
        rooms[_room(file, name, own)] += own
    for room, seconds in rooms.most_common(SHOWN):
        say(f"  {seconds / per * 1000:7.3f} ms  {room}")


def _room(file: str, name: str, own: float) -> str:
    if file == "~":
        return f"built in: {name}" if own > CHEAP else "built in"
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "kuma_sync" in parts:
        return "/".join(parts[-2:])
    return "standard library: " + (parts[-2] if len(parts) > 1 and parts[-2] in ("asyncio", "json") else "other")
