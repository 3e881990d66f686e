"""The requests that would be sent for one alert, as they would look.

What an alert holds is read from KUMA where the store has delivered it already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from kuma_sync.app.build import utc_now
from kuma_sync.app.identity import routing_of
from kuma_sync.app.remotes import options, template_context, usable_profile
from kuma_sync.core.alert import EventDigest
from kuma_sync.core.comments import due
from kuma_sync.core.errors import ConfigError, Permanent
from kuma_sync.core.incident import Incident, Origin
from kuma_sync.core.link import Closing, DeliveredState, Link, Linked
from kuma_sync.core.routing import IGNORE, NO_ROUTE
from kuma_sync.core.steps import AddEvents, Close, Comment, Compare, Create, FindFirst, Nothing, Step, Upsert
from kuma_sync.core.transitions import absent, without_find
from kuma_sync.irp.auth import Shown, shown, shown_login
from kuma_sync.irp.context import FOLLOW_GET
from kuma_sync.irp.encoding import outgoing
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.rendering import Draft
from kuma_sync.irp.sample import sample_currents, sample_subject
from kuma_sync.irp.validate import capabilities, compile_profile
from kuma_sync.settings import Settings
from kuma_sync.settings.secret import MASK
from kuma_sync.settings.targets import key_of
from kuma_sync.sync.delivery.context import OPERATIONS, ContentsReader, Request, after_update
from kuma_sync.sync.delivery.forecast import NOT_YET
from kuma_sync.sync.delivery.unit_of_work import DeliveryState
from kuma_sync.telemetry.redact import redact

NEXT = " (the next request)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One request: secrets masked, `note` says when it is sent."""

    operation: str
    note: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: Mapping[str, object] | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An alert as the store has it, and the same with contents that were read from KUMA where they were forgotten."""

    work: DeliveryState
    read: DeliveryState

    def with_link(self, link: Link) -> Stored:
        """Return the alert with another link."""
        return Stored(work=replace(self.work, link=link), read=replace(self.read, link=link))


def as_if_in(work: DeliveryState, target: str) -> DeliveryState:
    """Return a stored alert as if it went to this target; where it goes to another, it has no incident there."""
    link = work.link
    return work if link.target == target else replace(work, link=Link(alert_id=link.alert_id, target=target))


async def with_contents(settings: Settings, work: DeliveryState, reader: ContentsReader) -> Stored:
    """Read from KUMA what was delivered and forgotten here. Raise ConfigError, GateClosed or RemoteError."""
    contents = None
    if work.lacks_contents:
        step = work.step(capabilities(_profile(settings, work.link.target), to_irp=settings.close.to_irp))
        needed = not (isinstance(step, Compare | Upsert) and work.plain)
        contents = await reader.read(work.alert_id, needed=needed)
    return Stored(work=work, read=work if contents is None else work.with_contents(contents))


def sample_requests(settings: Settings, target: str | None = None) -> list[Rendered]:
    """Render the built-in sample alert as it goes to the named target; else where the routes say; else to the first."""
    subject = sample_subject(settings.kuma.instance)
    routed = routing_of(settings).target_of(subject.snapshot.alert)
    target = target or (routed if routed in settings.named else next(iter(settings.irps)))
    link = Link(alert_id=subject.snapshot.alert.id, target=target)
    work = DeliveryState(snapshot=subject.snapshot, link=link, contents=subject.contents)
    closing = Closing(origin=Origin.KUMA, reason=subject.reason, comment=subject.comment)
    renderer = _Renderer(settings, target, incident=subject.incident or NOT_YET, closing=closing)
    return renderer.all(Stored(work=work, read=work), due=Nothing())


def stored_requests(settings: Settings, stored: Stored) -> list[Rendered]:
    """Render a stored alert. Raise Permanent where a template fails on it."""
    link = stored.work.link
    closing = link.closing or Closing(origin=Origin.KUMA, reason="responded")
    renderer = _Renderer(settings, link.target, incident=link.incident or NOT_YET, closing=closing)
    then, due = renderer.due(stored)
    return renderer.all(then, due=due)


def _profile(settings: Settings, target: str) -> Profile:
    """Return the profile of a target. Raise ConfigError where it is broken, or there is no such target."""
    if target in (NO_ROUTE, IGNORE):
        why = "a route ignores" if target else "no route takes"
        raise ConfigError("route", f"{why} this alert; --target shows how it would look in one")
    if target not in settings.named:
        known = ", ".join(settings.named)
        raise ConfigError(key_of(target), f"the alert goes to this target, which is not configured; there are {known}")
    profile = usable_profile(settings, target)
    if profile.mode == "pull":
        raise ConfigError(f"{key_of(target)}.profile", f"{profile.name} sends nothing: this IRP polls us")
    return profile


class _Renderer:
    """Renders the next request as it is decided, and the others as they would follow.

    `incident` and `closing` are those that the alert has, or would have.
    """

    def __init__(self, settings: Settings, target: str, *, incident: Incident, closing: Closing) -> None:
        profile = _profile(settings, target)
        self._currents = sample_currents(profile)
        self._section = settings.irps[target]
        self._compiled = compile_profile(profile)
        self._capabilities = capabilities(profile, to_irp=settings.close.to_irp)
        self._incident = incident
        self._closing = replace(closing, incident=False)
        self._context = template_context(settings, target, utc_now)
        self._profile = profile
        self._auth = shown(profile.auth)

    def due(self, stored: Stored) -> tuple[Stored, Step]:
        """Return the step whose request is the next one, and the alert as it is by then."""
        step = self._step(stored.work)
        if isinstance(step, FindFirst) and not self._capabilities.can_find:
            if without_find(stored.work.link, self._capabilities) is not None:
                return stored, step
            stored = stored.with_link(absent(stored.work.link))
            step = self._step(stored.work)
        if not isinstance(step, Create | Compare | Upsert):
            return stored, step
        stored = Stored(work=stored.read, read=stored.read)
        step = self._step(stored.work)
        if isinstance(step, Compare) and not (request := self._request(stored.work, step)).needed:
            link = stored.work.link
            link = after_update(link, request, stored.work, step)
            stored = stored.with_link(link)
            step = self._step(stored.work)
        return stored, step

    def all(self, stored: Stored, *, due: Step) -> list[Rendered]:
        """Render every operation that the profile has."""
        every, reading = self._login(), dict[str, bool]()
        for work, step in self._steps(stored, due):
            operation = OPERATIONS[type(step)]
            if operation in self._compiled:
                plain = self._request(work, step)
                request = self._read(work, step) if plain.draft.unread else plain
                note = self._note(stored.read.link, step, plain, due)
                comes = OPERATIONS.get(type(due)) == operation
                if plain.draft.unread or plain.looks_at:
                    reading[operation] = comes and plain.needed
                follows = comes and not reading.get(operation)
                every.append(self._rendered(request.draft, note + (NEXT if follows else ""), self._auth))
        if "get" in self._compiled:
            every.insert(_place_of_get(every), self._get(stored, reading))
        return every

    def _login(self) -> list[Rendered]:
        draft = shown_login(self._profile, self._section.username, options(self._section))
        note = "before the first request, and after one that was refused with 401"
        return [self._rendered(draft, note, Shown())] if draft else []

    def _get(self, stored: Stored, reading: Mapping[str, bool]) -> Rendered:
        """Render the request that reads an incident; `reading` has the writes before it, and whether one is next."""
        link = self._linked(stored.read, stored.read.link.sent).link
        draft = self._context.reading(replace(stored.read, link=link), self._draft)
        before = f"before {' and '.join(reading)}; " if reading else ""
        note = f"{before}for `show --live`" + (NEXT if any(reading.values()) else "")
        return self._rendered(draft, note, self._auth)

    def _read(self, work: DeliveryState, step: Step) -> Request:
        """Render a request that holds what was read of the incident, with what stands for that."""
        *tries, last = self._currents
        for current in tries:
            try:
                return self._context.request(work, step, self._draft, current)
            except Permanent:
                continue
        return self._context.request(work, step, self._draft, last)

    def _steps(self, stored: Stored, due: Step) -> Iterator[tuple[DeliveryState, Step]]:
        """Yield a step for each operation, with the alert as it would be then."""
        work = stored.read
        sent = work.link.sent if work.link.incident else DeliveredState()
        new = replace(work, link=Link(alert_id=work.alert_id))
        create = self._step(new)
        outdated = self._linked(work, replace(sent, fingerprint=None))
        yield work, FindFirst()
        yield new, create
        compare = self._step(outdated)
        if isinstance(compare, Compare):
            yield outdated, compare
        yield self._adding(work, sent, due if work.link.incident else create)
        closing = self._linked(stored.work if isinstance(due, Close) else work, sent)
        yield closing, due if isinstance(due, Comment) else self._told(closing)
        yield closing, Close()

    def _adding(self, work: DeliveryState, sent: DeliveredState, before: Step) -> tuple[DeliveryState, Step]:
        """Return what is added after the request before it; where nothing is left, how it would look."""
        told = sent.events.union(before.events if isinstance(before, Create | Compare | Upsert) else ())
        batch = frozenset(list(work.kept)[: self._capabilities.batch])
        for events in (told, batch, frozenset[EventDigest]()):
            then = self._linked(work, DeliveredState(fingerprint=work.snapshot.fingerprint, events=events))
            step = self._step(then)
            if isinstance(step, AddEvents):
                return then, step
        return self._linked(work, sent), AddEvents()

    def _told(self, closing: DeliveryState) -> Comment:
        """Return what would be told before the incident is closed; where that is nothing, how it would look."""
        lines = due(closing.link, closing=True, audit=self._capabilities.audit_comments)
        return Comment(lines=lines or ("…",), closing=True)

    def _linked(self, work: DeliveryState, sent: DeliveredState) -> DeliveryState:
        state = Linked(incident=self._incident, sent=sent)
        return replace(work, link=Link(alert_id=work.alert_id, state=state, closing=self._closing))

    def _step(self, work: DeliveryState) -> Step:
        return work.step(self._capabilities)

    def _request(self, work: DeliveryState, step: Step) -> Request:
        return self._context.request(work, step, self._draft)

    def _note(self, link: Link, step: Step, request: Request, due: Step) -> str:
        """Say when a request is sent."""
        match step:
            case FindFirst():
                return "before a create that may have happened already"
            case Create():
                upsert = "" if self._capabilities.can_update else ", or, for want of an update, one that changed"
                return f"for an alert without an incident{upsert}"
            case Compare():
                return _note_of_update(link, request, due)
            case AddEvents():
                return self._note_of_events()
            case Comment():
                did = "what we did, and " if self._capabilities.audit_comments else ""
                return f"{did}the words of a closing, before it"
            case _ if not self._capabilities.may_close:
                return "not sent: close.to_irp is off"
            case _:
                return "when the alert is closed in KUMA, or by an operator"

    def _note_of_events(self) -> str:
        can = self._capabilities
        updates = can.update_carries_events if can.can_update else can.create_carries_events
        if not (can.create_carries_events or updates):
            return f"all events, at most {can.batch} in one request"
        beyond = f"what is beyond {can.batch} events in one request"
        if can.create_carries_events and updates:
            return beyond
        if updates:
            return f"the first events, and {beyond}"
        return f"{beyond}, and all events that come later"

    def _draft(self, operation: str, values: Mapping[str, object]) -> Draft:
        try:
            return self._compiled[operation].rendering.draft(values)
        except Unrenderable as error:
            summary = f"the template {error.where} failed: {error.problem}"
        raise Permanent(remote="irp", operation=operation, summary=summary)

    def _rendered(self, draft: Draft, note: str, auth: Shown) -> Rendered:
        request = outgoing(draft)
        query = "&".join(filter(None, (draft.query.replace(quote(MASK), MASK), auth.query)))
        as_text = draft.encoding != "json" and request.body is not None
        return Rendered(
            operation=draft.operation,
            note=note,
            method=draft.method,
            url=self._section.url + draft.path + (f"?{query}" if query else ""),
            headers={"Accept": "application/json", **redact(None, "", dict(request.headers)), **auth.headers},
            body=(request.body or b"").decode().replace(quote(MASK), MASK) if as_text else draft.body,
        )


def _note_of_update(link: Link, request: Request, due: Step) -> str:
    if link.incident is None:
        sends = "all these fields" if request.rendered.whole else "only the fields that changed"
        return f"when the alert changes; then {sends}"
    if not request.needed:
        return "nothing differs from what was sent: not sent now"
    now = isinstance(due, Compare | FindFirst)
    unless = f"; {', '.join(sorted(request.looks_at))} unless edited in the IRP" if request.looks_at else ""
    what = "all these fields, for something differs" if request.rendered.whole else "what differs from what was sent"
    return what + unless + ("" if now else ": not sent now")


def _place_of_get(shown: list[Rendered]) -> int:
    return next((place for place, one in enumerate(shown) if one.operation in FOLLOW_GET), len(shown))
