"""The verdict of `status` and the console: does the daemon run, what is wrong, what waits for a human."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kuma_sync.app.processes import Running
from kuma_sync.core.condition import CONFIGURATION, Trouble, told_apart
from kuma_sync.core.maintenance import CLOSE, KUMA, Maintenance
from kuma_sync.core.sentence import Cause, Refusal, Sentence, Value, counted, sentence
from kuma_sync.store import Heartbeat
from kuma_sync.store.copies import DEAD_AFTER
from kuma_sync.store.read_models.waiting import Held
from kuma_sync.telemetry.health import State, part_of, split_part

LATE = DEAD_AFTER * 2 / 3
"""A daemon that was silent for so long is reported: it has missed two of three heartbeats."""


class Verdict(StrEnum):
    """How it stands, for a human and for monitoring."""

    WORKS = "works"
    LOOK = "needs a look"
    NOT_RUNNING = "not running"

    @property
    def exit_code(self) -> int:
        """Return the exit code of `status --exit-code`."""
        return {Verdict.WORKS: 0, Verdict.LOOK: 1, Verdict.NOT_RUNNING: 3}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts that the verdict is made of.

    `refused` says why the configuration on disk cannot be read, `changed` when its file was changed last; `files` why
    the store's files cannot be written.
    `parked` counts jobs, `unrouted` alerts that no route takes; `held` is what the brake holds.
    """

    now: datetime
    store: str
    running: Running
    refused: str = ""
    changed: datetime | None = None
    files: Sequence[str] = ()
    parked: int = 0
    held: Sequence[Held] = field(default=(), repr=False)
    unrouted: int = 0
    paused: Sequence[Maintenance] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The verdict, and the lines that say why."""

    verdict: Verdict
    lines: list[Sentence]


def standing(facts: Facts) -> Standing:
    """Judge the facts."""
    running, lines = facts.running, _processes(facts) + _paused(facts)
    troubles, told = _silent(facts), False
    for heartbeat in running.daemons:
        for one in own_troubles(heartbeat.condition):
            said = _trouble(one)
            several = len(running.daemons) > 1
            troubles.append(sentence("%(who)s: %(what)s", who=_who(heartbeat), what=said) if several else said)
            told = told or (one.part == CONFIGURATION and one.reason == facts.refused)
    if facts.refused and not told:
        troubles.append(_unread(facts.refused, facts.changed))
    troubles += [sentence("store NOT WRITABLE: %(trouble)s", trouble=Cause(trouble)) for trouble in facts.files]
    troubles += _waiting(facts)
    verdict = Verdict.LOOK if troubles else Verdict.WORKS
    return Standing(verdict=verdict if running.daemon else Verdict.NOT_RUNNING, lines=lines + troubles)


def _processes(facts: Facts) -> list[Sentence]:
    running = facts.running
    named = len(running.daemons) > 1 or running.elsewhere
    lines = [_daemon(one, host=named) for one in running.daemons]
    if not running.daemon:
        lines.append(_not_running(facts))
    return lines + [
        sentence(
            "a single pass (run --once) is under way since %(since)s %(process)s",
            since=one.process.started_at,
            process=_number(one),
        )
        for one in running.passes
    ]


def _daemon(one: Heartbeat, *, host: bool) -> Sentence:
    values: dict[str, Value] = {"since": one.process.started_at, "process": _number(one, host=host)}
    if any(trouble.part == "poll" and trouble.state == State.STANDBY for trouble in one.condition):
        return sentence("daemon running since %(since)s %(process)s; stands by, another copy reads", **values)
    return sentence("daemon running since %(since)s %(process)s", **values)


def _not_running(facts: Facts) -> Sentence:
    last = facts.running.last
    if last is None:
        return sentence("NOT RUNNING: no daemon works on %(store)s", store=facts.store)
    return sentence(
        "NOT RUNNING: no daemon works on %(store)s; last heard %(heard)s %(process)s",
        store=facts.store,
        heard=last.heard_at,
        process=_number(last),
    )


def _paused(facts: Facts) -> list[Sentence]:
    """Say what an operator paused: no trouble, for somebody wants it."""
    return [
        and_failing(
            sentence(
                "%(part)s PAUSED by %(by)s since %(since)s; until `kuma-sync resume %(part)s`",
                part=one.part,
                by=one.by,
                since=one.since,
            )
            if one.until is None
            else sentence(
                "%(part)s PAUSED by %(by)s since %(since)s; until %(until)s, or `kuma-sync resume %(part)s`",
                part=one.part,
                by=one.by,
                since=one.since,
                until=one.until,
            ),
            one,
            facts.running,
        )
        for one in facts.paused
    ]


def and_failing(said: Sentence, paused: Maintenance, running: Running) -> Sentence:
    """Add what fails of a part that is paused: its end alone will not let anything flow."""
    own = {KUMA: (KUMA, "poll", CLOSE), CLOSE: (CLOSE,)}
    parts = own.get(paused.part) or tuple(part_of(name, paused.part) for name in ("irp", "delivery"))
    found = [one for heartbeat in running.daemons for one in heartbeat.condition if one.maintained]
    ours = [one for one in found if one.part in parts]
    if not ours:
        return said
    failing = min(ours, key=lambda one: (parts.index(one.part), one.since))
    return sentence(
        "%(said)s. It also fails since %(since)s: %(reason)s",
        said=said,
        since=failing.since,
        reason=Cause(failing.reason or failing.state),
    )


def _silent(facts: Facts) -> list[Sentence]:
    running = facts.running
    lines = [
        sentence("%(who)s was not heard for %(silent)s", who=_who(one), silent=one.silent)
        for one in running.daemons
        if one.silent > LATE
    ]
    if running.mute:
        lines.append(sentence("%(silent)s: can it write there, is it frozen? Its log tells", silent=_mute(facts)))
    return lines


def _mute(facts: Facts) -> Sentence:
    last = facts.running.last
    if last is None:
        return sentence(
            "daemon SILENT: a process holds %(store)s, but writes nothing into it",
            store=facts.store,
        )
    return sentence(
        "daemon SILENT: a process holds %(store)s, but writes nothing into it, the last word is from %(age)s ago",
        store=facts.store,
        age=facts.now - last.heard_at,
    )


def own_troubles(condition: Sequence[Trouble]) -> list[Trouble]:
    """Return the troubles that are not just the result of KUMA or the IRP being away.

    A start or standby is none, nor what fails of a part that an operator paused.
    """
    sides = {one.part: one.reason for one in condition if split_part(one.part)[0] in ("kuma", "irp")}
    return [one for one in condition if not (one.maintained or _follows(one, sides))]


def _follows(trouble: Trouble, sides: dict[str, str]) -> bool:
    if trouble.state in (State.STANDBY, State.STARTING):
        return True
    part, target = split_part(trouble.part)
    from_side = {"poll": "kuma", "delivery": part_of("irp", target)}.get(part, "")
    return from_side in sides and sides[from_side].endswith(trouble.reason)


def _trouble(trouble: Trouble) -> Sentence:
    if trouble.part == CONFIGURATION:
        said = _refused(trouble.reason)
    else:
        part, reason = told_apart(trouble.part, trouble.reason)
        # Paused is what an operator did: a side that the daemon asks no more by its own decision stands still.
        state = "STOPPED" if trouble.state == State.PAUSED else trouble.state.upper()
        said = sentence("%(part)s %(state)s: %(reason)s", part=part, state=state, reason=Cause(reason))
    return sentence("%(trouble)s (since %(since)s)", trouble=said, since=trouble.since)


def _refused(reason: str) -> Sentence:
    return sentence("configuration on disk refused: %(reason)s", reason=Refusal(reason))


def _unread(reason: str, changed: datetime | None) -> Sentence:
    """Say that no daemon was told to read what it would refuse: only the file can tell since when that is so."""
    said = _refused(reason)
    if changed is None:
        return said
    return sentence("%(refused)s; the file was changed at %(changed)s", refused=said, changed=changed)


def _waiting(facts: Facts) -> list[Sentence]:
    lines = []
    if facts.parked:
        lines.append(
            counted(
                "%(count)d parked: `kuma-sync alerts --state parked`; when the reason is gone `kuma-sync retry --all`",
                "%(count)d parked: `kuma-sync alerts --state parked`; when the reason is gone `kuma-sync retry --all`",
                facts.parked,
            )
        )
    if facts.held:
        lines.append(
            counted(
                "%(count)d held by the brake (%(kinds)s): `kuma-sync alerts --state held`, then `kuma-sync release`",
                "%(count)d held by the brake (%(kinds)s): `kuma-sync alerts --state held`, then `kuma-sync release`",
                len(facts.held),
                kinds=held_counts(facts.held),
            )
        )
    if facts.unrouted:
        lines.append(
            sentence(
                "%(alerts)s (`kuma-sync alerts --state held`); %(how)s",
                alerts=unrouted_held(facts.unrouted),
                how=HOW_TO_ROUTE,
            )
        )
    return lines


def held_counts(held: Sequence[Held]) -> tuple[Sentence, ...]:
    """Count what the brake holds by kind and direction."""
    return tuple(
        _DIRECTIONS[key](count) for key, count in sorted(Counter((one.what, one.towards) for one in held).items())
    )


_DIRECTIONS = {
    ("create", "irp"): lambda n: counted("%(count)d to create in the IRP", "%(count)d to create in the IRP", n),
    ("close", "irp"): lambda n: counted("%(count)d to close in the IRP", "%(count)d to close in the IRP", n),
    ("close", "kuma"): lambda n: counted("%(count)d to close in KUMA", "%(count)d to close in KUMA", n),
}

HOW_TO_ROUTE = sentence(
    "add a [[route]] that takes them, or [irp], then reload (SIGHUP); `kuma-sync release` does not free them"
)


def unrouted_held(count: int) -> Sentence:
    """Say how many alerts no route takes."""
    return counted("%(count)d alert held: no route", "%(count)d alerts held: no route", count)


def _number(one: Heartbeat, *, host: bool = True) -> str:
    where = f", {one.process.host}" if host else ""
    return f"(pid {one.process.pid}, version {one.process.version}{where})"


def _who(one: Heartbeat) -> str:
    return f"{one.process.host} pid {one.process.pid}"
