"""Which alerts are put on the delivery queue after a read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial

from kuma_sync.core import transitions
from kuma_sync.core.alert import Alert, AlertId
from kuma_sync.core.comparison import Changed, Wanted
from kuma_sync.core.link import Link
from kuma_sync.store import Lane, Put, Tx
from kuma_sync.store.locks import lock


def to_tell(tx: Tx, changed: Iterable[Changed], wanted: Wanted) -> dict[AlertId, Link]:
    """Return, and lock, the links of changed alerts.

    Of an ignored one, neither a first look at its contents is worth telling, nor a change to what nobody wants.
    """
    changes = {change.snapshot.alert.id: change for change in changed}
    links = lock(tx, links=changes).links

    def silent(change: Changed) -> bool:
        return change.first_read or not wanted.wants(change.snapshot.alert)

    return {alert_id: link for alert_id, link in links.items() if not (link.ignored and silent(changes[alert_id]))}


def to_leave(tx: Tx, listed: Iterable[Alert], wanted: Wanted) -> set[AlertId]:
    """Return which of these known alerts are ignored and stay so: what they changed to is not wanted."""
    unwanted = [alert.id for alert in listed if not wanted.wants(alert)]
    links = tx.links.many(unwanted) if unwanted else {}
    return {alert_id for alert_id, link in links.items() if link.ignored}


def to_wake(links: Iterable[Link]) -> list[AlertId]:
    """Return which of these alerts that changed were ignored until now: an incident is to be made of each."""
    return [link.alert_id for link in links if link.ignored and not link.dropped]


def put_changed(tx: Tx, links: Collection[Link], *, held: Collection[AlertId]) -> None:
    """Queue known alerts that changed; one that was ignored is so no longer, one that was dropped stays dropped.

    The brake holds the creates `held`.
    """
    for link in links:
        if link.ignored:
            # An operator may have woken it meanwhile: what a human asked for is not held.
            become = partial(transitions.noticed, held=link.alert_id in held)
            tx.links.change(link.alert_id, become, now=tx.now)
    tx.delivery.put([_put(link) for link in links if not link.dropped])


def put_unmade(tx: Tx, ids: Collection[AlertId]) -> None:
    """Queue those of these alerts that have no incident yet, and no job: what is parked waits for a change."""
    links = tx.links.many(set(ids) - tx.delivery.queued(ids))
    unmade = [link for link in links.values() if link.incident is None and not link.given_up]
    tx.delivery.put([_put(link) for link in unmade])


def put_behind(tx: Tx) -> int:
    """Queue every alert whose incident is not as it should be and for which nothing waits; return how many.

    It takes up what an aborted round left behind, and is the belt to the braces of all else.
    """
    behind = tx.links.behind()
    links = tx.links.many(behind)
    tx.delivery.put([_put(link) for link in links.values()])
    return len(behind)


def _put(link: Link) -> Put:
    return Put(subject=link.alert_id, lane=Lane.UPDATE if link.incident else Lane.CREATE)
