"""A receiver of notifications: one whole address, which may be a secret, asked or sent to once at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlsplit

from kuma_sync.core.errors import ConfigError, RemoteError, Transient
from kuma_sync.settings.secret import Secret
from kuma_sync.transport.auth import read_again
from kuma_sync.transport.client import RemoteClient
from kuma_sync.transport.endpoint import Endpoint
from kuma_sync.transport.response import Answer, Outgoing

_CONNECT = 5.0
"""Seconds for a connection; a receiver that is away must not take the time of one whole request."""

_LARGEST = 1 << 20
"""Bytes of an answer, of which nothing but the status is looked at."""


class Receiver:
    """One receiver. `name` is the key of its address; `patience` is how many seconds a whole request may take.

    Where it fails, the address is read again from its file for the next time. No redirect is followed.
    """

    def __init__(self, name: str, address: Secret, *, patience: float, clock: Callable[[], datetime]) -> None:
        self._name = name
        self._address = address
        self._patience = patience
        self._clock = clock
        self._client: RemoteClient | None = None
        self._used = ""

    async def ask(self) -> None:
        """Ask it by GET; raise RemoteError unless it answered with 2xx."""
        await self._sent(Outgoing(method="GET", path=""))

    async def send(self, message: Mapping[str, str]) -> None:
        """Send it a JSON object by POST; raise RemoteError unless it answered with 2xx."""
        body = json.dumps(message, ensure_ascii=False).encode()
        await self._sent(Outgoing(method="POST", path="", headers={"Content-Type": "application/json"}, body=body))

    async def aclose(self) -> None:
        """Close its connection."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _sent(self, request: Outgoing) -> None:
        try:
            client, parts = await self._opened(), urlsplit(self._used)
            whole = Outgoing(
                method=request.method,
                path=parts.path or "/",
                query=parts.query,
                headers=request.headers,
                body=request.body,
            )
            # As a write, so that no redirect is followed: an address that may be a secret goes nowhere else.
            answer = await client.send(whole, operation=self._name, changes=True)
        except ConfigError as error:
            raise Transient(remote=self._name, operation=self._name, summary=error.problem) from None
        except RemoteError:
            read_again(self._address)
            raise
        if not 200 <= answer.status < 300:
            read_again(self._address)
            raise self._refused(answer)

    async def _opened(self) -> RemoteClient:
        address = self._address.reveal()
        if self._client is None or address != self._used:
            await self.aclose()
            parts = urlsplit(address)
            endpoint = Endpoint(
                remote=self._name,
                url=f"{parts.scheme}://{parts.netloc}",
                connect_timeout=min(_CONNECT, self._patience),
                read_timeout=self._patience,
                deadline=self._patience,
                connections=1,
                own_ca=False,
                largest=_LARGEST,
            )
            self._client, self._used = RemoteClient(endpoint, clock=self._clock), address
        return self._client

    def _refused(self, answer: Answer) -> Transient:
        return Transient(
            remote=self._name, operation=self._name, summary=f"answered {answer.status}", status=answer.status
        )
