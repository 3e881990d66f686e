"""What waits for a person, in one sentence: how many of how many alerts, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from kuma_sync.core.sentence import Sentence, counted, sentence
from kuma_sync.store.read_models.groups import Group, Kind
from kuma_sync.store.read_models.overview import AlertState

_STOPPED = (AlertState.HELD, AlertState.PARKED)
_LIVE = (*_STOPPED, AlertState.PENDING, AlertState.OPEN)


def wait_for_a_person(groups: Sequence[Group], alerts: Mapping[AlertState, int]) -> Sentence | None:
    """Say what waits for a person; None where nothing does. Parked pieces are no alerts."""
    if not groups:
        return None
    why = tuple(_why(groups))
    stopped = sum(alerts.get(state, 0) for state in _STOPPED)
    if not stopped:
        return sentence("%(why)s", why=why)
    return counted(
        "%(count)d of %(all)d open alerts waits for a person: %(why)s",
        "%(count)d of %(all)d open alerts wait for a person: %(why)s",
        stopped,
        all=sum(alerts.get(state, 0) for state in _LIVE),
        why=why,
    )


def _why(groups: Sequence[Group]) -> Iterator[Sentence]:
    held = [one for one in groups if one.kind.held]
    if held:
        yield _held(sum(one.count for one in held), min((one.oldest for one in held if one.oldest), default=None))
    if unrouted := sum(one.count for one in groups if one.kind is Kind.UNROUTED):
        yield counted(
            "%(count)d without a route (the configuration needs one)",
            "%(count)d without a route (the configuration needs one)",
            unrouted,
        )
    if parked := sum(one.count for one in groups if one.kind.parked):
        yield counted(
            "%(count)d parked (try it again, or give it up)", "%(count)d parked (try it again, or give it up)", parked
        )


def _held(count: int, since: datetime | None) -> Sentence:
    if since is None:
        return counted(
            "%(count)d held by the brake (look, then release or give up)",
            "%(count)d held by the brake (look, then release or give up)",
            count,
        )
    return counted(
        "%(count)d held by the brake since %(since)s (look, then release or give up)",
        "%(count)d held by the brake since %(since)s (look, then release or give up)",
        count,
        since=since,
    )
