"""Measures how long a fresh alert takes to get its incident, again and again, in the storm and after it.

Nobody but the daemon touches these alerts.
"""

from __future__ import annotations

import asyncio
import time

from environment import Environment
from ledger import Ledger

PAUSE = 3.0


class Pulse:
    """Raises one alert after the other; `waits` are the seconds until each had its incident."""

    def __init__(self, environment: Environment, ledger: Ledger) -> None:
        self._environment = environment
        self._ledger = ledger
        self.waits: list[float] = []

    async def beat(self) -> None:
        """Raise one and wait for its incident, however long that takes."""
        alert_id = self._environment.kuma.raise_alert(events=2)
        self._ledger.spared.add(alert_id)
        raised = time.monotonic()
        while self._environment.without_incident([alert_id]):
            await asyncio.sleep(0.1)
        self.waits.append(time.monotonic() - raised)

    async def go_on(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(PAUSE)
