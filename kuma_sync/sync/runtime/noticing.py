"""What is wrong and needs a human: made of the conditions of all copies, of counts, and of certificates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from kuma_sync.core.breaker import OUT_OF_SERVICE
from kuma_sync.core.condition import CONFIGURATION, Condition, Trouble
from kuma_sync.core.maintenance import KUMA
from kuma_sync.core.notices import Event, Key, Notice, Severity
from kuma_sync.core.routing import IRP, NO_ROUTE, UNROUTED
from kuma_sync.sync.handout.expecting import NOBODY_ASKED
from kuma_sync.telemetry.health import Part, PartState, State, part_of, split_part

STORE = "store"
EXPIRES_SOON = timedelta(days=14)
"""How long before its end a certificate is spoken of: in a notification, by `check`, and by the alarm."""

_NAMES = {KUMA: "KUMA", IRP: "the IRP", STORE: "the store", "door": "our own door"}


def of_conditions(conditions: Iterable[Condition]) -> list[Notice]:
    """Return the troubles that need a human of these processes, each once."""
    found: dict[Key, Notice] = {}
    for condition in conditions:
        for trouble in condition:
            beside = trouble.maintained or trouble.state in (State.STARTING, State.STANDBY)
            if not (beside or _follows(trouble, condition)):
                notice = _of_trouble(trouble)
                known = found.get(notice.key, notice)
                found[notice.key] = replace(known, since=min(known.since, notice.since))
    return list(found.values())


def of_backlog(parked: Mapping[str, int], held: Mapping[str, int], now: datetime) -> Iterator[Notice]:
    """Yield what waits for a human, by target."""
    for target, count in parked.items():
        if count:
            hint = "see `kuma-sync alerts --state parked`, then `kuma-sync retry`"
            yield replace(_notice(Event.PARKED, target, f"parked{_towards(target, count)}", now), hint=hint)
    for target, count in held.items():
        if count and target == NO_ROUTE:
            told, hint = (
                f"held, for no route takes them: {count} of the alerts",
                "add a [[route]], or [irp], then reload",
            )
            yield replace(_notice(Event.HELD, UNROUTED, told, now), hint=hint)
        elif count:
            hint = "see `kuma-sync alerts --state held`, then `kuma-sync release`"
            yield replace(_notice(Event.HELD, target, f"held{_towards(target, count)}", now), hint=hint)


def of_certificates(ends: Mapping[Part, datetime], now: datetime) -> Iterator[Notice]:
    """Yield the certificates that expire soon, or did; of those that were shown."""
    for part, end in ends.items():
        if end - now < EXPIRES_SOON:
            name, target = split_part(part)
            expires = "has expired" if end <= now else "expires"
            told = f"the certificate of {_named(target or name)} {expires} on {end:%Y-%m-%d}"
            severity = Severity.CRITICAL if end <= now else Severity.WARNING
            yield replace(_notice(Event.CERTIFICATE, target or name, told, now), severity=severity)


def is_judged(notice: Notice, parts: Mapping[Part, PartState], ends: Mapping[Part, datetime]) -> bool:
    """Tell whether a process that has just begun knows if this trouble is over: who was not asked may still be out."""
    side = KUMA if notice.target == KUMA else part_of("irp", notice.target)
    match notice.event:
        case Event.PARKED | Event.HELD | Event.CONFIGURATION | Event.STORE:
            return True
        case Event.CERTIFICATE:
            return side in ends
        case Event.NOBODY_ASKS:
            return False
        case Event.STUCK | Event.PAUSED:
            state = parts.get(side)  # None: that target is configured no more
            return state is None or (state.state is State.OK and state.age_seconds is not None)


def _notice(event: Event, target: str, text: str, since: datetime) -> Notice:
    return Notice(event=event, severity=Severity.WARNING, text=text, target=target, since=since)


def _follows(trouble: Trouble, condition: Sequence[Trouble]) -> bool:
    """Tell whether a part fails because the side that it works with does: that is told of the side."""
    part, target = split_part(_source(trouble))
    side = {"poll": KUMA, "close": KUMA, "delivery": part_of("irp", target), "watch": part_of("irp", target)}.get(part)
    return any(one.part == side and one is not trouble for one in condition)


def _source(trouble: Trouble) -> Part:
    """Return the part that fails: of `close` a target's watch may be it, which its reason names."""
    first = trouble.reason.partition(": ")[0]
    return first if trouble.part == "close" and split_part(first)[0] == "watch" else trouble.part


def _of_trouble(trouble: Trouble) -> Notice:
    if trouble.part == CONFIGURATION:
        told = f"the configuration on disk is refused, and the next start will fail: {trouble.reason}"
        return _notice(Event.CONFIGURATION, "", told, trouble.since)
    part, target = split_part(_source(trouble))
    target = target or (STORE if part == STORE else KUMA)
    event, text = _judged(trouble, part, _named(target))
    severity = Severity.WARNING if part == "watch" else Severity.CRITICAL
    return Notice(event=event, severity=severity, text=text, target=target, since=trouble.since)


def _judged(trouble: Trouble, part: str, named: str) -> tuple[Event, str]:
    reason = trouble.reason
    if part == STORE:
        return Event.STORE, f"the store is out of reach: {reason}"
    if reason.startswith(NOBODY_ASKED):
        return Event.NOBODY_ASKS, f"{named} does not ask for its alerts: {reason}"
    if trouble.state == State.PAUSED and not reason.startswith(OUT_OF_SERVICE):
        return Event.PAUSED, f"{named} refuses us, and is not asked any more; everything is kept: {reason}"
    return Event.STUCK, f"{_work(part, named)}: {reason}"


def _work(part: str, named: str) -> str:
    match part:
        case "poll":
            return "KUMA is not read"
        case "close":
            return "alerts are not closed in KUMA"
        case "delivery":
            return f"nothing is delivered to {named}"
        case "watch":
            return f"{named} does not tell what was closed there"
        case _:
            return f"{named} is out of reach, or fails"


def _named(target: str) -> str:
    return _NAMES.get(target, target)


def _towards(target: str, count: int) -> str:
    return f" towards {_named(target)}: {count} job{'s' if count > 1 else ''}"
