"""The configuration's part in the HTTP doors: who may pass which.

Must not: decide anything.
"""

from __future__ import annotations

import hashlib

from kuma_sync.settings import Settings
from kuma_sync.store import Identity
from kuma_sync.web.rules import DoorRules


def door_rules(settings: Settings) -> DoorRules:
    """Return who may pass which door."""
    return DoorRules(
        to_kuma=settings.close.to_kuma,
        tokens=settings.web.tokens,
        metrics_token=settings.web.metrics_token,
        metrics_public=settings.web.metrics_public,
    )


def served(identity: Identity) -> str:
    """Return a mark of the KUMA and IRP that a daemon joins: equal for equal ones, and it names neither."""
    joined = "\n".join((identity.kuma_instance, identity.irp_url, identity.profile))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]
