"""Wrong passwords, counted for each user and address: after too many of them nobody may try for a while."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

from kuma_sync.web.console.access import ConsoleLimits


class Throttle:
    """Counts tries by key; `monotonic` counts seconds.

    It must be told of a try before the try is judged: many may come at once.
    """

    def __init__(self, limits: ConsoleLimits, *, monotonic: Callable[[], float]) -> None:
        self._most = limits.wrong
        self._within = limits.wrong_within.total_seconds()
        self._remembered = limits.remembered
        self._now = monotonic
        self._tries: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def tried(self, key: Hashable) -> float:
        """Count a try; return how many seconds to wait instead, 0 where it may be judged."""
        now = self._now()
        tries = self._tries.setdefault(key, deque())
        self._tries.move_to_end(key)
        while len(self._tries) > self._remembered:
            self._tries.popitem(last=False)
        while tries and now - tries[0] >= self._within:
            tries.popleft()
        if len(tries) >= self._most:
            return self._within - (now - tries[0])
        tries.append(now)
        return 0.0

    def right(self, key: Hashable) -> None:
        """Forget the tries: the last one was right."""
        self._tries.pop(key, None)
