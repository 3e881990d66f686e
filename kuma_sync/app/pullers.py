"""How the targets that poll us stand, by the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kuma_sync.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Puller:
    """A target that polls us: when it last asked, and how many alerts wait to be handed out."""

    target: str
    asked_at: datetime | None = None
    waiting: int = 0

    @property
    def waits(self) -> str:
        """Say how many alerts wait."""
        return f"{self.waiting or 'no'} alert{'s wait' if self.waiting > 1 else ' waits'}"


def pullers(tx: Tx) -> list[Puller]:
    """Return how the targets that poll us stand."""
    names = [name for name, irp in tx.targets.joined().items() if not irp.irp_url]
    if not names:
        return []
    asked, waiting = tx.targets.asked_at(), tx.handouts.waiting()
    return [Puller(target=name, asked_at=asked.get(name), waiting=waiting.get(name, 0)) for name in names]
