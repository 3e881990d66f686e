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


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Those of KUMA and of the IRP; `proof` is where creates wait while nobody knows whether `find` shows them."""

    kuma: Sides
    irp: Sides
    proof: Side


def make_gates(settings: Settings, ground: Ground, remotes: Remotes, pace: Pace) -> Gates:
    """Make the gates; what a remote asked for holds whichever gate heard it."""
    kuma, irp = remotes.kuma, remotes.irp
    tokens: dict[Part, Token] = {
        "kuma": Token(probe=kuma.probe, reload=kuma.reload_token),
        "irp": Token(probe=irp.probe if irp.can("probe") else None, reload=irp.reload_secrets),
    }

    def narrow(remote: Part) -> Side:
        # An outage is the whole side's matter, not that of one kind of requests.
        traffic = Traffic(requested_wait=ground.waits[remote], trips=False)
        return Side(remote, pace=pace, health=ground.health, traffic=traffic)

    def sides(remote: Part, kinds: Collection[str], *others: Side, places: int, rate_limit: float = 0) -> Sides:
        gates = {kind: narrow(remote) for kind in kinds}
        whole = Side(
            remote,
            pace=pace,
            health=ground.health,
            token=tokens[remote],
            traffic=Traffic(turnstile=Turnstile(rate_limit), requested_wait=ground.waits[remote]),
            narrower=[*gates.values(), *others],
        )
        return Sides(whole=whole, kinds=gates, places=asyncio.Semaphore(places))

    section, proof = settings.irp, narrow("irp")
    return Gates(
        kuma=sides("kuma", ["close"], places=ground.limits.closes_in_flight),
        irp=sides("irp", LANES, proof, places=section.concurrency, rate_limit=section.rate_limit),
        proof=proof,
    )
