"""Pages of alerts as KUMA would never send them: true alerts among garbage, damaged pages, and bytes without sense.

The same seed makes the same pages.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

TEXTS = ("", "вход", 'a "quoted" \\ word', "line\nbreak", "}{][,:", "😀", "\u2028", "x" * 300, "null", "5")
TOKENS = (b",", b"]", b"[", b"{", b"}", b'"', b"\\", b":", b" ", b"null", b"\x00", b"\xff", b"\\u0000", b"\\ud83d")
TOKENS += (b"1e999", b"9" * 400, b"-", b'"id":', b'"events":[', b"},{", b"}]}", b"[" * 80, b"\xef\xbb\xbf", b"NaN")
ATOMS = (b"tru", b"nul", b"-", b"1e999", b"NaN", b"0x1", b"9" * 400, b"null", b"true", b"-0", b"1.5.5", b"\xff")
ODD_TEXTS = (b"\xff\xfe", b"\\ud800", b"\\x", b"\\u12", b"\x00", b"\\u0000", b"\t", b"\xf0\x9f", b"}],[{", b"\\\\")
ODD_VALUES = (None, [], {}, 0, -1, 1e300, True, "x", ["x"], [None, {}], {"id": 1}, "\ud800", 10**200)
FIELDS = ("tenantID", "name", "priority", "status", "firstSeen", "lastSeen", "events", "overflow", "affectedAssets")


class Kind(Enum):
    """What was done to a page."""

    AMONG_GARBAGE = "true alerts among elements that are none; their brackets and quotes fit"
    DAMAGED = "true alerts, then bytes replaced, removed, inserted and moved anywhere"
    SENSELESS = "bytes without sense"
    COSTLY = "true alerts beside one that is large, deep or full of brackets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A page; `alerts` are the numbers of events of true alerts by id, those that must come out of it."""

    kind: Kind
    raw: bytes
    alerts: dict[str, int]


def page(chance: Random) -> Given:
    """Make a page of some kind."""
    kind = chance.choices(list(Kind), weights=(400, 500, 96, 4))[0]
    match kind:
        case Kind.AMONG_GARBAGE:
            return _among(chance, kind, [_garbage(chance, 4) for _ in range(chance.randint(1, 6))])
        case Kind.COSTLY:
            return _among(chance, kind, [_costly(chance)])
        case Kind.DAMAGED:
            return _damaged(chance)
        case Kind.SENSELESS:
            pieces = [chance.choice(TOKENS) for _ in range(chance.randint(0, 40))]
            return Given(kind=kind, raw=b"[" * chance.randint(0, 1) + b"".join(pieces), alerts={})


def _among(chance: Random, kind: Kind, garbage: list[bytes]) -> Given:
    written, alerts = _true_alerts(chance)
    elements = [*written, *garbage]
    chance.shuffle(elements)
    return Given(kind=kind, raw=_joined(chance, elements), alerts=alerts)


def _damaged(chance: Random) -> Given:
    """Damage a page; the alerts before the first damaged byte must come out, if the page counts as whole."""
    written, alerts = _true_alerts(chance)
    raw = whole = _joined(chance, written)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        raw = _hurt(chance, raw)
    same = next((at for at, (ours, theirs) in enumerate(zip(raw, whole, strict=False)) if ours != theirs), 0)
    before = [id for text, id in zip(written, alerts, strict=True) if whole.index(text) + len(text) < same]
    return Given(kind=Kind.DAMAGED, raw=raw, alerts={id: alerts[id] for id in before})


def _hurt(chance: Random, raw: bytes) -> bytes:
    at = chance.randint(0, len(raw))
    upto = min(len(raw), at + chance.choice((0, 1, 1, 2, 5, 40)))
    match chance.randrange(5):
        case 0:
            return raw[:at] + chance.choice(TOKENS) + raw[upto:]
        case 1:
            return raw[:at] + raw[upto:]
        case 2:
            return raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]
        case 3:
            return raw[:upto] + raw[at:]
        case _:
            return raw[:at]


def _true_alerts(chance: Random) -> tuple[list[bytes], dict[str, int]]:
    alerts: dict[str, int] = {}
    written: list[bytes] = []
    for _ in range(chance.randint(0, 5)):
        id, events = f"true-{chance.randrange(40)}", chance.randint(0, 4)
        if id not in alerts:
            alerts[id] = events
            written.append(_written(chance, _alert(chance, id, events)))
    return written, alerts


def _alert(chance: Random, id: str, events: int) -> dict[str, Any]:
    alert: dict[str, Any] = {"id": id, "name": chance.choice(TEXTS), "status": "new", "priority": "high"}
    alert |= {"firstSeen": "2026-11-29T10:00:00Z", "lastSeen": "2026-11-29T10:00:01Z", "tenantID": id}
    alert["events"] = [_event(chance, f"{id}-{number}") for number in range(events)]
    for field in chance.sample(FIELDS, chance.choice((0, 0, 1, 3))):
        if field != "events":
            alert[field] = chance.choice(ODD_VALUES)
    keys = list(alert)
    if chance.random() < 0.3:
        chance.shuffle(keys)
    return {key: alert[key] for key in keys}


def _event(chance: Random, id: str) -> dict[str, Any]:
    return {"ID": id, "Timestamp": 1_764_400_000_000, "Name": chance.choice(TEXTS), "x": chance.choice(ODD_VALUES)}


def _written(chance: Random, value: object) -> bytes:
    compact = chance.random() < 0.8
    text = json.dumps(value, separators=(",", ":") if compact else None, indent=None if compact else 1)
    return text.encode()


def _joined(chance: Random, elements: list[bytes]) -> bytes:
    between = chance.choice((b",", b" , ", b",\r\n"))
    return b"[" + between.join(elements) + b"]" + chance.choice((b"", b"\n", b" \t"))


def _garbage(chance: Random, depth: int) -> bytes:
    """Make an element that is none of ours, though its brackets and quotes fit."""
    match chance.randrange(4 if depth else 2):
        case 0:
            return chance.choice(ATOMS)
        case 1:
            return b'"' + b"".join(chance.choices(ODD_TEXTS, k=chance.randint(0, 3))) + b'"'
        case _:
            signs = (b",", b":", b" ", b"\n", b",,", b'"id":', b'"id":"garbage"', b'"events":')
            inner = [
                chance.choice(signs) if chance.random() < 0.5 else _garbage(chance, depth - 1)
                for _ in range(chance.randint(0, 6))
            ]
            opening, closing = chance.choice(((b"{", b"}"), (b"[", b"]"), (b"{", b"]")))
            return opening + b"".join(inner) + closing


def _costly(chance: Random) -> bytes:
    head, many = b'{"id":"garbage","events":[', chance.choice((20_000, 60_000))
    match chance.randrange(4):
        case 0:
            return head + b"{}," * many + b"{}]}"
        case 1:
            return head + b"[" * many + b"]" * many + b"]}"
        case 2:
            return head + b"1," * many + b"1]}"
        case _:
            return head + b'"' + b'\\"' * (5 * many) + b'"]}'
