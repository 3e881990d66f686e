"""The IRP's incident as values: how it is named, what its answers tell, and the key that joins it to an alert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kuma_sync.core.alert import AlertId
from kuma_sync.core.text import folded


def external_key(instance: str, alert_id: AlertId) -> str:
    """Return the key an incident carries in the IRP: `kuma:<instance>:<alert id>`."""
    return f"kuma:{instance}:{alert_id}"


def alert_of(key: str, instance: str) -> AlertId | None:
    """Return the alert that an incident's key names, in the spelling of the key; None where the key is not ours."""
    prefix = external_key(instance, AlertId(""))
    if key.startswith(prefix):
        return AlertId(key.removeprefix(prefix))
    # The IRP may have changed the case of the whole key, and some letters change their number with their case.
    shown = folded(key)
    return AlertId(shown.removeprefix(folded(prefix))) if shown.startswith(folded(prefix)) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident as the IRP names it."""

    id: str
    number: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """An incident the IRP says is closed, and how; `key` or `incident_id` may be missing, not both."""

    incident_id: str = ""
    key: str = ""
    resolution: str = ""
    updated: datetime | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """Return the name that tells this incident from others."""
        return (self.incident_id, "" if self.incident_id else self.key)

    @property
    def resolved(self) -> bool:
        """Tell whether it says how the incident was resolved. Some servers say so in a second step only."""
        return bool(self.resolution.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One answer of `find`."""

    incident: Incident
    closed: bool = False
    resolution: str = ""

    @property
    def resolved(self) -> bool:
        """Tell whether it says how the incident was resolved."""
        return bool(self.resolution.strip())


class Origin(StrEnum):
    """Where a closing came from; it is never sent back there."""

    KUMA = "kuma"
    IRP = "irp"
    OPERATOR = "operator"
