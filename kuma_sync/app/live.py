"""What the IRP holds of one alert right now, beside what we sent: `show --live`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum

from kuma_sync.app.build import template_context, utc_now
from kuma_sync.app.remotes import open_target
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.incident import Found
from kuma_sync.core.link import Link
from kuma_sync.core.ownership import as_sent, marks
from kuma_sync.core.routing import UNROUTED
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.errors import Missing
from kuma_sync.settings import Settings
from kuma_sync.settings.targets import key_of
from kuma_sync.sync.delivery.context import TemplateContext
from kuma_sync.sync.delivery.unit_of_work import DeliveryState
from kuma_sync.sync.limits import Limits


class Whose(StrEnum):
    """Whose word a field of an incident holds."""

    OURS = "as it was sent"
    EDITED = "edited in the IRP"
    THEIRS = "left to the analysts"
    UNKNOWN = "not known what was sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveField:
    """One field as the incident holds it now."""

    name: str
    value: object
    whose: Whose


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the IRP answered; `by` is the operation that was asked. Of `get` there are fields and values, of `find`
    incidents; where neither is, the IRP does not know it.
    """

    by: str
    fields: Sequence[LiveField] = ()
    values: Mapping[str, object] | None = None
    incidents: Sequence[Found] = ()


async def look(settings: Settings, work: DeliveryState) -> Live:
    """Ask the IRP for an alert's incident. Raise ConfigError where nobody can be asked, or RemoteError."""
    target = work.link.target
    if target not in settings.irps:
        told = f"the alert goes to the target {target!r}, which is not configured" if target else UNROUTED
        raise ConfigError(key_of(target) if target else "route", settings.broken.get(target, told))
    async with AsyncExitStack() as stack:
        opened = await open_target(target, settings, utc_now, Limits(), stack)
        irp, context = opened.irp, template_context(settings, target)
        key = f"{key_of(target)}.profile"
        if irp is None:
            raise ConfigError(key, f"{opened.profile.name} sends nothing: this IRP polls us, and cannot be asked")
        if irp.can("get") and work.link.incident is not None:
            return await _read(irp, context, work)
        if not irp.can("find"):
            raise ConfigError(key, "a look at the incident needs [get], or [find], in the profile")
        return Live(by="find", incidents=await irp.find(context.key(work)))


async def _read(irp: IrpClient, context: TemplateContext, work: DeliveryState) -> Live:
    try:
        current = await irp.read(context.reading(work, irp.draft))
    except Missing:
        return Live(by="get")
    fields = [
        LiveField(name=name, value=value, whose=_whose(work.link, name, value))
        for name, value in current.fields.items()
    ]
    return Live(by="get", fields=fields, values=current.values)


def _whose(link: Link, name: str, value: object) -> Whose:
    if name in link.sent.theirs:
        return Whose.THEIRS
    same = as_sent(link.sent, name, marks(value))
    return Whose.UNKNOWN if same is None else Whose.OURS if same else Whose.EDITED
