"""The brake: creates and closings that look like an accident are held until a human releases them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kuma_sync.core.alert import AlertId

CREATE_HELD = "more new at once than brake.max_new allows"
CLOSING_HELD = "more closed at once than brake.max_closed_percent allows"
"""Why the brake holds something, as it is told to a human."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """The limits of one round. `max_new` 0 means no limit."""

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


def check(plan: Plan, brake: Brake, *, created_before: int = 0, open_links: int = 0) -> Plan:
    """Return the plan, with the creates and closings that the brake holds.

    `created_before` counts the creates this round has planned already; `open_links` the links not closed when the
    round began. Updates never come here: the brake does not block them.
    """
    return Plan(
        creates=plan.creates,
        closings=plan.closings,
        held_creates=frozenset(_beyond(plan.creates, brake.max_new, created_before)),
        held_closings=frozenset(plan.closings if _too_many(len(plan.closings), open_links, brake) else ()),
    )


def _beyond(creates: Sequence[AlertId], limit: int, before: int) -> Sequence[AlertId]:
    return creates[max(0, limit - before) :] if limit else ()


def _too_many(closings: int, open_links: int, brake: Brake) -> bool:
    if not closings or closings < brake.min_alerts:
        return False
    return closings * 100 > open_links * brake.max_closed_percent
