"""A request of a delivery, rendered; and the alert's contents for it, read again if needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from datetime import datetime

import structlog

from kuma_sync.core import transitions
from kuma_sync.core.alert import AlertId, Contents, JsonObject
from kuma_sync.core.errors import NotAllowed, Permanent, Transient
from kuma_sync.core.incident import external_key
from kuma_sync.core.link import DeliveredState, Link
from kuma_sync.core.ownership import EMPTY, to_look_at
from kuma_sync.core.privacy import Privacy
from kuma_sync.core.steps import (
    AddEvents,
    Close,
    Comment,
    Compare,
    Create,
    EventStep,
    FindFirst,
    RenderedFields,
    Step,
    Update,
    Upsert,
    update_of,
)
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.irp.context import CURRENT, Subject, values
from kuma_sync.irp.rendering import Draft
from kuma_sync.irp.responses import Current
from kuma_sync.kuma.client import Element, KumaClient
from kuma_sync.kuma.parse import Parsed, parse_in_turns
from kuma_sync.sync.delivery.unit_of_work import DeliveryState

Render = Callable[[str, Mapping[str, object]], Draft]
"""Renders an operation with its template values; raises Permanent where a template fails."""

OPERATIONS: Mapping[type[Step], str] = {
    Create: "create",
    Compare: "update",
    Upsert: "create",
    AddEvents: "add_events",
    Comment: "comment",
    Close: "close",
    FindFirst: "find",
}
"""The IRP's operation by the step; `Nothing` has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it goes out, if it is `needed`: of an update `draft` has what differs, `whole` all of it.

    `rendered` are the fields that are ours to send, `looks_at` those of them that may be the analysts' by now: what the
    incident holds in them is looked at first.
    """

    draft: Draft
    whole: Draft
    rendered: RenderedFields
    needed: bool = True
    looks_at: frozenset[str] = frozenset()

    @property
    def fields(self) -> frozenset[str]:
        """Return the names of all fields that go out."""
        return frozenset(self.draft.body or ()) if self.needed else frozenset()

    @property
    def reads_first(self) -> bool:
        """Tell whether the incident is to be read before this may go out."""
        return self.needed and (self.draft.unread or bool(self.looks_at))

    @property
    def ours(self) -> dict[str, str]:
        """Return the likeness of what goes in fields that are sent until somebody edits them."""
        if not self.rendered.until_edited:
            return {}
        going = self.fields & self.rendered.until_edited
        return {name: self.rendered.likeness.get(name, EMPTY) for name in going}


def content_of(request: Request, work: DeliveryState, step: Create) -> DeliveredState:
    """Return the content of an incident that this create makes."""
    return DeliveredState(
        fingerprint=work.snapshot.fingerprint,
        fields=request.whole.rendered.digests,
        events=frozenset(step.events),
        ours={name: frozenset({likeness}) for name, likeness in request.ours.items()},
    )


def after_update(link: Link, request: Request, work: DeliveryState, step: Compare | Upsert) -> Link:
    """Return a link as it is once this update of the alert has arrived, or was not needed."""
    held = request.rendered.held(work.link.sent.fields)
    return transitions.updated(link, work.snapshot.fingerprint, held, frozenset(step.events), request.ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateContext:
    """What is not the alert's: the target, settings, and the clock."""

    target: str
    instance: str
    web_url: str
    options: Mapping[str, str]
    clock: Callable[[], datetime]

    def key(self, work: DeliveryState) -> str:
        """Return the key that the incident carries."""
        return external_key(self.instance, work.alert_id)

    def request(self, work: DeliveryState, step: Step, draft: Render, current: Current | None = None) -> Request:
        """Return the request that this step is; `current` is what was read of its incident.

        Raise Permanent where a template fails.
        """
        events = step.events if isinstance(step, EventStep) else ()
        comment = "\n".join(step.lines) if isinstance(step, Comment) else work.link.close_comment
        values = self._values(work, [work.kept[digest] for digest in events], comment)
        if current is not None:
            values[CURRENT] = current.template
        whole = draft(OPERATIONS[type(step)], values)
        if not isinstance(step, Compare | Upsert):
            return Request(draft=whole, whole=whole, rendered=whole.rendered)
        rendered, sent = whole.rendered, work.link.sent
        if theirs := sent.theirs & rendered.until_edited:
            rendered = rendered.without(theirs)
        update = update_of(step, rendered, sent.fields)
        return Request(
            draft=whole.only(update or Update()),
            whole=whole,
            rendered=rendered,
            needed=update is not None,
            looks_at=to_look_at(update, rendered) if current is None else frozenset(),
        )

    def reading(self, work: DeliveryState, draft: Render) -> Draft:
        """Return the request that reads what the incident holds. Raise Permanent where a template fails."""
        return draft("get", self._values(work, (), ""))

    def _values(self, work: DeliveryState, events: Sequence[JsonObject], comment: str) -> dict[str, object]:
        subject = Subject(
            snapshot=work.snapshot,
            key=self.key(work),
            contents=work.contents,
            events=events,
            incident=work.link.incident,
            reason=work.link.close_reason,
            comment=comment,
        )
        return values(subject, web_url=self.web_url, options=self.options, now=self.clock())


log = structlog.get_logger(__name__)


class ContentsReader:
    """Reads one alert's contents. Needed for resync, render, and an incident made anew.

    `admit` is the gate that each request goes through; a command that asks once needs none.
    """

    def __init__(
        self,
        *,
        kuma: KumaClient,
        max_events: int,
        privacy: Privacy,
        admit: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._kuma = kuma
        self._max_events = max_events
        self._privacy = privacy
        self._admit = admit

    async def read(self, alert_id: AlertId, *, needed: bool = True) -> Contents | None:
        """Return the contents; None where KUMA has none left or refuses this id, or they are above the size limit.

        Raise RemoteError. Where they are not `needed`, only for what has to do with all of KUMA: an alert that it
        cannot show gives None.
        """
        try:
            return await self._asked(alert_id)
        except (Permanent, Transient) as error:
            if isinstance(error, Transient) and (needed or error.retry_after is not None):
                raise
            async with self._admit():
                await self._kuma.assure_answers(ReadKind.CONTENTS)
            log.warning("contents_unreadable", count=1, alert_ids=[alert_id], reasons=[error.summary])
            return None

    async def _asked(self, alert_id: AlertId) -> Contents | None:
        try:
            return await self._read(alert_id)
        except NotAllowed:
            return await self._read(alert_id)

    async def _read(self, alert_id: AlertId) -> Contents | None:
        query = Query(kind=ReadKind.CONTENTS, ids=(alert_id,))
        found: Contents | None = None
        async with self._admit(), aclosing(self._kuma.read(query)) as items:
            async for item in items:
                if isinstance(item, Element) and item.raw is not None:
                    alert = await parse_in_turns(
                        item.raw, with_events=True, max_events=self._max_events, privacy=self._privacy
                    )
                    if isinstance(alert, Parsed) and alert.seen.alert.id == alert_id:
                        found = alert.seen.contents
        return found
