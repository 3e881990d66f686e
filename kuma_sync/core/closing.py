"""Closings: KUMA's three reasons, how an IRP's resolution becomes one, and what travels on the close queue.

Must not: know who sends it, or when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kuma_sync.core.alert import AlertId
from kuma_sync.core.incident import Origin


class Reason(StrEnum):
    """The reasons KUMA accepts, in lower case as its API page prints them (KUMA help 222255, 269917)."""

    RESPONDED = "responded"
    INCORRECT_DATA = "incorrect data"
    INCORRECT_RULE = "incorrect correlation rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRequest:
    """An alert to close in KUMA. `reason` None means that the resolution has no reason and a human must give one."""

    alert_id: AlertId
    reason: Reason | None
    origin: Origin
    by: str = ""
    comment: str = ""
    incident: str = ""
    resolution: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KumaAnswer:
    """KUMA's final word on a closing: 204, or 400, 404, 406 in its own words."""

    status: int
    message: str = ""
    details: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedReason:
    """What a resolution became; `listed` is false where the default stood in."""

    reason: Reason | None
    listed: bool


def parse_reason(text: str) -> Reason | None:
    """Read a reason whatever its case (KUMA's own R-Vision page, 225576, prints capitals); None if it is none."""
    folded = " ".join(text.split()).casefold()
    return next((reason for reason in Reason if reason.value == folded), None)


def close_reason(resolution: str, table: Mapping[str, Reason], default: Reason | None) -> MappedReason:
    """Map an IRP's resolution to KUMA's reason, compared without case; the default covers what is not listed."""
    folded = resolution.strip().casefold()
    for listed, reason in table.items():
        if listed.strip().casefold() == folded:
            return MappedReason(reason=reason, listed=True)
    return MappedReason(reason=default, listed=False)
