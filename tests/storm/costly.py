"""Raises an alert of megabytes of tiny values, and watches that the good ones beside it are delivered meanwhile.

Each must have an incident, or be parked, for the IRP may fail at that moment. The costly one is taken out of KUMA then:
else it would be read for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from random import Random
from typing import Any

import httpx
from environment import Environment
from ledger import ALERT, Ledger
from supervised import Daemon, until

FORMS = ("values", "events", "assets")
"""What there is so much of: empty lists inside one event, empty events, empty assets."""
LARGE = 16_000_000
"""Bytes of the costly alert; `poll.max_alert_size` lets it pass."""
SMALL = 4_000_000
GOOD = 150.0
"""Seconds within which the good ones have their incidents: another fault may lock the database for a minute."""
STILL = 10.0
"""Seconds without an answer after which a daemon's loop counts as standing still."""
LONGEST = 60.0


class Costly:
    """Raises costly alerts, one at a time. `troubles` say what did not hold."""

    def __init__(self, environment: Environment, ledger: Ledger, *, random: Random, full: bool) -> None:
        self._environment = environment
        self._ledger = ledger
        self._random = random
        self._size = LARGE if full else SMALL
        self._forms: list[str] = []
        self._silence = 0.0
        self.troubles: list[str] = []

    async def alert(self) -> bool:
        """Raise a costly alert and five good ones; wait for these, and see that the daemons answer all the while."""
        kuma = self._environment.kuma
        if self._environment.witness.first_sweep is None:  # good ones would wait for hundreds of others
            return False
        self._forms = self._forms or self._random.sample(FORMS, len(FORMS))
        form = self._forms.pop()
        costly, good = kuma.raise_alert(events=0), [kuma.raise_alert(events=1) for _ in range(5)]
        kuma.alerts[costly].update(_contents(form, self._size))
        self._ledger.costly.add(costly)
        self._ledger.spared |= {costly, *good}
        watching = asyncio.create_task(self._longest_silence())
        came = await self._environment.arrived(good, within=GOOD, or_parked=True)
        shown = await until(lambda: costly in self._environment.witness.shown_with_events, within=STILL)
        kept = await self._accounted_for(costly)
        watching.cancel()
        kuma.delete(costly)
        self._ledger.gone.add(costly)
        told, silence = f"a costly alert ({self._size / 1e6:.0f} MB of {form})", self._silence
        self.troubles += (
            [] if came else [f"{told}: after {GOOD:g} s good ones beside it had no incident, nor were parked"]
        )
        self.troubles += [] if silence < STILL else [f"{told}: a daemon did not answer for {silence:.0f} s"]
        self.troubles += [] if kept or not shown else [f"{told}: it has no incident and is not parked, either"]
        return shown

    async def _accounted_for(self, costly: str) -> bool:
        """Wait until the costly alert has an incident, or is parked: as itself, or as a piece that is no alert."""
        deadline = time.monotonic() + GOOD
        while time.monotonic() < deadline:
            parked = await self._environment.parked()
            if not self._environment.without_incident([costly]):
                return True
            if any(one == costly or not ALERT.fullmatch(one) for one in parked):
                return True
            await asyncio.sleep(1)
        return False

    async def _longest_silence(self) -> None:
        self._silence = 0.0
        async with asyncio.TaskGroup() as asking:
            for daemon in self._environment.daemons:
                asking.create_task(self._listen(daemon))

    async def _listen(self, daemon: Daemon) -> None:
        """Ask one daemon again and again, by a connection of its own, and note how long an answer took at most."""
        while True:
            asked, process = time.monotonic(), daemon.process
            try:
                with contextlib.suppress(httpx.TransportError):
                    async with self._environment.client(daemon) as client:
                        await client.get("/livez", timeout=LONGEST)
            finally:  # an answer that is still awaited when nobody asks any more counts as well
                if daemon.alive and daemon.process is process:
                    self._silence = max(self._silence, time.monotonic() - asked)
            await asyncio.sleep(0.3)


def _contents(form: str, size: int) -> dict[str, Any]:
    """Return what makes an alert so many bytes long."""
    match form:
        case "values":
            return {"events": [{"ID": "costly", "Extra": {"values": [[]] * (size // 3)}}]}
        case "events":
            return {"events": [{}] * (size // 3)}
        case _:
            return {"affectedAssets": [{}] * (size // 3)}
