"""What an IRP holds of one alert right now, beside what we sent: asked for a person, through the target's gates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from kuma_sync.core.errors import Permanent, Transient
from kuma_sync.core.incident import Found
from kuma_sync.core.link import Link
from kuma_sync.core.ownership import as_sent, marks
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.errors import Missing
from kuma_sync.sync.delivery.context import TemplateContext
from kuma_sync.sync.delivery.unit_of_work import DeliveryState
from kuma_sync.sync.remote.gates import RemoteGates

T = TypeVar("T")


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


async def in_time(look: Awaitable[T], *, remote: str, within: timedelta) -> T:
    """Wait for a person's look for so long; raise Transient where it takes longer."""
    try:
        async with asyncio.timeout(within.total_seconds()):
            return await look
    except TimeoutError:
        late = f"no answer within {within.total_seconds():g} s; other requests may have their turn first"
    raise Transient(remote=remote, operation="look", summary=late)


class IncidentLook:
    """Asks one target. What it answers, or that it does not, decides nothing: a wait that it asks for counts alone."""

    def __init__(self, irp: IrpClient, gates: RemoteGates, context: TemplateContext, *, within: timedelta) -> None:
        self._irp = irp
        self._gates = gates
        self._context = context
        self._within = within

    async def look(self, work: DeliveryState) -> Live:
        """Ask what the alert's incident holds.

        Raise GateClosed where the target is not asked now, RemoteError where it does not answer (in time), or where
        its profile has no operation for this.
        """
        if self._irp.can("get") and work.link.incident is not None:
            return await self._asked("get", lambda: self._read(work))
        if not self._irp.can("find"):
            why = "a look at the incident needs [get], or [find], in the profile"
            raise Permanent(remote="irp", operation="look", summary=why)
        found = await self._asked("find", lambda: self._irp.find(self._context.key(work)))
        return Live(by="find", incidents=found)

    async def _asked(self, kind: str, send: Callable[[], Awaitable[T]]) -> T:
        return await in_time(self._gates.look(kind, send), remote="irp", within=self._within)

    async def _read(self, work: DeliveryState) -> Live:
        try:
            current = await self._irp.read(self._context.reading(work, self._irp.draft))
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
