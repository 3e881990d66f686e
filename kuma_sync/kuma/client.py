"""What is asked of KUMA: alerts page by page, a closing, who the token is."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from itertools import count

import stamina
import stamina.instrumentation

from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import AccessDenied, Permanent, Transient
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.kuma.array_splitter import ArraySplitter
from kuma_sync.kuma.element_cache import Element, ElementCache
from kuma_sync.kuma.page import End, Page, PageEnd, PageSize, Paging, Shown
from kuma_sync.kuma.refusal import ALREADY_CLOSED, kuma_refusal
from kuma_sync.kuma.request import Scope, query_string
from kuma_sync.kuma.tolerant_json import bounds
from kuma_sync.kuma.whereabouts import Whereabouts
from kuma_sync.kuma.whoami import Whoami, read_whoami
from kuma_sync.settings import Secret
from kuma_sync.transport import Outgoing, RemoteClient, TokenAuth
from kuma_sync.transport.auth import read_again

__all__ = ["Element", "End", "KumaClient", "PageEnd", "Whoami", "query_string"]

NOBODY = AlertId("00000000-0000-0000-0000-000000000000")

_READ, _CLOSE, _COMMENT, _WHOAMI = "read", "close", "comment", "whoami"
LISTED = 1024 * 1024
"""Bytes that an alert may have in a listing, however few it may have with its events: there it is a few hundred."""

TOKEN_REFUSED = (400, 401, 403)
"""KUMA answers 403 to an unknown token, 400 to a malformed header (help 217974); 401 comes from what is before it."""

# Its own hook logs what it retries; a failed read is reported once, by whoever asked for it.
stamina.instrumentation.set_on_retry_hooks(())


class KumaClient:
    """KUMA's public REST API. Reads retry shortly, writes never."""

    def __init__(  # noqa: PLR0913  one keyword a setting, given once, in the composition root
        self,
        *,
        client: RemoteClient,
        token: Secret,
        api_version: str,
        statuses: Sequence[str],
        tenants: Sequence[str],
        with_affected: bool,
        max_alert_size: int,
        page_cap: int,
    ) -> None:
        self._client = client
        self._token = token
        self._auth = TokenAuth(token, refused=TOKEN_REFUSED)
        self._version = api_version
        self._whereabouts = Whereabouts(client, self._auth, version=api_version)
        self._scope = Scope(statuses=tuple(statuses), tenants=tuple(tenants), with_affected=with_affected)
        self._max_alert_size = max_alert_size
        self._page_size = PageSize()
        self._page_cap = page_cap
        self._known = ElementCache()
        self._close_path = f"/api/{api_version}/alerts/close"
        self._comment_path = f"/api/{api_version}/alerts/comment"

    async def read(self, query: Query) -> AsyncGenerator[Element | PageEnd, None]:
        """Read all pages: their elements one by one, and a PageEnd after each page; raise RemoteError.

        Whether the read is complete, its last PageEnd says. Close the iterator (`aclosing`) when leaving early: it
        holds a connection.
        """
        paging, seen = Paging(query, self._page_size, cap=self._page_cap), set[int]()
        asked = frozenset(query.ids)
        for number in count(1):
            async with self._page(query, number) as page:
                async with aclosing(page.elements(seen, asked)) as elements:
                    async for element in elements:
                        yield element
                end = paging.end(
                    Shown(count=page.count, news=page.news, asked=frozenset(page.asked), digest=page.digest)
                )
                yield page.ended(number, end)
            if end is not End.MORE:
                return

    @property
    def close_address(self) -> str:
        """Return the method and address of a closing."""
        return f"POST {self._client.endpoint.url}{self._close_path}"

    async def close(self, alert_id: str, reason: str) -> bool:
        """Close an alert (KUMA help 222255, 269917); false if it was closed already. Raise RemoteError otherwise.

        KUMA says 204. Another success counts only with JSON: a page for people, or nothing, is not KUMA's word.
        """
        body = json.dumps({"id": alert_id, "reason": reason}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        request = Outgoing(method="POST", path=self._close_path, headers=headers, body=body)
        answer = await self._client.send(request, operation=_CLOSE, changes=True, auth=self._auth)
        if 200 <= answer.status < 300:
            if answer.status != 204:
                answer.json()
            return True
        if answer.status == 406 and answer.message.casefold() == ALREADY_CLOSED:
            return False
        raise kuma_refusal(answer, api_version=self._version)

    async def comment(self, alert_id: str, text: str) -> None:
        """Write a comment to an alert; raise RemoteError. Only v3 can (seen in PyPI's `kuma-api`)."""
        body = json.dumps({"alertID": alert_id, "comment": text}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        request = Outgoing(method="POST", path=self._comment_path, headers=headers, body=body)
        answer = await self._client.send(request, operation=_COMMENT, changes=True, auth=self._auth)
        if not 200 <= answer.status < 300 or answer.is_page:
            raise kuma_refusal(answer, api_version=self._version)

    async def whoami(self) -> Whoami:
        """Ask whose token this is, and what it may see (KUMA help 269936); raise RemoteError."""
        request = Outgoing(method="GET", path=f"/api/{self._version}/users/whoami")
        answer = await self._client.send(request, operation=_WHOAMI, changes=False, auth=self._auth)
        if answer.status != 200:
            raise await self._whereabouts.explained(kuma_refusal(answer, api_version=self._version))
        found = read_whoami(answer.json())
        if found is None:
            raise Transient(remote=self._client.remote, operation=_WHOAMI, summary="answered something that is no user")
        return found

    async def probe(self) -> None:
        """Ask for something harmless, to learn whether the token is accepted; raise RemoteError.

        A user's rights name single calls (KUMA help 235388): one that may not ask who it is may yet read alerts.
        """
        try:
            await self.whoami()
        except AccessDenied:
            await self.assure_answers(ReadKind.STATUS)

    async def assure_answers(self, kind: ReadKind) -> None:
        """Ask for an alert that nobody has; raise RemoteError.

        A KUMA that refuses even that has nothing against the one alert it refused before: it is unwell.
        """
        async with aclosing(self.read(Query(kind=kind, ids=(NOBODY,)))) as items:
            async for _item in items:
                return

    def reload_token(self) -> bool:
        """Read the token's file again; tell whether it changed."""
        return read_again(self._token)

    @asynccontextmanager
    async def _page(self, query: Query, number: int) -> AsyncIterator[Page]:
        async with AsyncExitStack() as opened:
            retries = stamina.retry_context(
                on=_worth_another_try, attempts=3, timeout=30, wait_initial=0.2, wait_max=2, wait_jitter=0.2
            )
            async for attempt in retries:
                with attempt:
                    page = await self._first(query, number, opened)
            yield page

    async def _first(self, query: Query, number: int, opened: AsyncExitStack) -> Page:
        try:
            async with AsyncExitStack() as trial:
                page = await trial.enter_async_context(self._opened(query, number))
                await page.first()
                opened.push_async_callback(trial.pop_all().aclose)
        except Permanent as error:
            # Only now: the refused answer's connection may be the only one.
            raise await self._whereabouts.explained(error) from None
        return page

    @asynccontextmanager
    async def _opened(self, query: Query, number: int) -> AsyncIterator[Page]:
        path, asked = f"/api/{self._version}/alerts/", query_string(query, self._scope, page=number)
        request = Outgoing(method="GET", path=path, query=asked)
        async with self._client.stream(request, operation=_READ, auth=self._auth) as stream:
            if stream.status != 200:
                raise kuma_refusal(await stream.answer(), api_version=self._version)
            # A listing's elements are small: quicker looked into than looked up.
            known = self._known if query.with_events else None
            limit = bounds(self._max_alert_size if query.with_events else max(self._max_alert_size, LISTED))
            splitter = ArraySplitter(max_size=limit.size, known=known)
            yield Page(stream, splitter, limit, remote=self._client.remote, operation=_READ)


def _worth_another_try(error: Exception) -> bool:
    if not isinstance(error, Transient) or error.retry_after is not None:
        return False
    # A redirect does not go away within a second.
    return error.status is None or not 300 <= error.status < 400
