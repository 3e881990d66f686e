"""Where a remote is and how it is reached: address, certificates, time limits; and the httpx client made from that.

Must not: send anything.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx

from kuma_sync import __version__
from kuma_sync.core.errors import ConfigError

PER_CLIENT = 4
"""Connections of one httpx client: httpcore looks through its whole pool at every request, so small pools are fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One remote (`kuma` or `irp`): `url` is the base without a trailing slash; times are seconds.

    `read_timeout` is between two bytes, `deadline` for a whole request; `rate_limit` is requests a second, 0 = none.
    """

    remote: str
    url: str
    ca_file: Path | None = None
    verify_tls: bool = True
    client_cert: Path | None = None
    client_key: Path | None = None
    proxy: str = ""
    connect_timeout: float = 10
    read_timeout: float = 30
    deadline: float = 60
    connections: int = 8
    rate_limit: float = 0


def make_clients(endpoint: Endpoint, transport: httpx.AsyncBaseTransport | None) -> list[httpx.AsyncClient]:
    """Return as many small httpx clients as the endpoint's connections need; raise ConfigError for unusable files."""
    # Loading the system's certificates takes longer than the rest of a client.
    tls = tls_context(endpoint) if endpoint.url.startswith("https:") else False
    proxy = _proxy(endpoint) if transport is None else None
    timeout = httpx.Timeout(endpoint.read_timeout, connect=endpoint.connect_timeout, pool=None)
    limits = httpx.Limits(max_connections=PER_CLIENT, max_keepalive_connections=PER_CLIENT)
    return [
        httpx.AsyncClient(
            verify=tls,
            timeout=timeout,
            limits=limits,
            proxy=proxy,
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": f"kuma-sync/{__version__}", "Accept": "application/json"},
        )
        for _ in range(-(-endpoint.connections // PER_CLIENT))
    ]


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return the TLS settings: the installation's own CA alone where one is given, else the system's."""
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
    except OSError as error:
        raise _unusable(endpoint, "ca_file", error, "holds no certificate in PEM form") from None
    # Python 3.13 switched this on; CAs that installations make for themselves often lack the extensions it demands.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not endpoint.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_client_certificate(context, endpoint)
    return context


def _proxy(endpoint: Endpoint) -> httpx.Proxy | None:
    if not endpoint.proxy:
        return None
    try:
        proxy = httpx.Proxy(endpoint.proxy)
    except (ValueError, httpx.InvalidURL):
        proxy = None
    if proxy is None or not proxy.url.host or proxy.url.scheme not in ("http", "https"):
        # Not quoted: it may hold a password.
        raise ConfigError(f"{endpoint.remote}.proxy", "must be the http:// or https:// address of a proxy")
    return proxy


def _load_client_certificate(context: ssl.SSLContext, endpoint: Endpoint) -> None:
    if endpoint.client_cert is None:
        if endpoint.client_key is not None:
            raise ConfigError(f"{endpoint.remote}.client_cert", "is needed where client_key is set")
        return
    for key, path in (("client_cert", endpoint.client_cert), ("client_key", endpoint.client_key)):
        _readable(endpoint, key, path)
    try:
        # Without a password of our own OpenSSL would ask for one on the terminal.
        context.load_cert_chain(endpoint.client_cert, endpoint.client_key, password=lambda: b"")
    except OSError:
        problem = "and client_key must be a matching PEM pair, the key without a passphrase"
        raise ConfigError(f"{endpoint.remote}.client_cert", problem) from None


def _readable(endpoint: Endpoint, key: str, path: Path | None) -> None:
    try:
        if path is not None:
            path.read_bytes()
    except OSError as error:
        raise _unusable(endpoint, key, error, "cannot be read") from None


def _unusable(endpoint: Endpoint, key: str, error: OSError, otherwise: str) -> ConfigError:
    match error:
        case FileNotFoundError():
            problem = "no such file"
        case PermissionError():
            problem = "the file cannot be read (permission denied)"
        case _:
            problem = otherwise
    return ConfigError(f"{endpoint.remote}.{key}", problem)
