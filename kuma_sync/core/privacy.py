"""Fields that are left out of an alert, or masked, before anything of it is stored or sent."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from fnmatch import fnmatchcase
from typing import Any, TypeGuard

from kuma_sync.core.alert import Contents, canonical_json, event_digest

STAYS = frozenset({"ID", "Timestamp"})
"""Fields of events that no pattern takes: by the one an IRP tells events apart, by the other the newest are chosen."""

ALERTS_OWN = frozenset(
    {"id", "tenantID", "tenantName", "name", "correlationRuleID", "priority", "status", "firstSeen", "lastSeen"}
    | {"assignee", "closingReason", "overflow", "events", "affectedAssets", "affectedAccounts"}
)
"""The alert's own fields (KUMA help 222254): of events, assets and accounts fields are left out, of the alert none."""

_MASKED = re.compile(r"masked-[0-9a-f]{20}")
_SHORT, _MOST_MASKS = 256, 10_000
"""Texts whose masks are remembered: users and hosts come in one event after the other."""

_MOST_NAMES = 10_000
"""Field names that are remembered with what happens to them; KUMA has some hundreds."""


class _Fate(Enum):
    DROPPED = auto()
    MASKED = auto()


@dataclass(frozen=True, slots=True)
class _Names:
    """Names that were matched already, and what happens to those that are hidden."""

    known: set[str] = field(default_factory=set)
    hit: dict[str, _Fate] = field(default_factory=dict)


class Privacy:
    """What `[privacy]` says. Names are compared without case, `*` stands for any signs; a field in both is dropped.

    A masked value becomes `masked-` and 20 hexadecimal digits, keyed: equal values stay equal, whatever their field.
    Empty ones stay. It has no key before `unlock`, and then hides nothing but raises ValueError.
    """

    def __init__(self, *, drop: Sequence[str] = (), mask: Sequence[str] = (), key: bytes | None = None) -> None:
        self._drop = tuple(sorted({name.casefold() for name in drop}))
        self._mask = tuple(sorted({name.casefold() for name in mask}))
        self._key = key
        self._masks: dict[str, str] = {}
        self._names = _Names()

    @property
    def on(self) -> bool:
        """Tell whether any field is left out or masked."""
        return bool(self._drop or self._mask)

    @property
    def masks(self) -> bool:
        """Tell whether a key is needed."""
        return bool(self._mask)

    @property
    def mark(self) -> bytes:
        """Return what stands for these names: equal for equal ones."""
        return hashlib.sha256(canonical_json([self._drop, self._mask]).encode()).digest()

    def unlock(self, key: bytes) -> None:
        """Take the key that the store keeps."""
        self._key, self._masks = key, {}

    def hide(self, value: object) -> None:
        """Leave out and mask fields in a JSON value, at every depth; it is changed in place."""
        if self.on and _is_node(value):
            self._hide([value])

    def hidden(self, contents: Contents) -> Contents:
        """Return contents that were stored earlier, perhaps under other names; their values are changed in place."""
        if not self.on:
            return contents
        raw = dict(contents.raw)
        self.hide_in_alert(raw)
        for item in (*contents.events, *contents.assets, *contents.accounts):
            self.hide(item)
        return Contents(
            events=contents.events,
            event_ids=frozenset(map(event_digest, contents.events)),
            assets=contents.assets,
            accounts=contents.accounts,
            raw=raw,
        )

    def hide_in_alert(self, item: dict[str, Any]) -> None:
        """Do so in an alert of KUMA's, whose own fields stay."""
        if not self.on:
            return
        self._take(item, spared=ALERTS_OWN)
        self._hide(_children(item))

    def hidden_piece(self, raw: bytes) -> bytes:
        """Return what may be kept of bytes that are no alert: nothing of them where they are no JSON."""
        if not self.on:
            return raw
        try:
            value = json.loads(raw)
            if type(value) is dict:
                self.hide_in_alert(value)
            else:
                self.hide(value)
            return json.dumps(value, separators=(",", ":")).encode() if _is_node(value) else b""
        except (ValueError, RecursionError):
            return b""

    def _hide(self, nodes: list[Any]) -> None:
        while nodes:
            node = nodes.pop()
            if type(node) is dict:
                self._take(node)
            nodes += _children(node)

    def _take(self, node: dict[str, Any], spared: Collection[str] = ()) -> None:
        """Leave out and mask the fields of one object."""
        names = self._names
        if not names.known.issuperset(node):
            names = self._learn(names, node)
        # Of a copy: another thread may learn names meanwhile.
        for name in [name for name in list(names.hit) if name in node and name not in spared]:
            if names.hit[name] is _Fate.DROPPED:
                del node[name]
            else:
                node[name] = self._masked(node[name])

    def _learn(self, names: _Names, node: dict[str, Any]) -> _Names:
        if len(names.known) > _MOST_NAMES:
            # In place of clearing them: a thread that looked just now must find what it saw.
            names = self._names = _Names()
        for name in node.keys() - names.known - STAYS:
            plain = name.casefold()
            if any(fnmatchcase(plain, pattern) for pattern in self._drop):
                names.hit[name] = _Fate.DROPPED
            elif any(fnmatchcase(plain, pattern) for pattern in self._mask):
                names.hit[name] = _Fate.MASKED
        names.known.update(node)  # last: who finds a name known must find its fate, too
        return names

    def _masked(self, value: Any) -> Any:
        """Mask a value; of a list each member. What is masked already stays: it may come from our own store."""
        if value is None or value in ("", [], {}):
            return value
        if isinstance(value, list):
            return [self._masked(member) for member in value]
        text = value if isinstance(value, str) else canonical_json(value)
        if (mask := self._masks.get(text)) is not None:
            return mask
        if isinstance(value, str) and _MASKED.fullmatch(value):
            return value
        mask = self._mask_of(text)
        if len(text) <= _SHORT:
            if len(self._masks) >= _MOST_MASKS:
                self._masks.clear()
            self._masks[text] = mask
        return mask

    def _mask_of(self, text: str) -> str:
        if self._key is None:
            raise ValueError("a mask needs a key")
        return f"masked-{hmac.digest(self._key, text.encode('utf-8', 'surrogatepass'), 'sha256').hex()[:20]}"


def _is_node(value: object) -> TypeGuard[dict[str, Any] | list[Any]]:
    return type(value) is dict or type(value) is list


def _children(node: dict[str, Any] | list[Any]) -> list[Any]:
    inside = node.values() if type(node) is dict else node
    return [child for child in inside if type(child) is dict or type(child) is list]
