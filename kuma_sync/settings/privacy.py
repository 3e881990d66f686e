"""`[privacy]`: fields of events, assets and accounts that are left out or masked before anything is stored or sent."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from kuma_sync.core.privacy import STAYS, Privacy
from kuma_sync.settings import types
from kuma_sync.settings.section import Section

_BRACKETS = frozenset("[]")
_STAYS = frozenset(name.casefold() for name in STAYS) - {"id"} | {"ID"}
"""`id` alone is a field of assets and accounts; `ID` is that of events."""


def _field(value: str) -> str:
    if not value or not value.isprintable() or " " in value or _BRACKETS & set(value):
        raise ValueError('expected the name of a field, such as "SourceUserName", or one with wildcards: "*Password*"')
    if value in _STAYS or value.casefold() in _STAYS:
        raise ValueError("ID and Timestamp of an event always stay: events are told apart and ordered by them")
    return value


Fields = Annotated[tuple[Annotated[str, AfterValidator(_field)], ...], types.Words]


class PrivacySection(Section):
    """Names of fields; `*` stands for any signs, `?` for one, and case does not count."""

    drop_fields: Fields = ()
    mask_fields: Fields = ()

    def rules(self, key: bytes | None = None) -> Privacy:
        """Return what obeys them; it needs the store's key to mask."""
        return Privacy(drop=self.drop_fields, mask=self.mask_fields, key=key)
