"""What went wrong on the way, in plain words. Exceptions of aiohttp and httpx end here; their text goes no further."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
import httpx

from kuma_sync.core.errors import AccessDenied, Permanent, RemoteError, Transient, speaks_no_tls
from kuma_sync.transport.auth import UnusableToken
from kuma_sync.transport.carrier import Unsendable
from kuma_sync.transport.endpoint import Endpoint

_ABOUT_OURS = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
        *(
            f"SSLV3_ALERT_{what}"
            for what in (
                *("BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "NO_CERTIFICATE"),
                *("CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "CERTIFICATE_UNKNOWN"),
            )
        ),
    }
)
"""OpenSSL's names of the alerts by which a server refuses the certificate that we showed, or showed none."""

_NO_REASON_GIVEN = "SSLV3_ALERT_HANDSHAKE_FAILURE"
"""The alert of TLS 1.2 where a certificate is missing, and where nothing else fits either."""

_CERTIFICATE_EXPIRED = 10
_OTHER_NAMES = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""

_TRANSLATED = (aiohttp.ClientError, httpx.HTTPError, UnusableToken, Unsendable, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is being asked of whom; `changes` marks a write, whose effect is unknown once it was sent."""

    endpoint: Endpoint
    operation: str
    changes: bool

    def failed(self, summary: str, *, sent: bool = True) -> Transient:
        """Return the failure of this call; one that was never sent is not ambiguous."""
        return Transient(
            remote=self.endpoint.remote, operation=self.operation, summary=summary, ambiguous=sent and self.changes
        )


@contextmanager
def translated(call: Call) -> Iterator[None]:
    """Turn what aiohttp, httpx or the deadline raises inside into a RemoteError without its text."""
    try:
        yield
    except _TRANSLATED as error:
        raise _failure(error, call) from None


def _failure(error: Exception, call: Call) -> RemoteError:
    """Return the error to raise. `sent=False` only if surely no byte was sent; some errors are of several kinds."""
    endpoint = call.endpoint
    match error:
        case aiohttp.ConnectionTimeoutError():
            return call.failed(f"no connection within {endpoint.connect_timeout:g}s", sent=False)
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return call.failed("the proxy refused the connection", sent=False)
        case aiohttp.ClientConnectorError():
            return call.failed(_connect_words(error.__cause__ or error, endpoint), sent=False)
        case UnusableToken():
            summary = "the token holds what no HTTP header can carry"
            return AccessDenied(remote=endpoint.remote, operation=call.operation, summary=summary)
        case Unsendable():
            summary = "the request cannot be sent: its address or a header (the token?) holds what HTTP does not allow"
            return Permanent(remote=endpoint.remote, operation=call.operation, summary=summary)
        case _:
            return call.failed(_broken_words(error, endpoint))


def _broken_words(error: Exception, endpoint: Endpoint) -> str:
    if _refuses_ours(error):  # TLS 1.3: the handshake was over for us when the server saw our certificate, or none
        return _own_certificate_words(endpoint)
    match error:
        case aiohttp.ServerTimeoutError():
            return f"no answer within {endpoint.read_timeout:g}s"
        case TimeoutError():
            return f"no whole answer within {endpoint.deadline:g}s"
        case httpx.DecodingError():
            return "the answer's compression is broken"
        case aiohttp.ClientOSError():
            return "connection broken"
        case aiohttp.ClientError():
            return "the connection ended before the answer did, or it is no HTTP"
        case _:
            return "connection broken"


def _connect_words(error: BaseException, endpoint: Endpoint) -> str:
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return _certificate_words(cause, endpoint)
            case ssl.SSLError():
                return _handshake_words(cause, endpoint)
            case socket.gaierror():
                return "host name not found"
            case ConnectionRefusedError():
                return "connection refused"
    return "no connection"


def _handshake_words(error: ssl.SSLError, endpoint: Endpoint) -> str:
    if speaks_no_tls(error.reason):
        return "no TLS is spoken there (http://, or another port?)"
    if error.reason in _ABOUT_OURS:
        return _own_certificate_words(endpoint)
    if error.reason == _NO_REASON_GIVEN:
        return f"TLS handshake refused: {_own_certificate_words(endpoint)}"
    return f"TLS handshake failed{f' ({error.reason})' if error.reason else ''}"


def _refuses_ours(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLError) and cause.reason in _ABOUT_OURS for cause in _causes(error))


def _own_certificate_words(endpoint: Endpoint) -> str:
    return f"the server refuses our certificate, or asks for one{f' ({endpoint.remote}.client_cert)' * endpoint.own_ca}"


def _certificate_words(error: ssl.SSLCertVerificationError, endpoint: Endpoint) -> str:
    if error.verify_code in _OTHER_NAMES:
        return "certificate is for another host name"
    if error.verify_code == _CERTIFICATE_EXPIRED:
        return "certificate has expired"
    return "certificate not trusted" + (f" (set {endpoint.remote}.ca_file)" if endpoint.own_ca else "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _causes(inner)
        error = error.__cause__ or error.__context__
