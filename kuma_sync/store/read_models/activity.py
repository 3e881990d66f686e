"""What happened in the last hours, slot by slot: for the charts of the console, and for the first line of `status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import reduce

from sqlalchemy import Connection, func, select

from kuma_sync.store import schema
from kuma_sync.store.activity import NOBODYS, SLOT, Counts, slot_of

_SUMS = [func.sum(schema.activity.c[field.name]) for field in fields(Counts) if field.name != "longest"]
_SUMMED = [field.name for field in fields(Counts) if field.name != "longest"]

A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What happened from `start` on, in all copies together. `targets` has those in which something did."""

    start: datetime
    kuma: Counts
    targets: Mapping[str, Counts]

    @property
    def irps(self) -> Counts:
        """Return what happened in all targets together."""
        return reduce(Counts.plus, self.targets.values(), Counts())

    @property
    def mean(self) -> float | None:
        """Return how many seconds a delivery took in the mean; None where there was none."""
        irps = self.irps
        return irps.waited / irps.delivered if irps.delivered else None

    @property
    def longest(self) -> float | None:
        """Return how many seconds the longest delivery took; None where there was none."""
        irps = self.irps
        return irps.longest if irps.delivered else None


class History:
    """Questions about what happened, inside one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def slots(self, within: timedelta = A_DAY, *, length: timedelta = 3 * SLOT) -> list[Slot]:
        """Return the slots of the last hours, the empty ones too, oldest first; the last one has only just begun."""
        first = slot_of(self._now - within, length) + length
        found: dict[datetime, dict[str, Counts]] = {}
        for slot, target, counts in self._counts(first):
            its = found.setdefault(slot_of(slot, length), {})
            its[target] = its.get(target, Counts()).plus(counts)
        starts = [first + number * length for number in range((slot_of(self._now, length) - first) // length + 1)]
        return [_slot(start, found.get(start, {})) for start in starts]

    def last(self, within: timedelta) -> Slot:
        """Return all that happened lately as one slot: up to one slot more than was asked for."""
        start, counts = slot_of(self._now - within), dict[str, Counts]()
        for _slot_start, target, more in self._counts(start):
            counts[target] = counts.get(target, Counts()).plus(more)
        return _slot(start, counts)

    def _counts(self, since: datetime) -> list[tuple[datetime, str, Counts]]:
        table = schema.activity
        columns = (table.c.slot, table.c.target)
        query = select(*columns, func.max(table.c.longest), *_SUMS).where(table.c.slot >= since).group_by(*columns)
        return [
            (slot, target, _as_counts(longest, sums))
            for slot, target, longest, *sums in self._connection.execute(query)
        ]


def _as_counts(longest: float, sums: list[float]) -> Counts:
    named = {name: value if name == "waited" else int(value) for name, value in zip(_SUMMED, sums, strict=True)}
    return Counts(longest=longest, **named)  # type: ignore[arg-type]  # only `waited` is no int


def _slot(start: datetime, counts: Mapping[str, Counts]) -> Slot:
    targets = {target: one for target, one in sorted(counts.items()) if target != NOBODYS}
    return Slot(start=start, kuma=counts.get(NOBODYS, Counts()), targets=targets)
