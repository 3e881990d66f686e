"""The alerts of the bare KUMA: made on demand from one prepared text, listed and filtered as KUMA's API does.

Its clock moves only when it is told to, so nothing changes by itself.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

PAGE = 250
KEY = b"@@@@@@@@"
HALF_AN_HOUR = 1700
"""Seconds within which the late share of the alerts was last seen: inside the default overlap of 30 minutes."""


@dataclass(slots=True)
class Siem:
    """A KUMA with as many open alerts as are shown; alert `n` has the id of `n`."""

    events: bytes
    late: float
    born: int
    now: int
    shown: int = 0
    grown: dict[int, tuple[int, int]] = field(default_factory=dict)
    """What changed since it was first shown: number → (last seen, events more)."""

    @classmethod
    def make(cls, *, events: int, event_bytes: int, late: float) -> Self:
        """Prepare the text of an alert's events."""
        dice = random.Random(7)  # noqa: S311  # repeatable content, no secret
        text = b",".join(_event(b"%d" % number, event_bytes, dice) for number in range(events))
        now = int(datetime.now(UTC).timestamp())
        return cls(events=text, late=late, born=now, now=now)

    def page(self, query: dict[str, list[str]]) -> list[bytes]:
        """Return the JSON of one page, in pieces."""
        whole = "withEvents" in query
        texts = [self._text(number, whole=whole) for number in self._cut(query)]
        pieces = [piece for text in texts for piece in (b",", *text)]
        return [b"[", *pieces[1:], b"]"]

    def change(self, count: int) -> None:
        """Let a minute pass in which so many alerts, spread over all, get one event more."""
        self.now += 60
        step = max(1, self.shown // count) if count else 1
        for turn, number in enumerate(range(0, step * count, step)):
            more = self.grown.get(number, (0, 0))[1] + 1
            self.grown[number] = self.now - turn % 60, more

    def outage(self, seconds: int) -> None:
        """Let time pass: alerts shown for the first time from now on appeared during it.

        An alert `n` is older by two hours and `n` seconds at most.
        """
        self.now += seconds
        self.born = self.now

    def _cut(self, query: dict[str, list[str]]) -> list[int]:
        if "id" in query:
            return [number for number in (int(one[:8], 16) for one in query["id"]) if number < self.shown]
        page = int(query.get("page", ["1"])[0])
        numbers = list(range(self.shown))
        since = query.get("from", [""])[0]
        if since:
            least = datetime.fromisoformat(since).timestamp()
            numbers = [number for number in numbers if self._last_seen(number) >= least]
        return numbers[(page - 1) * PAGE : page * PAGE]

    def _last_seen(self, number: int) -> int:
        return self.grown[number][0] if number in self.grown else self._first_seen(number)

    def _first_seen(self, number: int) -> int:
        every = round(1 / self.late) if self.late else 0
        if every and number % every == 0:
            return self.born - (number // every * 7) % HALF_AN_HOUR
        return self.born - 7200 - number

    def _text(self, number: int, *, whole: bool) -> list[bytes]:
        key = b"%08x" % number
        first, last = (_moment(seconds) for seconds in (self._first_seen(number), self._last_seen(number)))
        head = (
            f'{{"id":"{key.decode()}-0000-4000-8000-000000000000","tenantID":"main","tenantName":"Main",'
            f'"name":"Suspicious thing {number % 40}","correlationRuleID":"rule-{number % 40}",'
            f'"priority":"{("low", "medium", "high", "critical")[number % 4]}","status":"new",'
            f'"firstSeen":"{first}","lastSeen":"{last}","assignee":"","closingReason":"","overflow":false,"events":['
        ).encode()
        if not whole:
            return [head, b"]}"]
        dice = random.Random(number)  # noqa: S311  # as above
        more = [_event(b"more%d" % one, 400, dice) for one in range(self.grown.get(number, (0, 0))[1])]
        events = [text for text in (self.events, *more) if text]
        return [head, b",".join(events).replace(KEY, key), b"]}"]


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _event(name: bytes, size: int, dice: random.Random) -> bytes:
    """Return one event's JSON; hexadecimal text fills it up, which packs as badly as real messages do."""
    fields = {
        "ID": f"{KEY.decode()}-{name.decode()}",
        "Timestamp": 1_700_000_000_000 + dice.randrange(1 << 20),
        "DeviceHostName": f"host-{dice.randrange(500)}.example",
        "SourceAddress": f"10.0.{dice.randrange(250)}.{dice.randrange(250)}",
        "SourceUserName": f"user{dice.randrange(300)}",
        "Name": "logon",
    }
    short = json.dumps(fields, separators=(",", ":"))
    filler = dice.randbytes(max(0, size - len(short) - 13) // 2).hex()
    return json.dumps(fields | {"Message": filler}, separators=(",", ":")).encode()
