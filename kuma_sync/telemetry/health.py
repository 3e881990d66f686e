"""Whether the loops turn (live) and whether the work gets done (ready), from what the loops themselves report.

Must not: ask anyone, or look at a wall clock: ages are measured on the injected monotonic one.
Live: every expected loop has beaten in time; a remote's fault never shows here.
Ready: every part is ok, off or standby.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Literal

Part = Literal["store", "kuma", "irp", "poll", "delivery", "close"]
PARTS: tuple[Part, ...] = ("store", "kuma", "irp", "poll", "delivery", "close")


class State(StrEnum):
    """What a part says of itself."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The verdict with its parts; parked and held jobs are counted and do not make it worse."""

    ready: bool
    parts: dict[Part, PartState]
    parked: int = 0
    held: int = 0

    @property
    def starting(self) -> bool:
        """Tell whether what is not ready has only not been heard from yet."""
        return not self.ready and all(part.state in _READY | {State.STARTING} for part in self.parts.values())


@dataclass(slots=True, kw_only=True)
class _Known:
    state: State = State.STARTING
    reason: str = ""
    succeeded: float | None = None
    moved: float = 0.0
    within: float | None = None
    troubles: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Loop:
    beaten: float
    within: float


class Health:
    """Collect what the parts and the loops say.

    `monotonic` counts seconds and never goes back; `on_success` hears of every success (for the metric).
    """

    def __init__(
        self, *, monotonic: Callable[[], float], on_success: Callable[[Part], None] = lambda _part: None
    ) -> None:
        self._now = monotonic
        self._on_success = on_success
        self._parts: dict[Part, _Known] = {part: _Known(moved=monotonic()) for part in PARTS}
        self._loops: dict[str, _Loop] = {}
        self._parked = 0
        self._held = 0

    def succeeded(self, part: Part) -> None:
        """Note a success; whatever was wrong with the part is over."""
        known = self._set(part, State.OK)
        known.succeeded = known.moved = self._now()
        self._on_success(part)

    def moved_on(self, part: Part) -> None:
        """Note that a long piece of work gets on: a part that is ok does not grow stale over it."""
        self._parts[part].moved = self._now()

    def failed(self, part: Part, reason: str) -> None:
        """Note a failure; `reason` is shown to everyone who asks, so it holds no secret and no content."""
        self._set(part, State.FAILING, reason)

    def trouble(self, part: Part, source: str, reason: str) -> None:
        """Note that one of a part's duties fails while others may succeed; an empty reason ends it."""
        troubles = self._parts[part].troubles
        troubles.pop(source, None)
        if reason:
            troubles[source] = reason

    def paused(self, part: Part, reason: str) -> None:
        """Note that a side refuses us and was stopped."""
        self._set(part, State.PAUSED, reason)

    def off(self, part: Part, reason: str = "") -> None:
        """Note that a part is switched off."""
        self._set(part, State.OFF, reason)

    def standby(self, part: Part, reason: str = "another copy does it") -> None:
        """Note that another copy of the daemon does this part's work."""
        self._set(part, State.STANDBY, reason)

    def starting(self, part: Part) -> None:
        """Note that a part begins (again) and has not been heard from; it has its full time to succeed."""
        known = self._parts[part]
        known.state, known.reason, known.moved = State.STARTING, "", self._now()
        known.troubles.clear()

    def fresh_within(self, part: Part, within: timedelta) -> None:
        """Call an ok part failing when it neither succeeded nor moved on for this long (poll: two intervals)."""
        self._parts[part].within = within.total_seconds()

    def backlog(self, *, parked: int, held: int) -> None:
        """Note how many jobs wait for a human."""
        self._parked, self._held = parked, held

    def expects(self, loop: str, within: timedelta) -> None:
        """Expect a beat of this loop at least this often, from now on."""
        self._loops[loop] = _Loop(beaten=self._now(), within=within.total_seconds())

    def beat(self, loop: str) -> None:
        """Note that a loop turns; one that nobody expects is ignored."""
        if loop in self._loops:
            self._loops[loop].beaten = self._now()

    def ended(self, loop: str) -> None:
        """Expect nothing more of a loop that ended on purpose."""
        self._loops.pop(loop, None)

    def stuck(self) -> tuple[str, ...]:
        """Return the loops that are overdue."""
        now = self._now()
        return tuple(name for name, loop in self._loops.items() if now - loop.beaten > loop.within)

    def live(self) -> bool:
        """Tell whether all loops turn."""
        return not self.stuck()

    def ready(self) -> Readiness:
        """Judge all parts as they are now."""
        parts = {part: self._judge(known) for part, known in self._parts.items()}
        ready = all(part.state in _READY for part in parts.values())
        return Readiness(ready=ready, parts=parts, parked=self._parked, held=self._held)

    def _set(self, part: Part, state: State, reason: str = "") -> _Known:
        known = self._parts[part]
        if known.state is not State.OFF:  # what is switched off says so until it starts again
            known.state, known.reason = state, reason
        return known

    def _judge(self, known: _Known) -> PartState:
        now = self._now()
        age = None if known.succeeded is None else round(now - known.succeeded, 1)
        silent = now - known.moved
        if known.troubles and known.state is not State.OFF:
            return PartState(state=State.FAILING, age_seconds=age, reason=next(iter(known.troubles.values())))
        if known.within is not None and silent > known.within and known.state in {State.OK, State.STARTING}:
            return PartState(state=State.FAILING, age_seconds=age, reason=f"no success for {silent:.0f} s")
        return PartState(state=known.state, age_seconds=age, reason=known.reason)
