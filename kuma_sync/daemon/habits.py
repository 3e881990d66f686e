"""What a round of reading goes by. Must not: do anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from kuma_sync.core.plan import Brake
from kuma_sync.core.window import Rhythm
from kuma_sync.daemon.limits import Limits
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a round goes by: the clock, the rhythm of the reads, the brake, the limits; and who is told how it fares."""

    clock: Callable[[], datetime]
    rhythm: Rhythm
    brake: Brake
    to_irp: bool
    limits: Limits
    metrics: Metrics
    health: Health
