"""One-transaction steps of a queue's life, so that a test names only what it is about."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from kuma_sync.store import Claim, Job, Lane, Put, Store

LEASE = timedelta(seconds=60)
EXPIRED = timedelta(seconds=-1)
"""A lease that ran out when it was given."""


async def put(store: Store, subject: str = "a", lane: Lane = Lane.UPDATE, **fields: Any) -> None:
    """Put one subject."""
    await store.write(lambda tx: tx.delivery.put([Put(subject=subject, lane=lane, **fields)]))


async def claim(
    store: Store,
    limit: int = 10,
    *,
    owner: str = "w1",
    lease: timedelta = LEASE,
    lanes: Collection[Lane] = tuple(Lane),
) -> list[Claim]:
    """Claim what is due."""
    return await store.write(lambda tx: tx.delivery.claim(limit, owner=owner, lease=lease, lanes=lanes))


async def claim_one(store: Store, *, owner: str = "w1", lease: timedelta = LEASE) -> Claim:
    """Claim the only job that is due."""
    (only,) = await claim(store, owner=owner, lease=lease)
    return only


async def jobs(store: Store, subject: str | None = None) -> list[Job]:
    """Return the rows."""
    return await store.read(lambda tx: tx.delivery.jobs(subject))


async def job(store: Store, subject: str = "a") -> Job:
    """Return a subject's only row."""
    (only,) = await jobs(store, subject)
    return only


async def park(store: Store, claimed: Claim, reason: str = "refused") -> None:
    """Park a claim."""
    await store.write(lambda tx: tx.delivery.park(claimed, reason))


async def again(store: Store, claimed: Claim, *, after: float, **fields: Any) -> None:
    """Put a claim back, due `after` seconds."""
    await store.write(lambda tx: tx.delivery.again(claimed, at=tx.now + timedelta(seconds=after), **fields))


async def done(store: Store, claimed: Claim) -> None:
    """Finish a claim."""
    await store.write(lambda tx: tx.delivery.done(claimed))
