"""The requests that would be sent for one alert, as they would look.

What an alert holds is read from KUMA where the store has delivered it already.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from kuma_sync.app.build import utc_now
from kuma_sync.app.remotes import checked_profile, open_remotes, options
from kuma_sync.core.alert import AlertId, Contents, event_digest
from kuma_sync.core.errors import Permanent
from kuma_sync.core.incident import Incident, external_key
from kuma_sync.core.link import Link
from kuma_sync.core.steps import changed_fields
from kuma_sync.irp.auth import Credentials, make_auth
from kuma_sync.irp.context import Subject, values
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.rendering import Draft
from kuma_sync.irp.sample import sample_subject
from kuma_sync.irp.validate import compile_profile
from kuma_sync.settings import Secret, Settings
from kuma_sync.settings.secret import MASK
from kuma_sync.store import Tx
from kuma_sync.sync.delivery.context import ContentsReader
from kuma_sync.sync.limits import Limits
from kuma_sync.telemetry.redact import redact

NOT_YET = Incident(id="INCIDENT-ID", number="INCIDENT-NUMBER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One request: secrets masked, `note` says when it is sent."""

    operation: str
    note: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An alert as the store has it; `link` tells what was sent already."""

    subject: Subject
    link: Link


def load_stored(tx: Tx, alert_id: AlertId, instance: str) -> Stored | None:
    """Return a stored alert; None where there is no such one."""
    snapshot = tx.alerts.snapshots([alert_id]).get(alert_id)
    link = tx.links.get(alert_id)
    if snapshot is None or link is None:
        return None
    subject = Subject(
        snapshot=snapshot,
        key=external_key(instance, alert_id),
        contents=tx.alerts.contents(alert_id),
        incident=link.incident or NOT_YET,
        reason=link.close_reason or "responded",
        comment=link.close_comment,
    )
    return Stored(subject=subject, link=link)


async def with_contents(settings: Settings, stored: Stored) -> Stored:
    """Read from KUMA what was delivered and forgotten here; raise RemoteError."""
    subject = stored.subject
    if subject.contents is None and subject.snapshot.contents_known:
        contents = await _read(settings, subject.snapshot.alert.id)
        subject = replace(subject, contents=contents)
    events = subject.contents.events if subject.contents else ()
    return replace(stored, subject=replace(subject, events=events))


def sample_requests(settings: Settings) -> list[Rendered]:
    """Render the built-in sample alert."""
    profile, _warnings = checked_profile(settings.irp)
    subject = sample_subject(settings.kuma.instance)
    return _Press(settings, profile).all(Stored(subject=subject, link=Link(alert_id=subject.snapshot.alert.id)))


def stored_requests(settings: Settings, stored: Stored) -> list[Rendered]:
    """Render a stored alert. Raise Permanent where a template fails on it."""
    profile, _warnings = checked_profile(settings.irp)
    return _Press(settings, profile).all(stored)


class _Press:
    def __init__(self, settings: Settings, profile: Profile) -> None:
        self._settings = settings
        self._profile = profile
        self._compiled = compile_profile(profile)
        masked = Credentials(token=Secret(MASK), username=settings.irp.username, password=Secret(MASK))
        auth = make_auth(profile.auth, masked)
        self._auth = auth.headers() if auth else {}

    def all(self, stored: Stored) -> list[Rendered]:
        subject = stored.subject
        events = {event_digest(event): event for event in subject.events}
        batch = self._profile.add_events.batch if self._profile.add_events else None
        first, rest = list(events.values())[:batch], list(events.values())[batch or len(events) :]
        unsent = [event for digest, event in events.items() if digest not in stored.link.sent.events][:batch]
        shown = [
            self._shown("find", subject, "before a create that may have happened already"),
            self._shown("create", replace(subject, events=first), "for an alert without an incident"),
            self._update(stored, unsent),
            self._shown(
                "add_events", replace(subject, events=rest or first), f"what is beyond {batch} events in one request"
            ),
            self._shown("close", subject, "when the alert is closed in KUMA, or by an operator"),
        ]
        return [one for one in shown if one is not None]

    def _update(self, stored: Stored, unsent: list[Mapping[str, object]]) -> Rendered | None:
        if "update" not in self._compiled:
            return None
        whole = self._draft("update", replace(stored.subject, events=unsent))
        if stored.link.incident is None:
            return self._rendered(whole, "when the alert changes; then only the fields that changed")
        changed, cleared = changed_fields(whole.fields, stored.link.sent.fields)
        draft = whole.only(changed, cleared, with_events=bool(unsent))
        note = "what differs from what was sent" if draft.body else "nothing differs from what was sent: not sent now"
        return self._rendered(draft, note)

    def _shown(self, operation: str, subject: Subject, note: str) -> Rendered | None:
        return self._rendered(self._draft(operation, subject), note) if operation in self._compiled else None

    def _draft(self, operation: str, subject: Subject) -> Draft:
        settings = self._settings
        mine = values(subject, web_url=settings.kuma.web_url, options=options(settings.irp), now=utc_now())
        try:
            return self._compiled[operation].rendering.draft(mine)
        except Unrenderable as error:
            summary = f"the template {error.where} failed: {error.problem}"
        raise Permanent(remote="irp", operation=operation, summary=summary)

    def _rendered(self, draft: Draft, note: str) -> Rendered:
        content = {"Content-Type": "application/json"} if draft.body is not None else {}
        headers = {"Accept": "application/json", **content, **redact(None, "", dict(draft.headers)), **self._auth}
        return Rendered(
            operation=draft.operation,
            note=note,
            method=draft.method,
            url=self._settings.irp.url + draft.path + (f"?{draft.query}" if draft.query else ""),
            headers=headers,
            body=draft.body,
        )


async def _read(settings: Settings, alert_id: AlertId) -> Contents | None:
    async with AsyncExitStack() as stack:
        remotes = await open_remotes(settings, utc_now, Limits(), stack)
        return await ContentsReader(kuma=remotes.kuma, max_events=settings.poll.max_events).read(alert_id)
