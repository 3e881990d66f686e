"""Which alerts are put on the delivery queue after a read."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from kuma_sync.core import transitions
from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import Link
from kuma_sync.store import Lane, Put, Tx


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
    """Queue those of these alerts that have no incident and no job. A parked job waits for a change."""
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
