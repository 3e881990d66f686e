"""When a certificate expires, by its bytes or its file, whoever signed it and whether or not it was verified."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509


def end_of_certificate(der: bytes) -> datetime | None:
    """Return when a certificate expires, as it was shown on a connection; None for what cannot be read."""
    try:
        return x509.load_der_x509_certificate(der).not_valid_after_utc
    except ValueError:
        return None


def validity_of_file(path: Path) -> tuple[datetime, datetime] | None:
    """Return from when until when the first certificate of a PEM file is valid: the one that is shown."""
    try:
        shown = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError, IndexError):
        return None
    return shown.not_valid_before_utc, shown.not_valid_after_utc
