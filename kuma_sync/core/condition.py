"""The condition of a process in few words: which of its parts are not well, and since when."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kuma_sync.core.sentence import Sentence, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A part that is not well (`store`, `kuma`, `irp`, `poll`, `delivery`, `close`), or the `configuration`."""

    part: str
    state: str
    """As `/readyz` has it: failing, paused, starting, standby; of the configuration: refused."""
    reason: str
    since: datetime
    maintained: bool = False
    """Whether an operator paused that part meanwhile: it is no alarm, and nobody looks whether it is over."""


Condition = tuple[Trouble, ...]
"""Everything that is not well; nothing of it when all is."""

CONFIGURATION, REFUSED = "configuration", "refused"


_PARTS = {
    "store": sentence("store"),
    "kuma": sentence("KUMA"),
    "irp": sentence("IRP"),
    "poll": sentence("reading KUMA"),
    "delivery": sentence("delivery to the IRP"),
    "close": sentence("closing in KUMA"),
    CONFIGURATION: sentence("configuration"),
}
_PARTS_OF_A_TARGET = {"irp": sentence("IRP %(target)s"), "delivery": sentence("delivery to %(target)s")}


def part_named(part: str) -> Sentence:
    """Name a part for people: `irp:north` is the IRP north."""
    name, _, target = part.partition(":")
    if target and name in _PARTS_OF_A_TARGET:
        return replace(_PARTS_OF_A_TARGET[name], values={"target": target})
    return _PARTS.get(part) or sentence("%(name)s", name=part)


_WATCH = re.compile(r"watch(?::(?P<target>[^:\s]+))?: (?P<why>.*)", re.DOTALL)


def told_apart(part: str, reason: str) -> tuple[Sentence, str]:
    """Name what fails, and why: looking for what the IRP closed is of the part `close`, and no trouble of KUMA."""
    looking = _WATCH.fullmatch(reason) if part == "close" else None
    if looking is None:
        return part_named(part), reason
    if looking["target"] is None:
        return sentence("looking for closed incidents in the IRP"), looking["why"]
    return sentence("looking for closed incidents in %(target)s", target=looking["target"]), looking["why"]


def went_on(before: Condition, now: Sequence[Trouble]) -> Condition:
    """Return the troubles there are now; one that was there before keeps the time since when.

    A part that fails, and is then asked no more for that, is in the same trouble.
    """
    known = {(one.part, _kind(one)): one.since for one in before}
    return tuple(replace(one, since=known.get((one.part, _kind(one)), one.since)) for one in now)


def _kind(trouble: Trouble) -> str:
    return "failing" if trouble.state == "paused" else trouble.state


def same(one: Condition, other: Condition) -> bool:
    """Tell whether two conditions say the same; that only a number in a reason went up is nothing new."""
    return [_said(trouble) for trouble in one] == [_said(trouble) for trouble in other]


def _said(trouble: Trouble) -> tuple[str, str, str, bool]:
    return trouble.part, trouble.state, re.sub(r"\d+", "", trouble.reason), trouble.maintained
