"""Ask a running daemon over HTTP, and recognise an answer that comes from another program.

Must not import more than the standard library and the core: in a container `health` runs every few seconds.
"""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from kuma_sync.core.errors import is_alert, speaks_no_tls

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # read, not bound
STATES = {"ready", "not ready", "starting", "ok", "stuck"}
TIMEOUT = 5.0
_PROBE = 2.0
_NO_HTTP = "what listens there gives no HTTP answer"
_LARGEST = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The result of asking: a daemon's `answer` with its status, or in `other` the reason why there is none."""

    status: int = 0
    answer: Mapping[str, Any] = field(default_factory=dict)
    other: str = ""

    @property
    def ours(self) -> bool:
        """Tell whether a daemon of ours answered."""
        return bool(self.answer)


def door_address(listen: str, *, tls: bool) -> str:
    """Return the URL by which this machine reaches a door that listens at this address."""
    host, _, port = listen.rpartition(":")
    return f"{'https' if tls else 'http'}://{EVERYWHERE.get(host, host)}:{port}"


def hear(address: str, *, timeout: float = TIMEOUT) -> Heard:
    """Ask, and tell a daemon's answer from another program's. Blocks; raises nothing."""
    try:
        with _opened(address, timeout) as answer:
            body = answer.read(_LARGEST)
            status, kind = int(answer.status), answer.headers.get_content_type()
            if answer.length and len(body) < _LARGEST:
                return Heard(other=_NO_HTTP)
    except HTTPException:
        return Heard(other=_tls_there(address) or _NO_HTTP)
    except (OSError, ValueError) as error:
        return _not_heard(address, getattr(error, "reason", error))
    found = _parsed(body)
    if found.get("state") in STATES and ("parts" in found or "stuck" in found):
        return Heard(status=status, answer=found)
    what = "a web page" if kind == "text/html" or body.lstrip()[:1] == b"<" else "another program"
    return Heard(status=status, other=_tls_there(address) or f"{what} (HTTP {status}, {kind})")


def speaks_tls(host: str, port: int, *, timeout: float = _PROBE) -> bool:
    """Tell whether TLS is spoken at an address, with any certificate. Blocks."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
    except ssl.SSLError as error:
        return is_alert(error.reason)
    except (OSError, ValueError):
        return False


def _not_heard(address: str, reason: object) -> Heard:
    if isinstance(reason, ssl.SSLError) and speaks_no_tls(reason.reason):
        return Heard(other=f"no TLS is spoken there; ask {address.replace('https://', 'http://', 1)}")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Heard(other="its certificate is not trusted here")
    if isinstance(reason, ConnectionResetError) and (there := _tls_there(address)):
        return Heard(other=there)
    if isinstance(reason, TimeoutError):
        return Heard(other="it gave no answer in time")
    why = str(getattr(reason, "strerror", None) or type(reason).__name__).lower()
    return Heard(other=why)


def _tls_there(address: str) -> str:
    """Say that TLS is spoken where it was not, if that is so."""
    parts = urlsplit(address)
    if parts.scheme != "http" or not speaks_tls(parts.hostname or "", parts.port or 80):
        return ""
    return f"TLS is spoken there; ask {address.replace('http://', 'https://', 1)}"


def _opened(address: str, timeout: float) -> Any:
    context = ssl.create_default_context()
    if urlsplit(address).hostname in LOOPBACK:
        # The certificate is for the name that other machines use.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _Stay()
    )
    try:
        return opener.open(address, timeout=timeout)
    except urllib.error.HTTPError as refused:
        return refused


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the daemon never sends one."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        """Make no other request."""
        return


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
