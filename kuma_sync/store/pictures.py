"""Pictures of alerts as rows, and back. Must not: hold queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from kuma_sync.core.alert import Alert, AlertId, Contents, Fingerprint, Picture
from kuma_sync.store.same_named import same_named

_scalars = same_named(
    "tenant_id",
    "tenant_name",
    "name",
    "rule_id",
    "priority",
    "status",
    "first_seen",
    "last_seen",
    "assignee",
    "closing_reason",
    "overflow",
)


class Shape(StrEnum):
    """Two requests show the same alert in different bytes; each has its own digest column."""

    CONTENTS = "contents_digest"
    LISTING = "listing_digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An alert as it is to be stored after a read.

    `recheck` asks for one more look at its contents when its lastSeen leaves the overlap.
    """

    picture: Picture
    shape: Shape
    digest: bytes | None
    contents: Contents | None = None
    recheck: bool = False


def as_row(item: Shown, now: datetime, sweep: int) -> dict[str, Any]:
    """Return what is written of it."""
    alert = item.picture.alert
    return {
        "id": alert.id,
        **_scalars(alert),
        "event_ids": item.picture.event_ids,
        "affected": item.picture.affected,
        "oversize": item.picture.oversize,
        "fingerprint": item.picture.fingerprint,
        item.shape.value: item.digest,
        "shown_at": now,
        "sweep": sweep,
        "recheck": item.recheck,
    }


def as_picture(row: Row[Any]) -> Picture:
    """Read a row back."""
    return Picture(
        alert=Alert(id=AlertId(row.id), **_scalars(row)),
        event_ids=row.event_ids,
        affected=Fingerprint(row.affected) if row.affected is not None else None,
        oversize=row.oversize,
    )
