"""What the console is shown of what stands behind it, besides the store's own read models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from kuma_sync.core.alert import JsonObject
from kuma_sync.core.incident import Found
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.core.sentence import Sentence
from kuma_sync.core.why import Why
from kuma_sync.store.queue import QueueCounts
from kuma_sync.store.read_models.groups import Group
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.store.read_models.story import AlertView

Tone = Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """How it stands: one sentence, and what `status` says besides; and what that was judged by, in the same moment.

    `tries` says when a remote that is asked nothing now is tried next, by its part of the daemon.
    """

    tone: Tone
    first: Sentence
    more: Sequence[Sentence] = ()
    alerts: Mapping[AlertState, int]
    stopped: Sequence[Group]
    paused: Sequence[Maintenance]
    deliveries: Mapping[str, QueueCounts]
    closes: QueueCounts
    tries: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An alert with its history, and why it is where it is."""

    story: AlertView
    why: Sequence[Why]
    up_to_date: bool | None
    """Whether its incident holds all that KUMA shows; None where there is none, or it is closed and gets no updates."""


class Request(Protocol):
    """A request as it would be sent, secrets masked; `note` says when."""

    @property
    def operation(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> Mapping[str, object] | str | None: ...


class Field(Protocol):
    """A field as an incident holds it now, and whose word that is."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> object: ...
    @property
    def whose(self) -> str: ...


class Live(Protocol):
    """What the IRP answered; `by` is the operation that was asked."""

    @property
    def by(self) -> str: ...
    @property
    def fields(self) -> Sequence[Field]: ...
    @property
    def values(self) -> Mapping[str, object] | None: ...
    @property
    def incidents(self) -> Sequence[Found]: ...


class Events(Protocol):
    """The newest of an alert's events, the latest first, and how many there are."""

    @property
    def events(self) -> Sequence[JsonObject]: ...
    @property
    def count(self) -> int: ...


class ConsoleSource(Protocol):
    """What is asked of the daemon. The last three raise NothingDone where there is nothing to be shown."""

    async def overall(self) -> Overall:
        """Tell how it stands."""

    async def told(self, alert_id: str) -> Told | None:
        """Tell of one alert, or of a parked piece; None where nothing is known of it."""

    async def events(self, alert_id: str, most: int) -> Events:
        """Return the newest of the events that are passed on."""

    async def requests(self, alert_id: str) -> Sequence[Request]:
        """Return the requests for it."""

    async def live(self, alert_id: str) -> Live:
        """Ask the IRP what the incident holds now."""
