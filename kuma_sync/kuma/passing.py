"""Somebody else's call, sent to KUMA with our token; its answer is not looked into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kuma_sync.kuma.client import TOKEN_REFUSED
from kuma_sync.settings import Secret
from kuma_sync.transport import Outgoing, RemoteClient, TokenAuth
from kuma_sync.transport.client import Stream


class KumaPassage:
    """KUMA as those reach it whose calls are passed on. The connections are others than those of our own reads."""

    def __init__(self, client: RemoteClient, token: Secret) -> None:
        self._client = client
        self._auth = TokenAuth(token, refused=TOKEN_REFUSED)

    @asynccontextmanager
    async def answered(self, request: Outgoing) -> AsyncIterator[Stream]:
        """Send a call, and hand out the answer piece by piece, whatever its status; raise RemoteError.

        A redirect is not followed: it may lead to a call that is not allowed.
        """
        async with self._client.stream(request, operation="passthrough", auth=self._auth, follow=False) as stream:
            yield stream
