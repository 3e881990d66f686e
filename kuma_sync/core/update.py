"""What of a rendered update goes out, and what the incident holds after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kuma_sync.core.steps import Compare, Events, Upsert


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFields:
    """The top-level fields of a rendered body, by name.

    `digests` are of those that are compared with what was sent. `names` are all that the template has, `present` those
    that the body has. `event_fields` hold events: they have no digest and are sent when there are new events. `unknown`
    are those that could not be rendered truly because the alert's contents are not at hand: they count neither as
    changed nor as cleared. With `whole` an update sends all fields.
    """

    digests: Mapping[str, str]
    names: frozenset[str]
    present: frozenset[str]
    event_fields: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    whole: bool = False

    def held(self, sent: Mapping[str, str]) -> dict[str, str]:
        """Return the digests of what the incident holds once this arrived; `sent` is what it held before."""
        kept = {name: digest for name, digest in sent.items() if name not in self.names or name in self.unknown}
        return {**kept, **self.digests}


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The content of an update: the fields that go, those that go as null, and the events that it tells."""

    fields: frozenset[str] = frozenset()
    clear: frozenset[str] = frozenset()
    events: Events = ()


def update_of(step: Compare | Upsert, rendered: RenderedFields, sent: Mapping[str, str]) -> Update | None:
    """Decide what goes, by the digests of what was sent last; None: nothing differs, and nothing is sent.

    Of lost fields, only what this operation's template has counts: `externalId` of a create is not cleared by an
    update.
    """
    if isinstance(step, Upsert):
        return Update(fields=rendered.present, events=step.events)
    plain = rendered.names - rendered.event_fields
    changed = {name for name, digest in rendered.digests.items() if sent.get(name) != digest}
    wanted = (plain if rendered.whole else changed) | (rendered.event_fields if step.events else set())
    fields = rendered.present & wanted
    clear = (plain & sent.keys()) - rendered.digests.keys() - rendered.unknown
    return Update(fields=fields, clear=clear, events=step.events) if fields or clear else None
