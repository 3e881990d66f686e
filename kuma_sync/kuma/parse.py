"""One alert's bytes → an Alert and its contents, taking whatever KUMA (or something before it) may send.

Must not: raise on bad data, or change what it does not understand: events, assets and accounts pass as they came.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from kuma_sync.core.alert import Alert, AlertId, Contents, JsonObject, Observation, take_contents
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.moments import EPOCH, read_moment
from kuma_sync.core.privacy import Privacy
from kuma_sync.core.text import fit
from kuma_sync.kuma.tolerant_json import load, takes_long

_T = TypeVar("_T")
_PRIORITIES = ("low", "medium", "high", "critical")
_LONGEST_ID = 200
_LISTS = frozenset({"events", "affectedAssets", "affectedAccounts"})

_PARSING = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parsing")
"""One thread: several would keep several heaps, and could parse no faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """An alert as it was read; `left_out` names what was malformed, once for every time it happened."""

    seen: Observation
    left_out: tuple[str, ...] = ()


def parse_alert(raw: bytes, *, with_events: bool, max_events: int, privacy: Privacy) -> Parsed | Rejected:
    """Read one element of the alerts array (KUMA help 222254, 269916); never raise.

    Without `with_events` (a listing) there are no contents. `max_events` 0 keeps all. Rejected only if it is no
    object or has no usable id; anything else malformed is left out. What `privacy` hides is hidden from here on.
    """
    left_out: list[str] = []
    try:
        value = load(raw, left_out)
    except ValueError:
        return _rejected(raw, "not valid JSON", privacy)
    if not isinstance(value, dict):
        return _rejected(raw, "not an object", privacy)
    alert_id = usable_id(value.get("id"))
    if alert_id is None:
        return _rejected(raw, "no usable id", privacy)
    if privacy.on:
        privacy.hide_in_alert(value)
    fields = _Fields(value, left_out)
    alert = _alert(alert_id, fields)
    contents = _contents(fields, max_events) if with_events else None
    return Parsed(seen=Observation(alert=alert, contents=contents), left_out=tuple(left_out))


async def parse_in_turns(raw: bytes, *, with_events: bool, max_events: int, privacy: Privacy) -> Parsed | Rejected:
    """Do what parse_alert does, without keeping the event loop from its other work for long."""
    parse = partial(parse_alert, raw, with_events=with_events, max_events=max_events, privacy=privacy)
    return await in_turns(raw, parse)


async def in_turns(raw: bytes, work: Callable[[], _T]) -> _T:
    """Work on an element; where that takes long, in a thread.

    The interpreter's lock is held while JSON becomes objects, a tenth of a second at most for what the bounds let pass;
    all the rest is done in turns with the loop.
    """
    if takes_long(raw):
        return await asyncio.get_running_loop().run_in_executor(_PARSING, work)
    await asyncio.sleep(0)  # many short ones in one go would hold the loop as well
    return work()


def usable_id(value: object) -> AlertId | None:
    """Return an alert's id as text (a number becomes text); None if nobody could ask for it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    usable = 0 < len(text) <= _LONGEST_ID and text.isprintable() and "\ufffd" not in text
    return AlertId(text) if usable else None


def read_id(raw: bytes) -> AlertId | None:
    """Return the id of one element by parsing all of it; None if it has none."""
    try:
        value = load(raw, [])
    except ValueError:
        return None
    return usable_id(value.get("id")) if isinstance(value, dict) else None


def read_scalars(item: JsonObject, alert_id: AlertId) -> Alert:
    """Read the scalar fields of an alert's item, as parse_alert does."""
    return _alert(alert_id, _Fields(dict(item), []))


def _alert(alert_id: AlertId, fields: _Fields) -> Alert:
    return Alert(
        id=alert_id,
        tenant_id=fields.text("tenantID"),
        tenant_name=fields.text("tenantName"),
        name=fields.text("name"),
        rule_id=fields.text("correlationRuleID"),
        priority=fields.priority("priority"),
        status=fields.text("status").strip().lower(),
        first_seen=fields.moment("firstSeen"),
        last_seen=fields.moment("lastSeen"),
        assignee=fields.text("assignee"),
        closing_reason=fields.text("closingReason"),
        overflow=fields.flag("overflow"),
    )


def _contents(fields: _Fields, max_events: int) -> Contents:
    taken = take_contents(
        fields.objects("events"),
        assets=fields.objects("affectedAssets"),
        accounts=fields.objects("affectedAccounts"),
        max_events=max_events,
    )
    contents = replace(taken, raw=fields.without_lists())
    _ = contents.affected  # remembered from here on: of very many it takes long, and here nobody waits for it
    return contents


class _Fields:
    """An alert's fields by kind; absent and null are empty, what is of another kind is left out and noted."""

    def __init__(self, value: dict[str, Any], left_out: list[str]) -> None:
        self._value = value
        self._left_out = left_out

    def text(self, key: str) -> str:
        match self._value.get(key):
            case None:
                return ""
            case str(text):
                return fit(text)
            case _:
                return self._bad(key, "")

    def flag(self, key: str) -> bool:
        match self._value.get(key):
            case None:
                return False
            case bool(flag):
                return flag
            case _:
                return self._bad(key, False)

    def priority(self, key: str) -> str:
        """Read the name, or the number on the alert's scale of 1 to 16 in four bands (KUMA help 233888)."""
        match self._value.get(key):
            case bool():
                return self._bad(key, "")
            case int() | float() as number if 1 <= number <= 16:
                return _PRIORITIES[math.ceil(number / 4) - 1]
            case int() | float():
                return self._bad(key, "")
            case _:
                return self.text(key).strip().lower()

    def moment(self, key: str) -> datetime | None:
        """Read RFC 3339 text or epoch milliseconds; without an offset it is UTC."""
        match self._value.get(key):
            case None | "" | "0001-01-01T00:00:00Z":  # the last is how Go prints a time that was never set
                return None
            case bool():
                return self._bad(key, None)
            case str() | int() | float() as value:
                moment = _moment(value)
                return moment if moment is not None else self._bad(key, None)
            case _:
                return self._bad(key, None)

    def objects(self, key: str) -> list[JsonObject]:
        match self._value.get(key):
            case None:
                return []
            case list(items):
                kept: list[JsonObject] = [item for item in items if isinstance(item, dict)]
                self._left_out.extend([f"{key}[]"] * (len(items) - len(kept)))
                return kept
            case _:
                return self._bad(key, [])

    def without_lists(self) -> JsonObject:
        """Return the alert as it came; its lists are kept apart."""
        return {key: value for key, value in self._value.items() if key not in _LISTS}

    def _bad(self, key: str, empty: _T) -> _T:
        self._left_out.append(key)
        return empty


def _moment(value: str | float) -> datetime | None:
    if isinstance(value, str):
        return read_moment(value)
    try:
        return EPOCH + timedelta(milliseconds=value) if value >= 0 else None
    except (ValueError, OverflowError):
        return None


def _rejected(raw: bytes, reason: str, privacy: Privacy) -> Rejected:
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    return Rejected.piece(digest, reason, raw, privacy)
