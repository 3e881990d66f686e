"""The one order in which transactions lock rows before they change them, so that no two wait for each other for ever.

Waiting rows of the queues are written after these locks: deliveries before closings, and the cursor last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import Link
from kuma_sync.store.copies import Leadership
from kuma_sync.store.jobs import Claim

if TYPE_CHECKING:
    from kuma_sync.store.session import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Jobs in work: the claims that are still ours are prolonged by `lease`."""

    claims: Sequence[Claim]
    lease: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The running delivery of a subject: its claim is taken away, so that its worker can write nothing more."""

    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """The rows that are locked until the transaction ends: `ours` are ids of claims, `links` the links as they are now.

    `stopped` counts the deliveries that were stopped.
    """

    ours: frozenset[int] = frozenset()
    stopped: int = 0
    links: Mapping[AlertId, Link] = field(default_factory=dict)


def lock(
    tx: Tx,
    *,
    leadership: Leadership | str | None = None,
    deliveries: Renew | Stop | None = None,
    links: Collection[AlertId] = (),
) -> Locked:
    """Lock the leader's lease, then running deliveries, then links in the order of their ids; skip unknown links.

    A Leadership must still be ours, else ClaimLost is raised. A name alone locks its row, whoever has it.
    """
    match leadership:
        case Leadership():
            tx.lease.ensure_valid(leadership)
        case str():
            tx.lease.lock(leadership)
        case None:
            pass
        case _:
            assert_never(leadership)
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
