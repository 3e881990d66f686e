"""One stored alert for a person who looks at it; what of it may be large is unpacked beside the event loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest

from kuma_sync.core.alert import AlertId, AlertSnapshot, JsonObject, event_time
from kuma_sync.core.link import Link
from kuma_sync.core.privacy import Privacy
from kuma_sync.store import Tx
from kuma_sync.store.types import unpack_beside, unpack_events
from kuma_sync.sync.delivery.unit_of_work import DeliveryState


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The newest of an alert's events, the latest first, and how many there are."""

    events: list[JsonObject]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlert:
    """An alert as it is stored. What `privacy` hides is hidden from what is unpacked: it may have been stored before.

    Unpacking takes a second for 20 MB of events: let a daemon do that in a thread.
    """

    snapshot: AlertSnapshot
    link: Link
    packed: bytes | None
    privacy: Privacy

    @property
    def lacks_contents(self) -> bool:
        """Tell whether the contents were delivered and forgotten: KUMA may still have them."""
        return self.packed is None and self.snapshot.contents_known

    def unpacked(self) -> DeliveryState:
        """Return the work of a delivery of it."""
        contents = None if self.packed is None else self.privacy.hidden(unpack_beside(self.packed))
        return DeliveryState(snapshot=self.snapshot, link=self.link, contents=contents)

    def newest(self, most: int) -> Newest | None:
        """Return its newest events; None where none are stored."""
        if self.packed is None:
            return None
        found = newest(unpack_events(self.packed), most)
        for event in found.events:
            self.privacy.hide(event)
        return found


def load_packed(tx: Tx, alert_id: AlertId, privacy: Privacy) -> StoredAlert | None:
    """Return a stored alert; None where there is no such one."""
    link, snapshot = tx.links.get(alert_id), tx.alerts.snapshots([alert_id]).get(alert_id)
    if link is None or snapshot is None:
        return None
    return StoredAlert(snapshot=snapshot, link=link, packed=tx.alerts.packed_contents(alert_id), privacy=privacy)


def load_stored(tx: Tx, alert_id: AlertId, privacy: Privacy) -> DeliveryState | None:
    """Return a stored alert as it would be sent; None where there is no such one."""
    found = load_packed(tx, alert_id, privacy)
    return None if found is None else found.unpacked()


def newest(events: Iterable[JsonObject], most: int) -> Newest:
    """Choose the newest of these events, without keeping the others."""
    count = 0

    def counted() -> Iterable[JsonObject]:
        nonlocal count
        for event in events:
            count += 1
            yield event

    return Newest(events=nlargest(most, counted(), key=event_time), count=count)
