"""The certificate of the HTTP door: checked at the start, and renewed while the door stays open."""

from __future__ import annotations

import ssl
from pathlib import Path

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.paths import no_pair


def door_tls(cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    """Return what serves TLS, 1.2 at least, with this certificate; None without one. Raise ConfigError."""
    if cert_file is None:
        return None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    renew(tls, cert_file, key_file)
    return tls


def renew(tls: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    """Show this certificate at every handshake from now on; connections that are open go on. Raise ConfigError."""
    try:
        # An encrypted key must be an error, not a question on the terminal that blocks the daemon for ever.
        tls.load_cert_chain(cert_file, key_file, password="-")  # noqa: S106  # it opens nothing
    except (ssl.SSLError, OSError):
        raise ConfigError(
            "web.cert_file",
            "the certificate or its key cannot be used; expected PEM, with the key that fits and is not encrypted"
            f" in web.key_file, else in the same file: {no_pair(cert_file, key_file)}",
        ) from None
