"""The brake: creates and closings that look like an accident are held until a human releases them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kuma_sync.core.alert import AlertId

CREATE_HELD = "more new at once than brake.max_new allows"
CLOSING_HELD = "more closed at once than brake.max_closed_percent allows"
"""Why the brake holds something, as it is told to a human."""


TOGETHER = timedelta(minutes=1)
"""Closings of rounds that are less than this apart are judged together: how often we look must not decide what looks
like an accident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """How many closings the brake let through lately, by the time of their round."""

    rounds: tuple[tuple[datetime, int], ...] = ()

    def count(self, now: datetime) -> int:
        """Count those that are judged together with a round now."""
        return sum(count for _at, count in self._lately(now))

    def and_now(self, count: int, now: datetime) -> Passed:
        """Add those of a round."""
        return Passed(rounds=(*self._lately(now), (now, count)))

    def _lately(self, now: datetime) -> tuple[tuple[datetime, int], ...]:
        # What lies ahead is from before the clock was set back.
        return tuple(one for one in self.rounds if now - TOGETHER < one[0] <= now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """The limits of one round, for closings also of the rounds just before it. `max_new` 0 means no limit."""

    max_closed_percent: float
    min_alerts: int
    max_new: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The creates and closings that a round plans, and which of them are held."""

    creates: Sequence[AlertId] = ()
    closings: Sequence[AlertId] = ()
    held_creates: frozenset[AlertId] = frozenset()
    held_closings: frozenset[AlertId] = frozenset()


def check(plan: Plan, brake: Brake, *, created_before: int = 0, open_links: int = 0, passed: int = 0) -> Plan:
    """Return the plan, with the creates and closings that the brake holds.

    `created_before` counts the creates this round has planned already; `open_links` the links not closed when the
    round began; `passed` the closings of the rounds just before it that were let through. Updates never come here: the
    brake does not block them.
    """
    return Plan(
        creates=plan.creates,
        closings=plan.closings,
        held_creates=frozenset(_beyond(plan.creates, brake.max_new, created_before)),
        held_closings=frozenset(plan.closings if _too_many(len(plan.closings), open_links, passed, brake) else ()),
    )


def _beyond(creates: Sequence[AlertId], limit: int, before: int) -> Sequence[AlertId]:
    return creates[max(0, limit - before) :] if limit else ()


def _too_many(closings: int, open_links: int, passed: int, brake: Brake) -> bool:
    together = closings + passed
    if not closings or together < brake.min_alerts:
        return False
    return together * 100 > (open_links + passed) * brake.max_closed_percent
