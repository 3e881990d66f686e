"""Which kinds of weather a storm plays: all of them, or those that were named, so that a failure can be narrowed.

The names are those of the report's table of faults.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MINUTE_PLAYS_NEW_WEATHER = False
"""Whether the minute's storm of `make test` plays the kinds of `NEW`, too. `make storm` always does."""

MOVED = "store file moved away"
REPLACED = "store file replaced"
RESTORED = "store file deleted, older copy restored"
SHORT_PAGES = "pages cut short"
HIDDEN_ROW = "row hidden after the cut"
SILENT = "silent connections"
COSTLY = "costly alert"
UNREAD = "alerts that leave unread"

NEW = (MOVED, REPLACED, RESTORED, SHORT_PAGES, HIDDEN_ROW, SILENT, COSTLY, UNREAD)

PROCESSES = (
    "kill -9",
    "kill -9 of all copies",
    "SIGSTOP, SIGCONT",
    "frozen for longer than its leases",
    "SIGTERM",
    "SIGHUP",
    "clock step",
    "leader's lease taken away",
)
DATABASES = ("database locked", "database locked for a minute", "PostgreSQL killed", "full disk")
SIDES = ("KUMA down", "IRP down", "new KUMA token", "new IRP token", "rows move between pages")

DEAD, HUNG, REFUSING, NONSENSE = (
    f"one target {what}" for what in ("dead", "hung", "refuses our token", "answers nonsense")
)
BROKEN_PROFILE = "a target's profile broken at restart, mended by SIGHUP"
ROUTE = "route changed by SIGHUP"
AWAY, CUT_OFF = "robot stops and returns", "robot cut off in mid-answer"
ONE_TARGET = (DEAD, HUNG, REFUSING, NONSENSE, AWAY, CUT_OFF)
"""A target's own trouble: it explains nothing that is missing, neither there nor elsewhere."""
TARGETS = (*ONE_TARGET, BROKEN_PROFILE, ROUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """What is played: a kind whose name holds one of the words of `only` (none: all), and none of `without`."""

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __contains__(self, name: str) -> bool:
        """Tell whether a kind is played."""
        return (not self.only or _any(self.only, name)) and not _any(self.without, name)

    def unknown(self, wire: Iterable[str]) -> list[str]:
        """Return the words that fit no kind at all; `wire` are the names of the faults on the wire."""
        known = (*wire, *PROCESSES, *DATABASES, *SIDES, *TARGETS, *NEW)
        return [word for word in (*self.only, *self.without) if not any(word in name for name in known)]

    @property
    def words(self) -> str:
        """Return the options that choose the same kinds."""
        chosen = (("--only", self.only), ("--without", self.without))
        return " ".join(f"{option} '{word}'" for option, words in chosen for word in words)


MINUTE = Kinds(without=() if MINUTE_PLAYS_NEW_WEATHER else NEW)
"""What the minute's storm plays."""


def _any(words: Iterable[str], name: str) -> bool:
    return any(word in name for word in words)
