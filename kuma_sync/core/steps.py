"""What an incident needs next.

Level-triggered: the stored snapshot and link decide, never the reason a job was queued for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from kuma_sync.core.alert import AlertSnapshot
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import (
    BeingMade,
    Doubted,
    Dropped,
    Ignored,
    Link,
    Linked,
    NotMade,
    Sought,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCapabilities:
    """What the IRP's profile can do and the configuration allows.

    `settle` is how far apart two empty answers of `find` must be after a create that may have happened; `spacing` how
    far apart updates of an alert that changes often (core/budget; zero: no limit). With `find_always` every create is
    preceded by `find`, also one that is tried again after it was refused.
    """

    can_find: bool = True
    find_always: bool = False
    can_update: bool = True
    can_add_events: bool = True
    may_close: bool = True
    settle: timedelta = timedelta(seconds=5)
    spacing: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Create:
    """Make the incident."""


@dataclass(frozen=True, slots=True)
class Update:
    """Send what changed."""


@dataclass(frozen=True, slots=True)
class AddEvents:
    """Send events that did not fit into the create or the update."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the incident, because its alert is closed."""


@dataclass(frozen=True, slots=True)
class FindFirst:
    """Ask the IRP for the incident before anything is written."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, or is not ours to touch."""


Step = Create | Update | AddEvents | Close | FindFirst | Nothing


def next_step(snapshot: AlertSnapshot, link: Link, *, unsent: int, capabilities: TargetCapabilities) -> Step:
    """Decide what the incident of this alert needs now. `unsent` counts stored events that were not sent yet."""
    match link.state:
        case Ignored() | Dropped() | NotMade(held=True) | Sought(held=True):
            return Nothing()
        case NotMade():
            return Create()
        case Sought() | BeingMade() | Doubted():
            return FindFirst()
        case Linked():
            return Nothing() if link.incident_closed else _keep_true(snapshot, link, unsent, capabilities)
        case _:
            assert_never(link.state)


def changed_fields(rendered: Mapping[str, str], sent: Mapping[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return (fields to send, fields to clear): digests of rendered top-level fields against those last sent."""
    changed = frozenset(name for name, digest in rendered.items() if sent.get(name) != digest)
    return changed, frozenset(name for name in sent if name not in rendered)


def _keep_true(snapshot: AlertSnapshot, link: Link, unsent: int, capabilities: TargetCapabilities) -> Step:
    if link.sent.fingerprint != snapshot.fingerprint:
        return Update()
    if unsent and capabilities.can_add_events:
        return AddEvents()
    return Close() if capabilities.may_close and to_be_closed(link) else Nothing()


def to_be_closed(link: Link) -> bool:
    """Tell whether the incident is to be closed, once nothing else is to be told."""
    # An open incident whose closing came from the IRP was reopened there: nothing is echoed.
    wanted = link.alert_closed and link.close_origin is not Origin.IRP
    return (wanted or link.close_origin is Origin.OPERATOR) and not link.held_close
