"""Whether alerts flow, in one sentence: the first line of `status`, and of the console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kuma_sync.app.processes import Running
from kuma_sync.app.standing import own_troubles
from kuma_sync.core.condition import Trouble
from kuma_sync.core.maintenance import CLOSE, KUMA, Maintenance
from kuma_sync.core.routing import NO_ROUTE
from kuma_sync.core.sentence import Sentence, counted, sentence
from kuma_sync.store import Tx
from kuma_sync.store.jobs import Depth
from kuma_sync.store.queue import WAITING, QueueCounts
from kuma_sync.store.read_models.activity import Slot
from kuma_sync.telemetry.health import State, split_part

SLOW = timedelta(minutes=5)
"""How long a job may wait, while nothing is wrong, before it is told."""

AN_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flowing:
    """What the sentence is made of. `deliveries` are the queues of the targets; `lately` is the last hour."""

    now: datetime
    running: Running
    deliveries: Mapping[str, QueueCounts]
    closes: QueueCounts
    stopped: int
    """Alerts that wait for a human."""
    paused: Sequence[Maintenance]
    lately: Slot


def flowing(tx: Tx, running: Running) -> Flowing:
    """Read the facts."""
    deliveries, closes = tx.delivery.counts(), tx.closes.total()
    every = [*deliveries.values(), closes]
    stopped = sum(counts.jobs.get(depth, 0) for counts in every for depth in (Depth.PARKED, Depth.HELD))
    return Flowing(
        now=tx.now,
        running=running,
        deliveries=deliveries,
        closes=closes,
        stopped=stopped + tx.rejects.count() + sum(tx.links.held_by_target().values()),
        paused=tx.pauses.all(),
        lately=tx.happened.last(AN_HOUR),
    )


def flow(facts: Flowing) -> Sentence:
    """Say the worst of what keeps alerts from flowing; else how they flow."""
    if not facts.running.daemon:
        return _and_waiting(sentence("Nothing flows: no daemon runs"), _waiting(facts, *facts.deliveries))
    if facts.running.mute:
        return sentence("Nobody knows whether alerts flow: the daemon says nothing")
    return next(_stops(facts), None) or _slow(facts) or _well(facts)


def _stops(facts: Flowing) -> Iterator[Sentence]:
    troubles = [
        one
        for heartbeat in facts.running.daemons
        for one in own_troubles(heartbeat.condition)
        if one.state in (State.FAILING, State.PAUSED)
    ]
    for name in ("store", "kuma", "poll", "irp", "delivery", "close"):
        ours = [one for one in troubles if split_part(one.part)[0] == name]
        if ours:
            yield _stopped(min(ours, key=lambda one: one.since), facts)
    for maintained in facts.paused:
        if maintained.lasts(facts.now):
            yield _maintained(maintained, facts)


def _stopped(trouble: Trouble, facts: Flowing) -> Sentence:
    name, target = split_part(trouble.part)
    age, reason = facts.now - trouble.since, trouble.reason or trouble.state
    match name:
        case "store":
            return sentence("Nothing flows: the store is not well for %(age)s: %(reason)s", age=age, reason=reason)
        case "kuma" | "poll":
            return sentence(
                "KUMA is not read for %(age)s, and is tried again by itself; new alerts wait there: %(reason)s",
                age=age,
                reason=reason,
            )
        case "close":
            said = sentence(
                "Closings in KUMA stand still for %(age)s, and are tried again by themselves: %(reason)s",
                age=age,
                reason=reason,
            )
            return _and_waiting(said, _jobs(facts.closes))
        case _:
            said = sentence(
                "Deliveries to %(target)s stand still for %(age)s, and are tried again by themselves: %(reason)s",
                target=target,
                age=age,
                reason=reason,
            )
            return _and_waiting(said, _waiting(facts, target))


def _maintained(one: Maintenance, facts: Flowing) -> Sentence:
    count = _jobs(facts.closes) if one.part in (KUMA, CLOSE) else _waiting(facts, one.part)
    if one.until is None:
        said = sentence(
            "%(part)s is paused (by %(by)s; begun %(since)s; until somebody resumes it)",
            part=one.part,
            by=one.by,
            since=one.since,
        )
    else:
        said = sentence(
            "%(part)s is paused (by %(by)s; begun %(since)s; ends %(until)s)",
            part=one.part,
            by=one.by,
            since=one.since,
            until=one.until,
        )
    return _and_waiting(said, count)


def _and_waiting(said: Sentence, count: int) -> Sentence:
    return counted("%(said)s; %(count)d waits", "%(said)s; %(count)d wait", count, said=said) if count else said


def _slow(facts: Flowing) -> Sentence | None:
    """Say that jobs wait for long although nothing is wrong."""
    late = [counts.oldest for name, counts in facts.deliveries.items() if name != NO_ROUTE and counts.oldest]
    if not late or facts.now - min(late) < SLOW:
        return None
    return counted(
        "Alerts flow slowly: %(count)d waits for its delivery, since %(age)s",
        "Alerts flow slowly: %(count)d wait for their delivery, the oldest since %(age)s",
        _waiting(facts, *facts.deliveries),
        age=facts.now - min(late),
    )


def _well(facts: Flowing) -> Sentence:
    new, irps = facts.lately.kuma.arrived, facts.lately.irps
    if not new and not irps.delivered:
        return sentence("Alerts flow: nothing new in the last hour")
    came = counted("%(count)d new in the last hour", "%(count)d new in the last hour", new)
    within = timedelta(seconds=max(irps.longest, 1))
    waiting = _waiting(facts, *facts.deliveries)
    if waiting:
        return counted(
            "Alerts flow: %(came)s, %(count)d is on its way",
            "Alerts flow: %(came)s, %(count)d are on their way",
            waiting,
            came=came,
        )
    if facts.stopped:
        return counted(
            "Alerts flow: %(came)s, delivered within %(within)s; %(count)d waits for you",
            "Alerts flow: %(came)s, delivered within %(within)s; %(count)d wait for you",
            facts.stopped,
            came=came,
            within=within,
        )
    if not irps.delivered:
        return sentence("Alerts flow: %(came)s", came=came)
    return sentence("Alerts flow: %(came)s, all delivered within %(within)s", came=came, within=within)


def _waiting(facts: Flowing, *targets: str) -> int:
    return sum(_jobs(facts.deliveries.get(name, QueueCounts())) for name in targets)


def _jobs(counts: QueueCounts) -> int:
    return sum(counts.jobs.get(depth, 0) for depth in (*WAITING, Depth.POSTPONED))
