"""Liveness (do the loops run?) and readiness (is the work done?), judged from the reports of the loops.

Live: every expected loop has reported in time. A fault of a remote never makes the process not live.
Ready: every part is ok, off or standby, has reported lately, and finishes its waiting work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from kuma_sync.core.routing import IRP

Part = str
"""The name of a part: `store`, `kuma`, `poll`, `close`, and `irp` and `delivery` of each target, by `part_of`."""

PARTS: tuple[Part, ...] = ("store", "kuma", "irp", "poll", "delivery", "close")
"""The parts where there is the plain `[irp]` alone."""


def part_of(name: str, target: str) -> Part:
    """Return the name of a target's part: `irp` for the plain one, `irp:north` for another."""
    return name if target == IRP else f"{name}:{target}"


OF_A_TARGET = frozenset({"irp", "delivery", "watch"})


def split_part(part: Part) -> tuple[str, str]:
    """Return what `part_of` made a part's name of: the name, and the target; "" for what is no target's."""
    name, _, target = part.partition(":")
    return name, target or (IRP if name in OF_A_TARGET else "")


class State(StrEnum):
    """The state that a part reports."""

    STARTING = "starting"
    OK = "ok"
    FAILING = "failing"
    PAUSED = "paused"
    OFF = "off"
    STANDBY = "standby"


_READY = frozenset({State.OK, State.OFF, State.STANDBY})


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """A part as `/readyz` shows it; `age_seconds` is the age of its last success, None before the first."""

    state: State
    age_seconds: float | None = None
    reason: str = ""
    maintenance: bool = False
    """Whether an operator paused it: then it is not well, and yet ready."""
    beneath: PartState | None = None
    """What it was before that pause where it was not well then: nobody asks meanwhile whether it is better."""

    @property
    def ready(self) -> bool:
        """Tell whether nothing is wrong with it."""
        return self.maintenance or self.state in _READY


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The verdict with its parts. Parked and held jobs are counted by target, `kuma` for those towards KUMA, but do not
    make it worse.

    `refused` says why the configuration on disk was refused ("key: what is wrong"), `refused_seconds` for how long it
    is by now. It does not make the verdict worse, but the next start will fail.
    """

    ready: bool
    parts: dict[Part, PartState]
    parked_by_target: Mapping[str, int] = field(default_factory=dict)
    held_by_target: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""
    refused_seconds: float = 0.0

    @property
    def parked(self) -> int:
        """Count what is parked."""
        return sum(self.parked_by_target.values())

    @property
    def held(self) -> int:
        """Count what is held."""
        return sum(self.held_by_target.values())

    @property
    def starting(self) -> bool:
        """Tell whether all parts that are not ready have simply not reported yet."""
        return not self.ready and all(part.ready or part.state is State.STARTING for part in self.parts.values())


@dataclass(slots=True, kw_only=True)
class _Known:
    state: State = State.STARTING
    reason: str = ""
    succeeded: float | None = None
    moved: float = 0.0
    within: float | None = None
    worked: float = 0.0
    works_within: float | None = None
    troubles: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Loop:
    beaten: float
    within: float


class Health:
    """Collect the reports of the parts and the loops.

    `monotonic` counts seconds and never goes back; `on_success` is called at every success (for the metric).
    """

    def __init__(
        self, *, monotonic: Callable[[], float], on_success: Callable[[Part], None] = lambda _part: None
    ) -> None:
        self._now = monotonic
        self._on_success = on_success
        self._parts: dict[Part, _Known] = {part: _Known(moved=monotonic(), worked=monotonic()) for part in PARTS}
        self._loops: dict[str, _Loop] = {}
        self._parked: Mapping[str, int] = {}
        self._held: Mapping[str, int] = {}
        self._refused, self._refused_at = "", 0.0
        self._unserved: set[Part] = set()
        self._maintained: dict[Part, str] = {}

    def expect_targets(self, targets: Collection[str]) -> None:
        """Take over the parts of these targets; those of others are no longer judged."""
        wanted = [part_of(name, target) for name in ("irp", "delivery") for target in targets]
        for part in wanted:
            self._parts.setdefault(part, _Known(moved=self._now(), worked=self._now()))
        for part in [one for one in self._parts if split_part(one)[1] and one not in wanted]:
            del self._parts[part]
        self._unserved.clear()

    def unserved(self, jobs: Mapping[str, int]) -> set[str]:
        """Note how many jobs wait for each target that nobody serves; return the targets that are news."""
        parts = {part_of("delivery", target): target for target in jobs}
        for part in self._unserved - parts.keys():
            self._parts.pop(part, None)
        fresh = {target for part, target in parts.items() if part not in self._unserved}
        self._unserved = set(parts)
        for part, target in parts.items():
            self._parts.setdefault(part, _Known(moved=self._now(), worked=self._now()))
            self.failed(part, f"{jobs[target]} wait, and {target} is not configured")
        return fresh

    def succeeded(self, part: Part) -> None:
        """Note a success; it ends any failure of the part."""
        known = self._set(part, State.OK)
        known.succeeded = known.moved = self._now()
        self._on_success(part)

    def presumed(self, part: Part) -> None:
        """Take a part for well that nothing has asked yet; that is no success, and has no age."""
        self._set(part, State.OK).moved = self._now()
        self._on_success(part)

    def moved_on(self, part: Part) -> None:
        """Note progress in a long piece of work, so that the part does not count as late."""
        self._parts[part].moved = self._now()

    def failed(self, part: Part, reason: str) -> None:
        """Note a failure; `reason` is shown to everyone who asks, so it holds no secret and no content."""
        self._set(part, State.FAILING, reason)

    def trouble(self, part: Part, source: str, reason: str) -> None:
        """Note that one task of a part fails while others may succeed; an empty reason ends it."""
        troubles = self._parts[part].troubles
        troubles.pop(source, None)
        if reason:
            troubles[source] = reason

    def paused(self, part: Part, reason: str) -> None:
        """Note that a remote refuses us and that requests to it were stopped."""
        self._set(part, State.PAUSED, reason)

    def off(self, part: Part, reason: str = "") -> None:
        """Note that a part is switched off."""
        self._set(part, State.OFF, reason)

    def standby(self, part: Part, reason: str = "another copy does it") -> None:
        """Note that another copy of the daemon does this part's work."""
        self._set(part, State.STANDBY, reason).moved = self._now()

    def starting(self, part: Part) -> None:
        """Note that a part begins (again); it has its full time to succeed."""
        known = self._parts[part]
        known.state, known.reason, known.moved, known.worked = State.STARTING, "", self._now(), self._now()
        known.troubles.clear()

    def fresh_within(self, part: Part, within: timedelta) -> None:
        """Call a part failing when it neither succeeded nor progressed for so long (poll: two intervals).

        A standby must keep reporting, too: a copy that no longer looks at the lease cannot take over.
        """
        self._parts[part].within = within.total_seconds()

    def works_within(self, part: Part, within: timedelta) -> None:
        """Call a part failing when none of its waiting work was done for so long, even if other things succeed."""
        self._parts[part].works_within = within.total_seconds()

    def worked(self, part: Part) -> None:
        """Note that a piece of a part's work was done, or that none waits."""
        self._parts[part].worked = self._now()

    def backlog(self, *, parked: Mapping[str, int], held: Mapping[str, int]) -> None:
        """Note how many jobs wait for a human, by target; those towards KUMA by `kuma`."""
        self._parked, self._held = parked, held

    def maintained(self, reasons: Mapping[Part, str]) -> None:
        """Note which parts an operator paused, with a reason each; one that is so no more has its full time again."""
        for part in self._maintained.keys() - reasons.keys():
            if part in self._parts:
                known = self._parts[part]
                known.moved = known.worked = self._now()
        self._maintained = dict(reasons)

    def refused(self, problem: str) -> None:
        """Note that the configuration on disk was refused, naming the key; "" when one was taken.

        Refused again, for whatever reason, it is refused since the first time.
        """
        if not self._refused:
            self._refused_at = self._now()
        self._refused = problem

    def expects(self, loop: str, within: timedelta) -> None:
        """Expect a beat of this loop at least this often, from now on."""
        self._loops[loop] = _Loop(beaten=self._now(), within=within.total_seconds())

    def beat(self, loop: str) -> None:
        """Note that a loop runs; an unexpected one is ignored."""
        if loop in self._loops:
            self._loops[loop].beaten = self._now()

    def ended(self, loop: str) -> None:
        """Expect nothing more of a loop that ended on purpose."""
        self._loops.pop(loop, None)

    def stood_still(self, seconds: float) -> None:
        """Do not count a time in which no loop could run: the process was frozen, or its event loop blocked."""
        now = self._now()
        for loop in self._loops.values():
            loop.beaten = min(loop.beaten + seconds, now)

    def stuck(self, times: float = 1) -> tuple[str, ...]:
        """Return the loops that are late: silent for more than `times` their limit."""
        now = self._now()
        return tuple(name for name, loop in self._loops.items() if now - loop.beaten > loop.within * times)

    def live(self) -> bool:
        """Tell whether all loops run."""
        return not self.stuck()

    def ready(self) -> Readiness:
        """Judge all parts as they are now."""
        parts = {part: self._judge(part, known) for part, known in self._parts.items()}
        ready = all(part.ready for part in parts.values())
        return Readiness(
            ready=ready,
            parts=parts,
            parked_by_target=self._parked,
            held_by_target=self._held,
            refused=self._refused,
            refused_seconds=self._now() - self._refused_at if self._refused else 0.0,
        )

    def _set(self, part: Part, state: State, reason: str = "") -> _Known:
        # The doors are open before the first runtime is at work, and while one takes over from another.
        known = self._parts.get(part) or _Known()
        if known.state is not State.OFF:  # a part that is off stays off until it starts again
            known.state, known.reason = state, reason
        return known

    def _judge(self, part: Part, known: _Known) -> PartState:
        age = None if known.succeeded is None else round(self._now() - known.succeeded, 1)
        if part in self._maintained and known.state is not State.OFF:
            return PartState(
                state=State.PAUSED,
                age_seconds=age,
                reason=self._maintained[part],
                maintenance=True,
                beneath=_failing(known, age),
            )
        reason = "" if known.state is State.OFF else self._doubt(known)
        if reason:
            return PartState(state=State.FAILING, age_seconds=age, reason=reason)
        return PartState(state=known.state, age_seconds=age, reason=known.reason)

    def _doubt(self, known: _Known) -> str:
        """Return why a part is not as well as it says, or nothing."""
        silent, idle = self._now() - known.moved, self._now() - known.worked
        if known.troubles:
            return next(iter(known.troubles.values()))
        if known.within is not None and silent > known.within and known.state in _READY | {State.STARTING}:
            return f"no success for {silent:.0f} s"
        if known.works_within is not None and idle > known.works_within and known.state in _READY:
            return f"nothing done for {idle:.0f} s, though work waits"
        return ""


def _failing(known: _Known, age: float | None) -> PartState | None:
    """Return what was wrong when it was asked last: silence is nothing wrong while an operator pauses it."""
    if known.troubles:
        return PartState(state=State.FAILING, age_seconds=age, reason=next(iter(known.troubles.values())))
    if known.state in (State.FAILING, State.PAUSED):
        return PartState(state=known.state, age_seconds=age, reason=known.reason)
    return None
