"""Closings for KUMA as they travel on the close queue, whoever ordered them: door, watch, delivery or operator.

Must not: send them.
"""

from __future__ import annotations

from typing import Any

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.store import Lane, Put, Tx


async def put_order(tx: Tx, request: CloseRequest, *, held: bool = False) -> None:
    """Queue a closing for KUMA. One that waits already keeps its reason: the first wins."""
    payload = {
        "reason": request.reason.value if request.reason else None,
        "origin": request.origin.value,
        "by": request.by,
        "comment": request.comment,
        "incident": request.incident,
        "resolution": request.resolution,
    }
    await tx.closes.put([Put(subject=request.alert_id, lane=Lane.CLOSE, payload=payload, held=held)])
    reason = request.reason.value if request.reason else f"no reason for the resolution {request.resolution!r}"
    detail = f"{reason}; held by the brake" if held else reason
    await tx.records.note(request.by or request.origin.value, "close_ordered", request.alert_id, detail)


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
