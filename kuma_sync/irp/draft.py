"""One request as it would be sent, still in parts, so that an update can leave out what did not change.

Must not: hold a credential (those are added while sending), or compare with what was sent before (that is delivery).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import cached_property

from kuma_sync.core.alert import canonical_json


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A rendered request. `body` is None where the operation has none.

    `names` are all top-level fields the operation's template has, present or not. `event_fields` are those that hold
    events: they have no digest and are sent when there are new events. `unknown` are those that could not be rendered
    truly because the alert's contents are not at hand: they count neither as changed nor as cleared.
    """

    operation: str
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, object] | None = field(default=None, repr=False)
    names: frozenset[str] = frozenset()
    event_fields: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    whole: bool = False

    @cached_property
    def fields(self) -> dict[str, str]:
        """Return a digest of every top-level field that is compared with what was sent."""
        compared = self.names - self.event_fields - self.unknown
        return {name: _digest(value) for name, value in (self.body or {}).items() if name in compared}

    def only(self, fields: AbstractSet[str], cleared: AbstractSet[str], *, with_events: bool) -> Draft:
        """Return the request with these fields alone, `cleared` ones as null, events where asked for.

        Of `cleared`, only what this operation's template has counts: `externalId` of a create is not cleared by an
        update. An operation with `fields = "all"` keeps all its fields.
        """
        plain = self.names - self.event_fields
        wanted = (plain if self.whole else plain & fields) | (self.event_fields if with_events else frozenset())
        body = {name: value for name, value in (self.body or {}).items() if name in wanted}
        nulls = {name: None for name in sorted((cleared & plain) - self.unknown) if name not in body}
        return replace(self, body=body | nulls)

    def held(self, sent: Mapping[str, str]) -> dict[str, str]:
        """Return the digests of what the incident holds once this request arrived; `sent` is what it held before."""
        kept = {name: digest for name, digest in sent.items() if name not in self.names or name in self.unknown}
        return kept | self.fields


def _digest(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:32]
