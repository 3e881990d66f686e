"""Whether alerts flow, in one sentence: the first line of `status`, and of the console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kuma_sync.app.decisions import wait_for_a_person
from kuma_sync.app.processes import Running
from kuma_sync.app.pullers import Puller, pullers
from kuma_sync.app.standing import and_failing, own_troubles
from kuma_sync.core.breaker import TOKEN_REFUSED
from kuma_sync.core.condition import CONFIGURATION, Trouble, told_apart
from kuma_sync.core.maintenance import CLOSE, KUMA, Maintenance
from kuma_sync.core.routing import IRP, NO_ROUTE
from kuma_sync.core.sentence import N_, Cause, Refusal, Sentence, Value, counted, sentence
from kuma_sync.store import Tx
from kuma_sync.store.jobs import Depth
from kuma_sync.store.queue import WAITING, QueueCounts
from kuma_sync.store.read_models.activity import Slot
from kuma_sync.store.read_models.groups import Group
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.sync.closing.to_kuma import CLOSE_AT
from kuma_sync.sync.handout.expecting import NOBODY_ASKED
from kuma_sync.telemetry.health import State, part_of, split_part

SLOW = timedelta(minutes=5)
"""How long a job may wait, while nothing is wrong, before it is told."""

AN_HOUR = timedelta(hours=1)

YOUNG = timedelta(minutes=1)
"""While a daemon is younger, that it counted nothing tells nothing: what it did is stored now and then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flowing:
    """What the sentence is made of. `deliveries` are the queues of the targets; `lately` is the last hour.

    `stopped` is what waits for a person, `alerts` how many are in each state. `refused`: why the configuration on disk
    cannot be read, where that is known though no daemon said it. `tries`: when a remote is tried next, by its part.
    """

    now: datetime
    running: Running
    deliveries: Mapping[str, QueueCounts]
    closes: QueueCounts
    stopped: Sequence[Group] = ()
    alerts: Mapping[AlertState, int] = field(default_factory=dict)
    polling: Sequence[Puller] = ()
    paused: Sequence[Maintenance]
    lately: Slot
    refused: str = ""
    tries: Mapping[str, datetime] = field(default_factory=dict)


def flowing(tx: Tx, running: Running, *, refused: str = "", tries: Mapping[str, datetime] | None = None) -> Flowing:
    """Read the facts."""
    return Flowing(
        now=tx.now,
        running=running,
        deliveries=tx.delivery.counts(),
        closes=tx.closes.total(),
        stopped=tx.groups.all(),
        alerts=tx.overview.counts(),
        polling=pullers(tx),
        paused=tx.pauses.all(),
        lately=tx.happened.last(AN_HOUR),
        refused=refused,
        tries=tries or {},
    )


def flow(facts: Flowing) -> Sentence:
    """Say the worst of what keeps alerts from flowing; else how they flow."""
    return told(facts)[0]


def told(facts: Flowing) -> list[Sentence]:
    """Say all that keeps alerts from flowing, the worst first; only where nothing does, how they flow."""
    return wrong(facts) or [_well(facts)]


def wrong(facts: Flowing) -> list[Sentence]:
    """Say all that keeps alerts from flowing, or will, the worst first."""
    if not facts.running.daemon:
        return [_and_waiting(sentence("Nothing flows: no daemon runs"), _waiting(facts, *facts.deliveries))]
    if facts.running.mute:
        return [sentence("Nobody knows whether alerts flow: the daemon says nothing")]
    waits = wait_for_a_person(facts.stopped, facts.alerts)
    found = [*_stops(facts), *([waits] if waits else [])]
    slow = None if found else _slow(facts)
    return [slow] if slow else found


_FIRST = ("store", "kuma", "poll", "irp", "delivery")
_THEN = ("close",)


def _stops(facts: Flowing) -> Iterator[Sentence]:
    troubles = [
        one
        for heartbeat in facts.running.daemons
        for one in own_troubles(heartbeat.condition)
        if one.state in (State.FAILING, State.PAUSED)
    ]
    names = [split_part(one.part)[0] for one in troubles]
    yield from _of_parts(facts, troubles, _FIRST)
    yield from _unfetched(facts, troubles)
    yield from _refused(facts)  # before what somebody wants
    yield from (_maintained(one, facts) for one in facts.paused if one.lasts(facts.now))
    yield from _of_parts(
        facts, troubles, (*_THEN, *(name for name in dict.fromkeys(names) if name not in _FIRST + _THEN))
    )


def _of_parts(facts: Flowing, troubles: Sequence[Trouble], names: Sequence[str]) -> Iterator[Sentence]:
    for name in names:
        ours = [one for one in troubles if split_part(one.part)[0] == name and not _unasked(one)]
        if ours:
            yield _stopped(min(ours, key=lambda one: one.since), facts)


def _unasked(trouble: Trouble) -> bool:
    """Tell whether a target that polls us does not: only its own side can mend that."""
    return trouble.reason.startswith(NOBODY_ASKED)


def _unfetched(facts: Flowing, troubles: Sequence[Trouble]) -> Iterator[Sentence]:
    paused = {one.part for one in facts.paused if one.lasts(facts.now)}
    missed = {split_part(one.part)[1] for one in troubles if _unasked(one)}
    for one in facts.polling:
        if one.target in paused or not (one.target in missed or (one.waiting and one.asked_at is None)):
            continue
        irp = sentence("The IRP") if one.target == IRP else sentence("The IRP %(target)s", target=one.target)
        if one.asked_at is None:
            said = sentence(
                "%(irp)s has never fetched its alerts: it must ask us. Look at its connector and its token",
                irp=irp,
            )
        else:
            said = sentence(
                "%(irp)s has fetched no alerts since %(asked)s: it must ask us. Look at its connector and its token",
                irp=irp,
                asked=one.asked_at,
            )
        yield _and_waiting(said, one.waiting)


def _refused(facts: Flowing) -> Iterator[Sentence]:
    known = [one for heartbeat in facts.running.daemons for one in heartbeat.condition if one.part == CONFIGURATION]
    if known:
        first = min(known, key=lambda one: one.since)
        yield sentence(
            "The configuration on disk is refused since %(since)s, the one before works on. Do not restart until it is "
            "mended: %(reason)s",
            since=first.since,
            reason=Refusal(first.reason),
        )
    elif facts.refused and facts.running.elsewhere:
        yield sentence(
            "The configuration here is refused; the daemon runs on %(host)s. If it reads this file, too, do not "
            "restart it until it is mended: %(reason)s",
            host=", ".join(facts.running.hosts),
            reason=Refusal(facts.refused),
        )
    elif facts.refused:
        yield sentence(
            "The configuration on disk is refused, the one before works on. Do not restart until it is mended: "
            "%(reason)s",
            reason=Refusal(facts.refused),
        )


def _stopped(trouble: Trouble, facts: Flowing) -> Sentence:
    name, target = split_part(trouble.part)
    part, why = told_apart(trouble.part, trouble.reason)
    age, reason = facts.now - trouble.since, Cause(why or trouble.state)
    match name:
        case "store":
            return sentence("Nothing flows: the store is not well for %(age)s: %(reason)s", age=age, reason=reason)
        case "kuma" | "poll" if not why.startswith(CLOSE_AT):
            return _unread(facts, age, reason)
        case "kuma" | "close" if why == trouble.reason:
            said = sentence(
                "Closings in KUMA stand still for %(age)s, and are tried again by themselves: %(reason)s",
                age=age,
                reason=reason,
            )
            return _and_waiting(said, _jobs(facts.closes))
        case "irp" | "delivery":
            again = facts.tries.get(part_of("irp", target))
            return _and_waiting(_undelivered(target, age, reason, again), _waiting(facts, target))
        case _:
            return sentence(
                "Not well for %(age)s, and tried again: %(part)s: %(reason)s", part=part, age=age, reason=reason
            )


def _unread(facts: Flowing, age: timedelta, reason: Cause) -> Sentence:
    values: dict[str, Value] = {"age": age, "reason": reason}
    if _needs_a_token(reason):
        text = N_("KUMA is not read for %(age)s; new alerts wait there. Look at its token: %(reason)s")
    elif (again := facts.tries.get("kuma")) is not None:
        text = N_("KUMA is not read for %(age)s, and is tried again at %(again)s; new alerts wait there: %(reason)s")
        values["again"] = again
    else:
        text = N_("KUMA is not read for %(age)s, and is tried again by itself; new alerts wait there: %(reason)s")
    said, closings = sentence(text, **values), _jobs(facts.closes)
    if not closings:
        return said
    return counted(
        "%(said)s; %(count)d closing waits, too", "%(said)s; %(count)d closings wait, too", closings, said=said
    )


def _undelivered(target: str, age: timedelta, reason: Cause, again: datetime | None) -> Sentence:
    values: dict[str, Value] = {"target": target, "age": age, "reason": reason}
    if _needs_a_token(reason):
        text = N_("Deliveries to %(target)s stand still for %(age)s. Look at its token: %(reason)s")
    elif again is not None:
        text = N_("Deliveries to %(target)s stand still for %(age)s, and are tried again at %(again)s: %(reason)s")
        values["again"] = again
    else:
        text = N_("Deliveries to %(target)s stand still for %(age)s, and are tried again by themselves: %(reason)s")
    return sentence(text, **values)


def _needs_a_token(reason: Cause) -> bool:
    """Tell whether somebody must act: a refused token is refused again."""
    return reason.text.startswith(TOKEN_REFUSED)


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
    return and_failing(_and_waiting(said, count), one, facts.running)


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
    waiting = _waiting(facts, *facts.deliveries) + sum(one.waiting for one in facts.polling)
    if not new and not irps.delivered:
        return _quiet(facts, waiting)
    came = counted("%(count)d new in the last hour", "%(count)d new in the last hour", new)
    if waiting:
        return counted(
            "Alerts flow: %(came)s, %(count)d is on its way",
            "Alerts flow: %(came)s, %(count)d are on their way",
            waiting,
            came=came,
        )
    if not irps.delivered:
        return sentence("Alerts flow: %(came)s", came=came)
    within = timedelta(seconds=max(irps.longest, 1))
    return sentence(
        "Alerts flow: %(came)s, all delivered; the longest wait in the queue was %(within)s", came=came, within=within
    )


def _quiet(facts: Flowing, waiting: int) -> Sentence:
    if waiting:
        return counted("Alerts flow: %(count)d is on its way", "Alerts flow: %(count)d are on their way", waiting)
    started = [one.process.started_at for one in facts.running.daemons]
    if started and facts.now - max(started) < YOUNG:
        return sentence("Alerts flow")
    return sentence("Alerts flow: nothing new in the last hour")


def _waiting(facts: Flowing, *targets: str) -> int:
    return sum(_jobs(facts.deliveries.get(name, QueueCounts())) for name in targets)


def _jobs(counts: QueueCounts) -> int:
    return sum(counts.jobs.get(depth, 0) for depth in (*WAITING, Depth.POSTPONED))
