"""The gates in front of KUMA and the IRP, as they are configured.

Must not: send anything.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from kuma_sync.daemon.pace import Pace
from kuma_sync.daemon.side import Side, Sides, Token
from kuma_sync.daemon.traffic import Traffic, Turnstile
from kuma_sync.settings import Settings
from kuma_sync.wiring.ground import Ground
from kuma_sync.wiring.remotes import Remotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """One for KUMA, two for the IRP."""

    kuma: Side
    irp: Sides


def make_gates(settings: Settings, ground: Ground, remotes: Remotes, pace: Pace) -> Gates:
    """Make the gates; what a remote asked for holds whichever gate heard it."""
    health, kuma, irp = ground.health, remotes.kuma, remotes.irp
    # An outage is the whole side's matter, not that of creates alone.
    creates = Side("irp", pace=pace, health=health, traffic=Traffic(trips_after=None))
    side = Side(
        "irp",
        pace=pace,
        health=health,
        token=Token(probe=irp.probe if irp.can("probe") else None, reload=irp.reload_secrets),
        traffic=Traffic(turnstile=Turnstile(settings.irp.rate_limit), requested_wait=ground.waits["irp"]),
        narrower=creates,
    )
    return Gates(
        kuma=Side(
            "kuma",
            pace=pace,
            health=health,
            token=Token(probe=kuma.probe, reload=kuma.reload_token),
            traffic=Traffic(requested_wait=ground.waits["kuma"]),
        ),
        irp=Sides(irp=side, creates=creates, places=asyncio.Semaphore(settings.irp.concurrency)),
    )
