"""Which alerts are put on the delivery queue after a read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from kuma_sync.core import retargeting
from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import Link
from kuma_sync.core.routing import NO_ROUTE, Routing
from kuma_sync.store import Leadership, Store, Tx, put_of
from kuma_sync.store.locks import lock


def put_changed(tx: Tx, links: Collection[Link], *, held: Collection[AlertId]) -> None:
    """Queue known alerts that changed; one that was ignored is so no longer, one that was dropped stays dropped.

    The brake holds the creates `held`. A link names the target that its alert goes to now.
    """
    for link in links:
        if link.ignored:
            # An operator may have woken it meanwhile: what a human asked for is not held.
            become = partial(retargeting.noticed, held=link.alert_id in held, target=link.target)
            tx.links.change(link.alert_id, become, now=tx.now)
    tx.delivery.put([put_of(link) for link in links if not link.dropped])


def put_unmade(tx: Tx, ids: Collection[AlertId]) -> None:
    """Queue those of these alerts that have no incident and no job. A parked job waits for a change."""
    links = tx.links.many(set(ids) - tx.delivery.queued(ids))
    unmade = [link for link in links.values() if not link.made and not link.given_up]
    tx.delivery.put([put_of(link) for link in unmade])


def put_behind(tx: Tx) -> int:
    """Queue every alert whose incident is not as it should be and for which nothing waits; return how many.

    It takes up what an aborted round left behind, and is the belt to the braces of all else.
    """
    behind = tx.links.behind()
    links = tx.links.many(behind)
    tx.delivery.put([put_of(link) for link in links.values()])
    return len(behind)


async def route_anew(store: Store, routing: Routing, *, leadership: Leadership | str | None = None) -> int:
    """Send alerts that no route took to their targets, where a route takes them by now; return how many.

    The routes are asked before the transaction that writes: an expression may take its time.
    """
    targets = await store.read(partial(_newly_routed, routing))
    return await store.write(partial(_put_routed, targets, leadership), long=True) if targets else 0


def _newly_routed(routing: Routing, tx: Tx) -> dict[AlertId, str]:
    snapshots = tx.alerts.snapshots(tx.links.unrouted())
    targets = {key: routing.target_of(snapshot.alert) for key, snapshot in snapshots.items()}
    return {key: target for key, target in targets.items() if target != NO_ROUTE}


def _put_routed(targets: Mapping[AlertId, str], leadership: Leadership | str | None, tx: Tx) -> int:
    links = lock(tx, leadership=leadership, links=targets).links
    unrouted = {key: link for key, link in links.items() if link.target == NO_ROUTE}
    changed = [retargeting.routed(link, targets[key]) for key, link in unrouted.items()]
    tx.links.save_all(changed, now=tx.now)
    tx.delivery.put([put_of(link) for link in changed if not (link.given_up or link.held_create)])
    for link in changed:
        tx.audit.note("kuma-sync", "routed", link.alert_id, link.target)
    return len(changed)
