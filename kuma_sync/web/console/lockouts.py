"""Who must wait, for too many wrong passwords were tried: known here, a flood of tries costs the store nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable


class Lockouts:
    """Remembers who must wait; `monotonic` counts seconds, and of more than `remembered` the oldest are forgotten."""

    def __init__(self, remembered: int, *, monotonic: Callable[[], float]) -> None:
        self._remembered = remembered
        self._now = monotonic
        self._until: OrderedDict[Hashable, float] = OrderedDict()

    def wait(self, key: Hashable) -> float:
        """Return how many seconds somebody must wait; 0 for whoever may try."""
        left = self._until.get(key, 0.0) - self._now()
        if left <= 0:
            self._until.pop(key, None)
        return max(left, 0.0)

    def stop(self, key: Hashable, seconds: float) -> None:
        """Let somebody wait for so many seconds from now."""
        self._until[key] = self._now() + seconds
        self._until.move_to_end(key)
        while len(self._until) > self._remembered:
            self._until.popitem(last=False)
