"""The connections to one remote: an httpx transport that aiohttp's client carries.

aiohttp parses HTTP in C, takes 256 KB at a read and lets asyncio do TLS: a page over TLS costs a quarter of what
httpcore takes for it, a small request a third (docs/adr/0015).
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
import httpx
from yarl import URL

from kuma_sync.core.errors import ConfigError
from kuma_sync.transport.certificates import end_of_certificate
from kuma_sync.transport.endpoint import Endpoint, proxy_now, tls_context

KEPT_ALIVE = 4.0
"""Seconds that an idle connection is kept, less than the usual 5 of servers: one that the remote closes just when it is
used costs a write in doubt."""

LARGEST_FIELD = 64 * 1024
MOST_FIELDS = 1000
"""Of an answer's head: what stands before an IRP may add a long cookie or policy."""

_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""Headers that aiohttp would add by itself."""


class Unsendable(Exception):
    """The address or a header holds what HTTP does not allow; nothing was sent."""


class Connections(httpx.AsyncBaseTransport):
    """The connections to an endpoint, none of them open yet. Raises ConfigError for unusable files.

    A request raises aiohttp's exceptions, which `transport/errors` translates.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        # Loading the system's certificates takes longer than all the rest.
        self._tls = tls_context(endpoint) if endpoint.url.startswith("https:") else None
        self._by_proxy = _proxy_arguments(proxy_now(endpoint))
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; return as soon as the answer's head is there."""
        if self._session is None:
            self._session = self._open()
        try:
            answer = await self._sent(self._session, request)
        except (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError):
            self._ask_for_the_proxy_again()
            raise
        if not 200 <= answer.status < 600:
            answer.close()
            raise aiohttp.ClientPayloadError("no status of a final answer")
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer))

    async def _sent(self, session: aiohttp.ClientSession, request: httpx.Request) -> aiohttp.ClientResponse:
        try:
            answer = await session.request(
                request.method,
                # Every byte of the address is ours already: KUMA's `withEvents&status=new` must stay as it is.
                URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                data=request.content or None,
                allow_redirects=False,
                **self._by_proxy,
            )
        except aiohttp.InvalidURL:
            raise Unsendable from None
        except aiohttp.ClientError:  # a certificate's error is a ValueError as well
            raise
        except ValueError:
            raise Unsendable from None
        except RuntimeError:  # the session was closed meanwhile
            raise aiohttp.ClientConnectionError from None
        if self._by_proxy and answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            answer.close()
            raise aiohttp.ClientHttpProxyError(answer.request_info, (), status=answer.status)
        return answer

    def _ask_for_the_proxy_again(self) -> None:
        """Take its address and password as they are now; an unusable value is ignored."""
        with suppress(ConfigError):
            # A file that is just being written may be empty: never is the proxy left out for that.
            self._by_proxy = _proxy_arguments(proxy_now(self._endpoint)) or self._by_proxy

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        """Open the session; that can be done only where a loop runs."""
        endpoint = self._endpoint
        session = aiohttp.ClientSession(
            connector=_Connector(
                certified=endpoint.certified,
                limit=endpoint.connections,
                keepalive_timeout=KEPT_ALIVE,
                ssl=self._tls or True,
                socket_factory=partial(_socket, patience=endpoint.deadline),
            ),
            max_line_size=LARGEST_FIELD,
            max_field_size=LARGEST_FIELD,
            max_headers=MOST_FIELDS,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=endpoint.connect_timeout, sock_read=endpoint.read_timeout
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_OURS,
            trust_env=False,
        )
        # It would send a PUT or a DELETE again by itself where the connection broke; the first may have arrived. The
        # name is read first: an aiohttp that has it no more must not start.
        session._retry_connection = session._retry_connection and False
        return session


class _Connector(aiohttp.TCPConnector):
    """Takes a kept connection only where nothing came over it since.

    What came is the remote's goodbye, or an answer to nothing, which would pass for the answer to the next request. Of
    the certificate that a new connection shows, `certified` hears when it expires.
    """

    def __init__(self, *, certified: Callable[[datetime], None], **options: Any) -> None:
        super().__init__(**options)
        self._certified = certified
        self._shown = b""

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109  # aiohttp's own
        made = await super()._create_connection(req, traces, timeout)
        tls = made.transport.get_extra_info("ssl_object") if made.transport is not None else None
        shown = tls.getpeercert(binary_form=True) if tls is not None else None
        if tls is not None and shown and shown != self._shown:
            self._shown = shown
            if (end := end_of_certificate(tls)) is not None:
                self._certified(end)
        return made

    async def _get(self, key: Any, traces: Any) -> Any:
        while (kept := await super()._get(key, traces)) is not None:
            protocol, transport = kept.protocol, kept.transport
            if protocol is not None and transport is not None and not (protocol.should_close or _readable(transport)):
                return kept
            kept.close()
        return None


def _readable(transport: asyncio.Transport) -> bool:
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _socket(address: tuple[Any, ...], patience: float) -> socket.socket:
    """Make a socket that gives up a peer which takes nothing for so many seconds; closing it would wait for ever."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(patience * 1000)))
    return made


class _Body(httpx.AsyncByteStream):
    """The bytes of an answer, as they come."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer.content.iter_any():
            yield piece

    async def aclose(self) -> None:
        # A connection whose answer was not read to its end is closed by this, any other goes back.
        self._answer.release()


def _proxy_arguments(proxy: httpx.Proxy | None) -> dict[str, Any]:
    """Return aiohttp's arguments for a proxy. aiohttp sends it `Proxy-Authorization`, with a tunnel and without."""
    if proxy is None:
        return {}
    said = {"Authorization": aiohttp.encode_basic_auth(*proxy.auth)} if proxy.auth else None
    return {"proxy": URL(str(proxy.url)), "proxy_headers": said}
