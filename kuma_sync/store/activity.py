"""How much happened: a row for each process, five minutes and target, which only that process writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, delete

from kuma_sync.core.moments import EPOCH
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into

SLOT = timedelta(minutes=5)

KEPT = timedelta(days=8)
"""How long slots are kept: a week can be compared with the one before on the same weekday."""

NOBODYS = ""
"""Stands for a target where something concerns none: what KUMA showed, and what was closed there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much happened in a time. Of no target: alerts that arrived and changed in KUMA, closings there.

    Of a target: deliveries brought to their end, how many seconds they took from the read that saw the change, all
    together and the longest; incidents closed. `failed` are attempts.
    """

    arrived: int = 0
    changed: int = 0
    delivered: int = 0
    waited: float = 0.0
    longest: float = 0.0
    closed: int = 0
    failed: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return both together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMMED}
        return Counts(**sums, longest=max(self.longest, other.longest))

    def since(self, before: Counts) -> Counts:
        """Return how much more this is than it was before; the longest is of what came since, and stays."""
        more = {name: getattr(self, name) - getattr(before, name) for name in _SUMMED}
        return Counts(**more, longest=self.longest)


_SUMMED = tuple(field.name for field in fields(Counts) if field.name != "longest")

Growth = Mapping[str, Counts]
"""How much happened, by target."""


def slot_of(moment: datetime, length: timedelta = SLOT) -> datetime:
    """Return the beginning of the slot that a moment lies in."""
    return moment - (moment - EPOCH) % length


class Activity:
    """The table activity, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, owner: str, slot: datetime, growth: Growth) -> None:
        """Add what happened to the slot of a process."""
        rows = [
            {"slot": slot, "owner": owner, "target": target, **asdict(counts)}
            for target, counts in sorted(growth.items())
            if counts != Counts()
        ]
        if not rows:
            return
        table = schema.activity
        insert = insert_into(self._connection, table)
        stored, fresh = table.c, insert.excluded
        sums = {name: stored[name] + fresh[name] for name in _SUMMED}
        longest = case((fresh.longest > stored.longest, fresh.longest), else_=stored.longest)
        added = insert.on_conflict_do_update(
            index_elements=["slot", "owner", "target"], set_={**sums, "longest": longest}
        )
        self._connection.execute(added, rows)

    def forget(self, before: datetime) -> None:
        """Remove the slots that began before a moment."""
        self._connection.execute(delete(schema.activity).where(schema.activity.c.slot < before))
