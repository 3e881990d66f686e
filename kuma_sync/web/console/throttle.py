"""Wrong passwords, counted for each user and address: after too many of them nobody may try for a while."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from kuma_sync.web.console.access import ConsoleLimits


@dataclass(slots=True)
class _Tries:
    at: deque[float] = field(default_factory=deque)
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How many seconds to wait before the next try; `first` of this key since it last could try."""

    seconds: float
    first: bool


class Throttle:
    """Counts tries by key; `monotonic` counts seconds.

    It must be told of a try before the try is judged: many may come at once.
    """

    def __init__(self, limits: ConsoleLimits, *, monotonic: Callable[[], float]) -> None:
        self._most = limits.wrong
        self._within = limits.wrong_within.total_seconds()
        self._remembered = limits.remembered
        self._now = monotonic
        self._tries: OrderedDict[Hashable, _Tries] = OrderedDict()

    def tried(self, key: Hashable) -> Wait | None:
        """Count a try; return the wait that is due instead, None where it may be judged."""
        now = self._now()
        tries = self._tries.setdefault(key, _Tries())
        self._tries.move_to_end(key)
        while len(self._tries) > self._remembered:
            self._tries.popitem(last=False)
        while tries.at and now - tries.at[0] >= self._within:
            tries.at.popleft()
        if len(tries.at) >= self._most:
            first, tries.told = not tries.told, True
            return Wait(seconds=self._within - (now - tries.at[0]), first=first)
        tries.at.append(now)
        tries.told = False
        return None

    def right(self, key: Hashable) -> None:
        """Forget the tries: the last one was right."""
        self._tries.pop(key, None)
