"""What can be ordered in the console: what the commands do, foreseen before it is done, and each form once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from kuma_sync.core.closing import Reason
from kuma_sync.core.errors import KumaSyncError
from kuma_sync.core.sentence import Sentence

MOST_SHOWN = 10
"""How many of the things that an order is about are named before it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What an order is about: these alerts (or parked pieces), one group of what waits for a human, or all of it."""

    ids: tuple[str, ...] = ()
    group: str = ""
    everything: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Put what is parked back to the queue."""

    choice: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Give alerts, or parked pieces, up for good."""

    choice: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Let go what the brake holds."""

    choice: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Resync:
    """Find the incidents, then send them full updates; with `since` those of alerts last seen since then."""

    choice: Choice
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Close an alert in KUMA, and its incident. Without a reason it is not ordered yet."""

    alert_id: str
    reason: Reason | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Ask a part nothing for so long; None: until it is resumed."""

    part: str
    length: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """End the pause of a part."""

    part: str


Order: TypeAlias = Retry | Drop | Release | Resync | Close | Pause | Resume


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One of the things that an order is about."""

    id: str
    name: str = ""
    note: Sentence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an order would do. `items` are the first of `count`; `remarks` say what follows.

    `agreed` stands for exactly what was shown: where `binding`, an order about anything else is not carried out.
    """

    says: Sentence
    remarks: tuple[Sentence, ...] = ()
    items: tuple[Item, ...] = ()
    count: int = 1
    binding: bool = False
    agreed: str = ""

    @property
    def more(self) -> int:
        """Count what is not named."""
        return max(self.count - len(self.items), 0) if self.items else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """An order as somebody gave it: his name for the history, and what he agreed to.

    `token` stands for his form, which is remembered until `until` so that it is not taken twice.
    """

    order: Order
    by: str
    token: bytes
    until: datetime
    agreed: str = ""


class NothingDone(KumaSyncError):
    """Nothing was done; `says` tells why."""

    def __init__(self, says: Sentence) -> None:
        super().__init__(str(says))
        self.says = says


class Changed(KumaSyncError):
    """Nothing was done: what the order is about is no longer what was shown."""


class ConsoleActions(Protocol):
    """What the console may order."""

    async def foresee(self, order: Order) -> Forecast:
        """Tell what an order would do; raise NothingDone where it would do nothing."""

    async def carry_out(self, signed: Signed) -> Sentence:
        """Do it, once for a token; tell what was done. Raise NotDone, or Changed."""


def agreed_on(names: Iterable[str]) -> str:
    """Return what stands for exactly these things."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()[:32]
