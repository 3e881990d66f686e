"""What a closing in the IRP means for KUMA: whether it is carried, and with which reason.

Must not: queue or send it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import structlog

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason, close_reason
from kuma_sync.core.incident import Origin

log = structlog.get_logger(__name__)


class Closings:
    """The switch and the reason table of `[close]`. A resolution that is not listed is warned about once.

    `patience` is how long after the first look `find` looks again at what is closed without a resolution.
    """

    def __init__(
        self, *, to_kuma: bool, reasons: Mapping[str, Reason], default: Reason | None, patience: timedelta
    ) -> None:
        self.to_kuma = to_kuma
        self.patience = patience
        self._reasons = reasons
        self._default = default
        self._warned: set[str] = set()

    def by_resolution(self, alert_id: AlertId, resolution: str, *, incident: str, by: str) -> CloseRequest | None:
        """Return the closing that follows an incident's resolution; None while closing towards KUMA is off."""
        if not self.to_kuma:
            return None
        mapped = close_reason(resolution, self._reasons, self._default)
        if not mapped.listed and resolution not in self._warned:
            self._warned.add(resolution)
            stand_in = mapped.reason.value if mapped.reason else "none: its closings are parked"
            log.warning("resolution_not_listed", resolution=resolution, reason=stand_in)
        return CloseRequest(
            alert_id=alert_id,
            reason=mapped.reason,
            origin=Origin.IRP,
            by=by,
            incident=incident,
            resolution=resolution,
        )
