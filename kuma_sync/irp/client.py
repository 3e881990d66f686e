"""The IRP's operations, as a profile describes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urljoin

import structlog

from kuma_sync.core.errors import Permanent, RemoteError, Transient
from kuma_sync.core.incident import Found, Incident, Resolution
from kuma_sync.core.moments import rfc3339
from kuma_sync.core.text import folded
from kuma_sync.irp.auth import Credentials, make_auth, require
from kuma_sync.irp.bounds import patiently
from kuma_sync.irp.encoding import outgoing
from kuma_sync.irp.errors import Absent, Outdated, Unrenderable
from kuma_sync.irp.paging import BAD_PAGE, MOST_READINGS, Memory, Next, Paging
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.rendering import Draft
from kuma_sync.irp.responses import REMOTE, Current, Row
from kuma_sync.irp.validate import compile_profile
from kuma_sync.telemetry.redact import masked
from kuma_sync.transport import Answer, LoginAuth, RemoteClient
from kuma_sync.transport.auth import read_again

PAGE = 100
"""Incidents asked for in one page of closed ones."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedPage:
    """One page of closed incidents: what it shows that is new or changed in this round.

    `server_date` is the IRP's own clock, if it told. The `last` one may be `proven`: nothing of the list was missed.
    `undated` is the form of a time that could not be read, "" where all could. `shown` is how many rows the page has,
    `closed` how many of them are closed.
    """

    items: list[Resolution]
    server_date: datetime | None
    last: bool
    proven: bool
    undated: str = ""
    shown: int = 0
    closed: int = 0


class IrpClient:
    """Speaks to one IRP. Every failure is a RemoteError of `irp`; an operation the profile lacks is a KeyError."""

    def __init__(
        self,
        *,
        client: RemoteClient,
        profile: Profile,
        secrets: Credentials,
        options: Mapping[str, str],
        clock: Callable[[], datetime],
        most_pages: int,
    ) -> None:
        require(profile, secrets, client.remote)
        self._client = client
        self._auth = make_auth(profile, secrets, client, options)
        self._profile = profile
        self._secrets = secrets
        self._options = options
        self._clock = clock
        self._most_pages = most_pages
        self._operations = compile_profile(profile)
        self._filter_ignored = False
        self._undated = False
        self._ended_by: int | None = None
        self._closed_memory = Memory()

    def can(self, operation: str) -> bool:
        """Tell whether the profile has this operation."""
        return operation in self._operations

    def address(self, operation: str) -> str:
        """Return the method and address of an operation as the profile has them, without any value of an alert."""
        described = self._profile.operations[operation]
        return f"{described.method} {self._client.endpoint.url}{described.path}"

    def draft(self, operation: str, values: Mapping[str, object]) -> Draft:
        """Render a request without sending it. Raises Permanent where a template fails on these values."""
        try:
            rendering = self._operations[operation].rendering
            if not rendering.secrets:
                return rendering.draft(values)
            named = {name: secret.reveal() for name, secret in self._secrets.named.items()}
            return rendering.draft(values, named)
        except Unrenderable as error:
            where, problem = error.where, masked(error.problem)
        summary = f"the template {where} failed"
        raise Permanent(remote=REMOTE, operation=operation, summary=summary, detail=problem)

    async def create(self, draft: Draft) -> Incident:
        """Make an incident.

        Raises Duplicate where the IRP says it exists, Transient (ambiguous, unidentified) for a success without an id.
        """
        answer = await self._send(draft, changes=True)
        return self._linked(await patiently(lambda: self._operations[draft.operation].answers.incident(answer)))

    async def write(self, draft: Draft) -> None:
        """Change an incident, add events to it, or close it: whatever was drafted."""
        await self._send(draft, changes=True)

    async def find(self, key: str) -> list[Found]:
        """Ask for the incidents of this external key, in the IRP's order; others' are discarded.

        An IRP may have changed the key's case, or have put blanks after it: that counts where no key is exact.
        """
        try:
            answer = await self._send(self.draft("find", self._values(key=key)), changes=False)
        except Absent:
            return []
        rows = await patiently(lambda: self._operations["find"].answers.rows(answer))
        exact = [row for row in rows if row.key == key]
        found = exact or [row for row in rows if folded(row.key) == folded(key)]
        if any(not row.incident.id for row in found):
            # It is there: taking this for "not found" would double it.
            raise Permanent(remote=REMOTE, operation="find", summary="found the incident, but without its id")
        if len(found) < len(rows):
            log.warning("irp_find_shows_others", discarded=len(rows) - len(found), kept=len(found))
        return [
            Found(incident=self._linked(row.incident), closed=row.closed, resolution=row.resolution) for row in found
        ]

    async def read(self, draft: Draft) -> Current:
        """Ask what an incident holds now, by `get`. Raises Missing where the IRP does not know it."""
        return self._operations["get"].answers.current(await self._send(draft, changes=False))

    async def list_closed(self, since: datetime) -> AsyncGenerator[ClosedPage, None]:
        """Read the incidents closed since then, page by page, each incident once unless it changed meanwhile.

        Raises Transient for a list that does not end, or that moved at every reading; any failure behind the first
        page leaves the pages before it as they are.
        """
        paging, notes = Paging(self._closed_memory, limit=PAGE), _Notes()
        restless = False
        try:
            while paging.page <= self._most_pages and not restless:
                rows, date = await self._closed_rows(paging, since)
                first = paging.at_start
                fresh, follows = paging.take(rows, date)
                if first or (fresh and paging.first_reading):
                    notes.take(rows)
                restless, last = follows is Next.RESTLESS, follows in (Next.PROVEN, Next.UNCHANGED)
                yield ClosedPage(
                    items=[_resolution(row) for row in fresh if row.closed],
                    server_date=date,
                    last=last,
                    proven=follows is Next.PROVEN,
                    undated=notes.undated,
                    shown=len(rows),
                    closed=sum(row.closed for row in rows),
                )
                if last:
                    self._tell(notes)
                    return
        finally:
            paging.leave()
        how = (
            f"kept moving while it was read {MOST_READINGS} times"
            if restless
            else f"did not end after {self._most_pages} pages"
        )
        raise Transient(remote=REMOTE, operation="list_closed", summary=f"the list of closed incidents {how}")

    async def probe(self) -> None:
        """Ask for something harmless, to learn whether we are let in. Does nothing where the profile has no probe."""
        if self.can("probe"):
            await self._send(self.draft("probe", self._values()), changes=False)

    def reload_secrets(self) -> bool:
        """Read secrets from their files again; tell whether one changed."""
        return read_again(*self._secrets.every)

    async def _send(self, draft: Draft, *, changes: bool) -> Answer:
        request = outgoing(draft)
        answer = await self._client.send(request, operation=draft.operation, changes=changes, auth=self._auth)
        try:
            await patiently(lambda: self._operations[draft.operation].answers.judge(answer))
        except RemoteError as error:
            if isinstance(self._auth, LoginAuth) and _asks_to_log_in(answer):
                # What became of a write nobody knows, so it is not sent again here.
                self._auth.in_doubt()
            if not isinstance(error, Permanent):
                raise
            if error.status == HTTPStatus.PRECONDITION_FAILED and draft.conditional:
                raise _outdated(error) from None
            raise self._located(error) from None
        if isinstance(self._auth, LoginAuth):
            self._auth.works()
        return answer

    def _located(self, error: Permanent) -> Permanent:
        """Name the address of a list, or of the probe, that is not there: it is about no single incident."""
        if error.operation not in ("list_closed", "probe") or error.status not in (404, 405, 410):
            return error
        told = f"{error.summary} at {self.address(error.operation)}: is the profile's path right?"
        return replace(error, summary=told)

    def _linked(self, incident: Incident) -> Incident:
        """Return the incident with a whole link where the IRP shows one without its address, as `/case/7`."""
        if not incident.url.startswith("/"):
            return incident
        try:
            return replace(incident, url=urljoin(self._client.endpoint.url, incident.url))
        except ValueError:
            return incident

    def _values(self, **values: object) -> dict[str, object]:
        return {**values, "options": dict(self._options), "now": rfc3339(self._clock())}

    async def _closed_rows(self, paging: Paging, since: datetime) -> tuple[list[Row], datetime | None]:
        """Ask for a page of closed incidents; return its rows, none behind the end, and the server's clock."""
        values = self._values(since=rfc3339(since), offset=paging.offset, limit=PAGE, page=paging.page)
        try:
            answer = await self._send(self.draft("list_closed", values), changes=False)
        except Permanent as error:
            if not paging.ends_with(error.status):
                raise
            if error.status in BAD_PAGE and error.status != self._ended_by:
                log.warning("irp_list_closed_ended_by_refusal", status=error.status)
                self._ended_by = error.status
            return [], None
        return await patiently(lambda: self._operations["list_closed"].answers.rows(answer)), answer.date

    def _tell(self, notes: _Notes) -> None:
        """Say of a round what is odd, each once until it is over."""
        if notes.discarded and not self._filter_ignored:
            log.warning("irp_list_closed_shows_others", discarded=notes.discarded)
        if notes.undated and not self._undated:
            log.warning("irp_closings_undated", form=notes.undated)
        self._filter_ignored, self._undated = notes.discarded > 0, bool(notes.undated)


def _asks_to_log_in(answer: Answer) -> bool:
    """Tell whether an answer is one that a session that ended may get: 403, a redirect, a page for people."""
    return (
        answer.status == HTTPStatus.FORBIDDEN or 300 <= answer.status < 400 or (answer.is_page and answer.status < 300)
    )


def _outdated(error: Permanent) -> Outdated:
    return Outdated(
        remote=error.remote,
        operation=error.operation,
        summary=f"{error.summary}: the incident was changed meanwhile",
        status=error.status,
        detail=error.detail,
    )


@dataclass(slots=True)
class _Notes:
    """What is odd about the rows of one round: how many are no closed incidents, and how a time was written."""

    discarded: int = 0
    undated: str = ""

    def take(self, rows: list[Row]) -> None:
        ours = [row for row in rows if row.closed and row.identity]
        self.discarded += len(rows) - len(ours)
        self.undated = next((row.undated for row in ours if row.undated), self.undated)


def _resolution(row: Row) -> Resolution:
    return Resolution(incident_id=row.incident.id, key=row.key, resolution=row.resolution, updated=row.updated)
