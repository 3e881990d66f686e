"""Closings for KUMA: which reason an IRP's resolution becomes, and how they travel on the close queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason, close_reason
from kuma_sync.core.incident import Origin
from kuma_sync.store import Lane, Put, Tx

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


def put_order(tx: Tx, request: CloseRequest, *, held: bool = False) -> None:
    """Queue a closing for KUMA. One that waits already keeps its reason: the first wins."""
    payload = {
        "reason": request.reason.value if request.reason else None,
        "origin": request.origin.value,
        "by": request.by,
        "comment": request.comment,
        "incident": request.incident,
        "resolution": request.resolution,
    }
    tx.closes.put([Put(subject=request.alert_id, lane=Lane.CLOSE, payload=payload, held=held)])
    reason = request.reason.value if request.reason else f"no reason for the resolution {request.resolution!r}"
    detail = f"{reason}; held by the brake" if held else reason
    tx.audit.note(request.by or request.origin.value, "close_ordered", request.alert_id, detail)


def read_order(subject: str, payload: dict[str, Any] | None) -> CloseRequest:
    """Read a closing back from its row."""
    fields = payload or {}
    return CloseRequest(
        alert_id=AlertId(subject),
        reason=Reason(fields["reason"]) if fields.get("reason") else None,
        origin=Origin(fields.get("origin", Origin.IRP)),
        by=fields.get("by", ""),
        comment=fields.get("comment", ""),
        incident=fields.get("incident", ""),
        resolution=fields.get("resolution", ""),
    )
