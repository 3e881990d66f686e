"""The IRP's operations, as a profile describes them.

Must not: decide which operation comes when, keep anything, or retry a write.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from kuma_sync.core.errors import Permanent, Transient
from kuma_sync.core.incident import Found, Incident, Resolution
from kuma_sync.core.moments import rfc3339
from kuma_sync.irp.answers import REMOTE, Row
from kuma_sync.irp.auth import Credentials, auth_headers, require
from kuma_sync.irp.checking import compile_profile
from kuma_sync.irp.draft import Draft
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.profile import Profile
from kuma_sync.telemetry.redact import hide
from kuma_sync.transport import Answer, Outgoing, Wire

PAGE = 100
"""Incidents asked for in one page of closed ones."""

MOST_PAGES = 1000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedPage:
    """One page of closed incidents, perhaps the last; `server_date` is the IRP's own clock, if it told."""

    items: list[Resolution]
    server_date: datetime | None
    last: bool


class IrpClient:
    """Speaks to one IRP. Every failure is a RemoteError of `irp`; an operation the profile lacks is a KeyError."""

    def __init__(
        self,
        *,
        wire: Wire,
        profile: Profile,
        secrets: Credentials,
        options: Mapping[str, str],
        clock: Callable[[], datetime],
    ) -> None:
        require(profile.auth, secrets)
        self._wire = wire
        self._profile = profile
        self._secrets = secrets
        self._options = options
        self._clock = clock
        self._operations = compile_profile(profile)
        self._filter_ignored = False

    @property
    def batch(self) -> int | None:
        """Return the largest number of events in one request; None where all go with create and update."""
        return self._profile.add_events.batch if self._profile.add_events else None

    def carries_events(self, operation: str) -> bool:
        """Tell whether this operation's body holds events."""
        return self.can(operation) and bool(self._operations[operation].rendering.event_fields)

    def can(self, operation: str) -> bool:
        """Tell whether the profile has this operation."""
        return operation in self._operations

    def address(self, operation: str) -> str:
        """Return the method and address of an operation as the profile has them, without any value of an alert."""
        described = self._profile.operations[operation]
        return f"{described.method} {self._wire.endpoint.url}{described.path}"

    def draft(self, operation: str, values: Mapping[str, object]) -> Draft:
        """Render a request without sending it. Raises Permanent where a template fails on these values."""
        try:
            return self._operations[operation].rendering.draft(values)
        except Unrenderable as error:
            where, problem = error.where, error.problem
        summary = f"the template {where} failed"
        raise Permanent(remote=REMOTE, operation=operation, summary=summary, detail=problem)

    async def create(self, draft: Draft) -> Incident:
        """Make an incident.

        Raises Duplicate where the IRP says it exists, Transient (ambiguous, unidentified) for a success without an id.
        """
        answer = await self._send(draft, changes=True)
        return self._operations[draft.operation].answers.incident(answer)

    async def write(self, draft: Draft) -> None:
        """Change an incident, add events to it, or close it: whatever was drafted."""
        await self._send(draft, changes=True)

    async def find(self, key: str) -> list[Found]:
        """Ask for the incidents of this external key, in the IRP's order; others' are discarded."""
        answer = await self._send(self.draft("find", self._values(key=key)), changes=False)
        rows = self._operations["find"].answers.rows(answer)
        found = [row for row in rows if row.key == key]
        if any(not row.incident.id for row in found):
            # It is there: taking this for "not found" would double it.
            raise Permanent(remote=REMOTE, operation="find", summary="found the incident, but without its id")
        if len(found) < len(rows):
            log.warning("irp_find_shows_others", discarded=len(rows) - len(found), kept=len(found))
        return [Found(incident=row.incident, closed=row.closed, resolution=row.resolution) for row in found]

    async def list_closed(self, since: datetime) -> AsyncIterator[ClosedPage]:
        """Read the incidents closed since then, page by page, each incident once.

        It is read to its end if no error is raised: a page was shorter than `PAGE`, or showed nothing new. Raises
        Transient when that never comes.
        """
        seen: set[str] = set()
        offset = discarded = 0
        for page in range(1, MOST_PAGES + 1):
            values = self._values(since=rfc3339(since), offset=offset, limit=PAGE, page=page)
            answer = await self._send(self.draft("list_closed", values), changes=False)
            rows = self._operations["list_closed"].answers.rows(answer)
            fresh = _fresh(rows, seen)
            closed = [_resolution(row) for row in fresh if row.closed]
            discarded += sum(not (row.closed and row.identity) for row in rows)
            last = not fresh or len(rows) < PAGE
            yield ClosedPage(items=closed, server_date=answer.date, last=last)
            if last:
                self._note_filter(discarded)
                return
            offset += len(rows)
        summary = f"the list of closed incidents did not end after {MOST_PAGES} pages"
        raise Transient(remote=REMOTE, operation="list_closed", summary=summary)

    async def probe(self) -> None:
        """Ask for something harmless, to learn whether we are let in. Does nothing where the profile has no probe."""
        if self.can("probe"):
            await self._send(self.draft("probe", self._values()), changes=False)

    def reload_secrets(self) -> bool:
        """Read secrets from their files again; tell whether one changed."""
        changed = self._secrets.reload()
        hide(self._secrets.token.reveal(), self._secrets.password.reveal())
        return changed

    async def _send(self, draft: Draft, *, changes: bool) -> Answer:
        used = auth_headers(self._profile.auth, self._secrets, operation=draft.operation)
        answer = await self._exchange(draft, used, changes=changes)
        if answer.status in (401, 403):
            # Compared with what this request carried: another request may have read the new file meanwhile.
            self.reload_secrets()
            fresh = auth_headers(self._profile.auth, self._secrets, operation=draft.operation)
            if fresh != used:
                answer = await self._exchange(draft, fresh, changes=changes)
        try:
            self._operations[draft.operation].answers.judge(answer)
        except Permanent as error:
            raise self._located(error) from None
        return answer

    def _located(self, error: Permanent) -> Permanent:
        """Name the address of a list, or of the probe, that is not there: it is about no single incident."""
        if error.operation not in ("list_closed", "probe") or error.status not in (404, 405, 410):
            return error
        told = f"{error.summary} at {self.address(error.operation)}: is the profile's path right?"
        return replace(error, summary=told)

    async def _exchange(self, draft: Draft, auth: Mapping[str, str], *, changes: bool) -> Answer:
        content = {"Content-Type": "application/json"} if draft.body is not None else {}
        request = Outgoing(
            method=draft.method,
            path=draft.path,
            query=draft.query,
            headers={**content, **draft.headers, **auth},
            body=_encoded(draft),
        )
        return await self._wire.send(request, operation=draft.operation, changes=changes)

    def _values(self, **values: object) -> dict[str, object]:
        return {**values, "options": dict(self._options), "now": rfc3339(self._clock())}

    def _note_filter(self, discarded: int) -> None:
        if discarded and not self._filter_ignored:
            log.warning("irp_list_closed_shows_others", discarded=discarded)
        self._filter_ignored = discarded > 0


def _encoded(draft: Draft) -> bytes | None:
    if draft.body is None:
        return None
    try:
        text = json.dumps(draft.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        summary = "the body cannot be written as JSON"
        raise Permanent(remote=REMOTE, operation=draft.operation, summary=summary) from None
    return text.encode("utf-8", "replace")  # half a surrogate pair, which JSON may hold and UTF-8 may not, becomes "?"


def _fresh(rows: list[Row], seen: set[str]) -> list[Row]:
    """Return the rows not seen in this round; rows that name nothing are none."""
    fresh = []
    for row in rows:
        if row.identity and row.identity not in seen:
            seen.add(row.identity)
            fresh.append(row)
    return fresh


def _resolution(row: Row) -> Resolution:
    return Resolution(incident_id=row.incident.id, key=row.key, resolution=row.resolution, updated=row.updated)
