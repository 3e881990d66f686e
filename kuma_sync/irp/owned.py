"""Can a profile keep its word on whose the fields are? Needed when one is checked, at every start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from kuma_sync.irp.profile import Exchange, Profile, UpdateOperation
from kuma_sync.irp.rendering import Rendering
from kuma_sync.settings.validation import meant


class Compiled(Protocol):
    """One operation, as far as it matters here."""

    @property
    def rendering(self) -> Rendering:
        """Return its templates."""


def misowned(profile: Profile, compiled: Mapping[str, Compiled]) -> Iterator[str]:
    """Yield a sentence for each thing that cannot work."""
    if profile.heading.audit_comments and profile.comment is None:
        yield "profile.audit_comments needs a [comment] operation"
    if profile.update is not None:
        for field in compiled["update"].rendering.mixed_fields:
            yield f"update.body.{field} uses current beside values of the alert: it would be a change every time"
        yield from _lists(profile, profile.update)
        yield from _until_edited(profile, profile.update, compiled["update"].rendering)


def _lists(profile: Profile, update: UpdateOperation) -> Iterator[str]:
    body, created = _fields(update), _fields(profile.create)
    for key, names in (("once", update.once), ("until_edited", update.until_edited)):
        for name in names:
            if name not in body:
                yield f'update.{key} names "{name}", which is no field of update.body{meant(name, body)}'
    for name in update.once:
        if name in body and name not in created:
            yield f'update.once names "{name}", which create.body does not have: nothing would ever send it'
        if name in update.until_edited:
            yield f'update.once and update.until_edited both name "{name}": it is one or the other'


def _fields(exchange: Exchange | None) -> Mapping[str, object]:
    return exchange.body if exchange is not None and isinstance(exchange.body, dict) else {}


def _until_edited(profile: Profile, update: UpdateOperation, rendering: Rendering) -> Iterator[str]:
    if update.until_edited and profile.get is None:
        yield "update.until_edited needs a [get] operation, which reads what the incident holds"
    read = profile.get.extract.fields if profile.get else update.until_edited
    for name in update.until_edited:
        if name not in read:
            yield f'update.until_edited names "{name}", which get.extract.fields does not read{meant(name, read)}'
        if name in rendering.event_fields:
            yield f'update.until_edited names "{name}", which holds events: these are added, not compared'
        if name in rendering.address_fields:
            yield f'update.until_edited names "{name}", which tells which incident is meant: it goes with every update'
