"""A client for plain HTTP alone: to load the authorities' certificates would cost more than most tests do."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

_UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def plain_client(url: str = "", **kwargs: Any) -> httpx.AsyncClient:
    """Return a client without proxies and without TLS; `url` is what its requests begin with."""
    return httpx.AsyncClient(base_url=url, transport=httpx.AsyncHTTPTransport(verify=_UNUSED), **kwargs)
