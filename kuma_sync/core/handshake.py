"""What a failed TLS handshake tells, by the name that OpenSSL gives its reason."""

from __future__ import annotations

_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}
)


def speaks_no_tls(reason: str | None) -> bool:
    """Tell whether what answered was no TLS at all; another reason is one of TLS itself."""
    return reason in _NO_TLS


def is_alert(reason: str | None) -> bool:
    """Tell whether the other side refused in TLS's own words: so it speaks TLS."""
    return "ALERT" in (reason or "")
