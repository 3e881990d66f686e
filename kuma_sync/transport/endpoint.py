"""Where a remote is and how it is reached: address, certificates, proxy, time limits."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.paths import no_certificate, no_pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One remote (`kuma` or `irp`): `url` is the base without a trailing slash; times are seconds.

    `read_timeout` is between two bytes, `deadline` for a whole request. `proxy` tells its address, user and password in
    it, as it is now; it is asked again when the proxy refuses us. `certified` hears when the certificate expires that
    the remote showed on a new connection. Without `own_ca` there is no `ca_file` to advise. `largest` counts bytes of a
    whole answer, unpacked.
    """

    remote: str
    url: str
    ca_file: Path | None = None
    verify_tls: bool = True
    client_cert: Path | None = None
    client_key: Path | None = None
    proxy: Callable[[], str] = str
    connect_timeout: float = 10
    read_timeout: float = 30
    deadline: float = 60
    connections: int = 8
    certified: Callable[[datetime], None] = lambda _end: None
    own_ca: bool = True
    largest: int = 64 << 20


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the TLS settings: the installation's own CA alone where one is given, else the system's."""
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
    except OSError:
        told = no_certificate(endpoint.ca_file) if endpoint.ca_file else "the system's certificates cannot be read"
        raise ConfigError(f"{endpoint.remote}.ca_file", told) from None
    # Python 3.13 switched this on; CAs that installations make for themselves often lack the extensions it demands.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not endpoint.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_client_certificate(context, endpoint)
    return context


def proxy_now(endpoint: Endpoint) -> httpx.Proxy | None:
    """Return the proxy as it is configured now, if there is one; raise ConfigError for an unusable address."""
    address = endpoint.proxy()
    if not address:
        return None
    try:
        proxy = httpx.Proxy(address)
    except (ValueError, httpx.InvalidURL):
        proxy = None
    named = proxy is not None and ":" in (proxy.auth or ("", ""))[0]
    if proxy is None or named or not proxy.url.host or proxy.url.scheme not in ("http", "https"):
        # Not quoted: it may hold a password.
        raise ConfigError(f"{endpoint.remote}.proxy", "must be the http:// or https:// address of a proxy")
    return proxy


def _load_client_certificate(context: ssl.SSLContext, endpoint: Endpoint) -> None:
    if endpoint.client_cert is None:
        if endpoint.client_key is not None:
            raise ConfigError(f"{endpoint.remote}.client_cert", "is needed where client_key is set")
        return
    for key, path in (("client_cert", endpoint.client_cert), ("client_key", endpoint.client_key)):
        if path is not None and not os.access(path, os.R_OK):
            raise ConfigError(f"{endpoint.remote}.{key}", no_certificate(path))
    try:
        # Without a password of our own OpenSSL would ask for one on the terminal.
        context.load_cert_chain(endpoint.client_cert, endpoint.client_key, password=lambda: b"")
    except OSError:
        fault = no_pair(endpoint.client_cert, endpoint.client_key)
        told = f"the certificate or its key (client_key) cannot be used: {fault}"
        raise ConfigError(f"{endpoint.remote}.client_cert", told) from None
