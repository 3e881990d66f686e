"""The gates in front of KUMA and the IRP, as they are configured.

Must not: send anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from kuma_sync.daemon.pace import Pace
from kuma_sync.daemon.side import Side, Token
from kuma_sync.daemon.sides import LANES, Sides
from kuma_sync.daemon.traffic import Traffic, Turnstile
from kuma_sync.settings import Settings
from kuma_sync.telemetry.health import Part
from kuma_sync.wiring.ground import Ground
from kuma_sync.wiring.remotes import Remotes

CLOSES_IN_FLIGHT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Those of KUMA and of the IRP."""

    kuma: Sides
    irp: Sides


def make_gates(settings: Settings, ground: Ground, remotes: Remotes, pace: Pace) -> Gates:
    """Make the gates; what a remote asked for holds whichever gate heard it."""
    kuma, irp = remotes.kuma, remotes.irp
    tokens: dict[Part, Token] = {
        "kuma": Token(probe=kuma.probe, reload=kuma.reload_token),
        "irp": Token(probe=irp.probe if irp.can("probe") else None, reload=irp.reload_secrets),
    }

    def sides(remote: Part, kinds: Collection[str], *, places: int, rate_limit: float = 0) -> Sides:
        wait = ground.waits[remote]
        # An outage is the whole side's matter, not that of one kind of requests.
        traffic = Traffic(requested_wait=wait, trips_after=None)
        narrow = {kind: Side(remote, pace=pace, health=ground.health, traffic=traffic) for kind in kinds}
        whole = Side(
            remote,
            pace=pace,
            health=ground.health,
            token=tokens[remote],
            traffic=Traffic(turnstile=Turnstile(rate_limit), requested_wait=wait),
            narrower=narrow.values(),
        )
        return Sides(whole=whole, kinds=narrow, places=asyncio.Semaphore(places))

    section = settings.irp
    return Gates(
        kuma=sides("kuma", ["close"], places=CLOSES_IN_FLIGHT),
        irp=sides("irp", LANES, places=section.concurrency, rate_limit=section.rate_limit),
    )
