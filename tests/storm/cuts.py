"""Lets KUMA show shorter pages than it says: cut at another size, or with one row hidden after the cut.

It stays so while all comes to rest: what a short page hid must be there in the end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta
from random import Random

from environment import Environment
from kinds import HIDDEN_ROW, SHORT_PAGES, Kinds
from ledger import Ledger

SIZES = (50, 100, 200)
LAST = 100
"""The size at the beginning and in the end: far fewer than there are alerts."""


class Pages:
    """Changes the size of KUMA's pages, and hides a row that would stand at the head of every list."""

    def __init__(self, environment: Environment, ledger: Ledger, *, seed: int, kinds: Kinds) -> None:
        self._witness = environment.witness
        self._knobs = environment.kuma.knobs
        self._random = Random(f"pages {seed}")
        self._kinds = kinds
        if SHORT_PAGES in kinds:
            self._knobs.page_size = LAST
        if HIDDEN_ROW in kinds:
            hidden = environment.kuma.raise_alert(seen=environment.kuma.clock() + timedelta(days=2))
            ledger.spared.add(hidden)
            self._knobs.hidden.add(hidden)

    @property
    def fired(self) -> Counter[str]:
        """Count the pages that came shorter than usual although more was to come, by kind."""
        cut = self._witness.cut
        return Counter({kind: cut[kind] for kind in (SHORT_PAGES, HIDDEN_ROW) if kind in self._kinds})

    @property
    def missed(self) -> list[str]:
        """Name the kinds that no page showed yet."""
        return [kind for kind, times in self.fired.items() if not times]

    async def change_until(self, end: float) -> None:
        """Change the size every few seconds."""
        while SHORT_PAGES in self._kinds and time.monotonic() < end:
            await asyncio.sleep(self._random.uniform(2, 6))
            self._knobs.page_size = self._random.choice(SIZES)
        self.settle()

    def settle(self) -> None:
        """Keep a short size for what is left."""
        if SHORT_PAGES in self._kinds:
            self._knobs.page_size = LAST
