"""When a certificate expires, as a connection or a file shows it, whoever signed it and whether or not it was verified.

cryptography takes eight megabytes, so it is loaded only where Python's own ssl cannot read a certificate.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType


def end_of_certificate(tls: ssl.SSLObject) -> datetime | None:
    """Return when the other side's certificate expires; None for what cannot be read."""
    verified = tls.getpeercert()  # ssl reads a verified one alone
    if verified:
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(verified["notAfter"])), UTC)
    shown = tls.getpeercert(binary_form=True)
    return None if shown is None else end_of_unverified(shown)


def end_of_unverified(der: bytes) -> datetime | None:
    """Return when a certificate expires, by its bytes; None for what cannot be read."""
    try:
        end: datetime = _x509().load_der_x509_certificate(der).not_valid_after_utc
    except ValueError:
        return None
    return end


def validity_of_file(path: Path) -> tuple[datetime, datetime] | None:
    """Return from when until when the first certificate of a PEM file is valid: the one that is shown."""
    try:
        shown = _x509().load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError, IndexError):
        return None
    return shown.not_valid_before_utc, shown.not_valid_after_utc


def _x509() -> ModuleType:
    from cryptography import x509  # noqa: PLC0415  # most daemons need it never

    return x509
