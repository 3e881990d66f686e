"""The one order in which transactions lock what they are about to change, so that no two wait for each other for ever.

What waits on the queues is written after what is locked here, deliveries before closings, and the cursor last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import Link
from kuma_sync.store.copies import Turn
from kuma_sync.store.jobs import Claim

if TYPE_CHECKING:
    from kuma_sync.store.session import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Jobs that somebody works on: their claims are prolonged by `lease`, as far as they are still his."""

    claims: Sequence[Claim]
    lease: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The delivery that runs for a subject: its claim is taken from whoever has it, and he writes nothing any more."""

    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What is locked until the transaction ends: claims that are ours by their ids, and links as they are now.

    `stopped` counts the deliveries that were stopped.
    """

    ours: frozenset[int] = frozenset()
    stopped: int = 0
    links: Mapping[AlertId, Link] = field(default_factory=dict)


def lock(
    tx: Tx, *, turn: Turn | str | None = None, deliveries: Renew | Stop | None = None, links: Collection[AlertId] = ()
) -> Locked:
    """Lock the turn to read, then deliveries that run, then links by their alerts' ids. Unknown links are left out.

    A Turn must still be ours, else ClaimLost is raised; by its name alone it stays whose it is, but he writes nothing.
    """
    match turn:
        case Turn():
            tx.lease.ensure_valid(turn)
        case str():
            tx.lease.hold(turn)
        case None:
            pass
        case _:
            assert_never(turn)
    ours, stopped = frozenset[int](), 0
    match deliveries:
        case Renew(claims=claims, lease=lease):
            ours = frozenset(tx.delivery.renew(claims, lease=lease))
        case Stop(subject=subject):
            stopped = tx.delivery.stop(subject)
        case None:
            pass
        case _:
            assert_never(deliveries)
    return Locked(ours=ours, stopped=stopped, links=tx.links.locked(links))
