"""The verdict of `status`: does the daemon run, what is wrong, what waits for a human; and the exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kuma_sync.app.processes import Running
from kuma_sync.core.condition import CONFIGURATION, Trouble
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.core.moments import moment, since, span
from kuma_sync.core.routing import IRP, UNROUTED
from kuma_sync.store import Heartbeat
from kuma_sync.store.copies import DEAD_AFTER
from kuma_sync.telemetry.health import State, part_of, split_part

LATE = DEAD_AFTER * 2 / 3
"""A daemon that was silent for so long is reported: it has missed two of three heartbeats."""

PARTS = {
    "store": "store",
    "kuma": "KUMA",
    "irp": "IRP",
    "poll": "reading KUMA",
    "delivery": "delivery to the IRP",
    "close": "closing in KUMA",
}


class Verdict(StrEnum):
    """How it stands, for a human and for monitoring."""

    WORKS = "works"
    LOOK = "needs a look"
    NOT_RUNNING = "not running"

    @property
    def exit_code(self) -> int:
        """Return the exit code of `status`."""
        return {Verdict.WORKS: 0, Verdict.LOOK: 1, Verdict.NOT_RUNNING: 3}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts that the verdict is made of.

    `refused` says why the configuration on disk cannot be read, `files` why the store's files cannot be written.
    `parked` counts jobs; `held` counts what the brake holds, by its direction ("create in the IRP"); `unrouted` counts
    alerts that no route takes.
    """

    now: datetime
    store: str
    running: Running
    refused: str = ""
    files: Sequence[str] = ()
    parked: int = 0
    held: dict[str, int]
    unrouted: int = 0
    paused: Sequence[Maintenance] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The verdict, and the lines that say why."""

    verdict: Verdict
    lines: list[str]


def standing(facts: Facts) -> Standing:
    """Judge the facts."""
    running, lines = facts.running, _processes(facts) + _paused(facts)
    troubles = _silent(facts)
    for heartbeat in running.daemons:
        name = f"{_who(heartbeat)}: " if len(running.daemons) > 1 else ""
        ours = [one for one in heartbeat.condition if _counts(one, heartbeat.condition)]
        troubles += [name + _trouble(one, facts.now) for one in ours]
    refused = f"configuration on disk refused: {facts.refused}"
    if facts.refused and not any(refused in line for line in troubles):
        troubles.append(refused)
    troubles += [f"store NOT WRITABLE: {trouble}" for trouble in facts.files]
    troubles += _waiting(facts)
    verdict = Verdict.LOOK if troubles else Verdict.WORKS
    return Standing(verdict=verdict if running.daemon else Verdict.NOT_RUNNING, lines=lines + troubles)


def _processes(facts: Facts) -> list[str]:
    running, when = facts.running, _when(facts.now)
    several = len(running.daemons) > 1
    lines = [
        f"daemon running since {when(one.process.started_at)} {_number(one, host=several)}{_standby(one)}"
        for one in running.daemons
    ]
    if not running.daemon:
        last = running.last
        heard = f"; last heard {when(last.heard_at)} {_number(last)}" if last else ""
        lines.append(f"NOT RUNNING: no daemon works on {facts.store}{heard}")
    return lines + [
        f"a single pass (run --once) is under way since {when(one.process.started_at)} {_number(one)}"
        for one in running.passes
    ]


def _when(now: datetime) -> Callable[[datetime], str]:
    ago = since(now)
    return lambda moment_: f"{moment(moment_)}, {ago(moment_)}"


def _paused(facts: Facts) -> list[str]:
    """Say what an operator paused: no trouble, for somebody wants it."""
    when = _when(facts.now)
    return [
        f"{one.part} PAUSED by {one.by} since {when(one.since)}; "
        + (f"until {when(one.until)}, or " if one.until else "until ")
        + f"`kuma-sync resume {one.part}`"
        for one in facts.paused
    ]


def _silent(facts: Facts) -> list[str]:
    running, ago = facts.running, since(facts.now)
    lines = [
        f"{_who(one)} was not heard for {span(one.silent.total_seconds())}"
        for one in running.daemons
        if one.silent > LATE
    ]
    if running.mute:
        last = f", the last word is from {ago(running.last.heard_at)}" if running.last else ""
        lines.append(
            f"daemon SILENT: a process holds {facts.store}, but writes nothing into it{last}: can it write there, "
            "is it frozen? Its log tells"
        )
    return lines


def _counts(trouble: Trouble, condition: Sequence[Trouble]) -> bool:
    """Tell whether it is a trouble of its own, and not just the result of KUMA or the IRP being away."""
    if trouble.state in (State.STANDBY, State.STARTING):
        return False
    sides = {one.part: one.reason for one in condition if split_part(one.part)[0] in ("kuma", "irp")}
    part, target = split_part(trouble.part)
    follows = {"poll": "kuma", "delivery": part_of("irp", target)}.get(part, "")
    return not (follows in sides and sides[follows].endswith(trouble.reason))


def _trouble(trouble: Trouble, now: datetime) -> str:
    if trouble.part == CONFIGURATION:
        said = f"configuration on disk refused: {trouble.reason}"
    else:
        said = f"{_named(trouble.part)} {trouble.state.upper()}: {trouble.reason}"
    return f"{said} (since {_when(now)(trouble.since)})"


def _waiting(facts: Facts) -> list[str]:
    lines = []
    if facts.parked:
        lines.append(
            f"{facts.parked} parked: `kuma-sync alerts --state parked`; when the reason is gone `kuma-sync retry --all`"
        )
    if facts.held:
        counts = ", ".join(f"{count} {what}" for what, count in facts.held.items())
        lines.append(
            f"{sum(facts.held.values())} held by the brake ({counts}): `kuma-sync alerts --state held`, then "
            "`kuma-sync release`"
        )
    if facts.unrouted:
        lines.append(f"{unrouted_held(facts.unrouted)} (`kuma-sync alerts --state held`); {HOW_TO_ROUTE}")
    return lines


HOW_TO_ROUTE = "add a [[route]] that takes them, or [irp], then reload (SIGHUP); `kuma-sync release` does not free them"


def unrouted_held(count: int) -> str:
    """Say how many alerts no route takes."""
    return f"{count} alert{'s' if count > 1 else ''} held: {UNROUTED}"


def _standby(one: Heartbeat) -> str:
    standby = any(trouble.part == "poll" and trouble.state == State.STANDBY for trouble in one.condition)
    return "; stands by, another copy reads" if standby else ""


def _number(one: Heartbeat, *, host: bool = True) -> str:
    where = f", {one.process.host}" if host else ""
    return f"(pid {one.process.pid}, version {one.process.version}{where})"


def _who(one: Heartbeat) -> str:
    return f"{one.process.host} pid {one.process.pid}"


def _named(part: str) -> str:
    """Name a part for people: `irp:north` is the target north."""
    name, target = split_part(part)
    known = PARTS.get(name, name)
    return known.replace("the IRP", target).replace("IRP", f"IRP {target}") if target not in ("", IRP) else known
