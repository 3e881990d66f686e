"""Who may pass which door; read at every request, so that a reload needs no restart of the doors.

Must not: read the configuration by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kuma_sync.settings import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorRules:
    """`tokens` by name open everything, `metrics_token` only /metrics; an empty secret opens nothing."""

    to_kuma: bool
    tokens: Mapping[str, Secret] = field(default_factory=dict)
    metrics_token: Secret = field(default_factory=Secret)
    metrics_public: bool = False
