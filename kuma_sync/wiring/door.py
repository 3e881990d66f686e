"""The configuration's part in the HTTP doors: who may pass which.

Must not: decide anything.
"""

from __future__ import annotations

from kuma_sync.settings import Settings
from kuma_sync.web.rules import DoorRules


def door_rules(settings: Settings) -> DoorRules:
    """Return who may pass which door."""
    return DoorRules(
        to_kuma=settings.close.to_kuma,
        tokens=settings.web.tokens,
        metrics_token=settings.web.metrics_token,
        metrics_public=settings.web.metrics_public,
    )
