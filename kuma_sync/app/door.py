"""The HTTP door: who may pass it, its address, and its certificate, which a reload renews."""

from __future__ import annotations

import socket
import ssl

from kuma_sync.settings import Settings
from kuma_sync.settings.sections import WebSection
from kuma_sync.telemetry.certificates import DOOR, Certificates
from kuma_sync.transport.certificates import validity_of_file
from kuma_sync.web.certificate import door_tls, renew
from kuma_sync.web.responses import AccessRules
from kuma_sync.web.server import bind


def door_rules(settings: Settings) -> AccessRules:
    """Return who may pass which door."""
    return AccessRules(
        to_kuma=settings.close.to_kuma,
        pulls={name: section.token for name, section in settings.irps.items() if section.pulls},
        tokens=settings.web.tokens,
        allow=settings.web.passthrough.allow,
        metrics_token=settings.web.metrics_token,
        metrics_public=settings.web.metrics_public,
    )


class Door:
    """The door's socket, and its certificate, which `certificates` are told of."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self.tls: ssl.SSLContext | None = None
        """None where the door speaks plain HTTP."""

    def open(self, web: WebSection) -> socket.socket | None:
        """Bind the address; None if there is no door. Raise ConfigError or PortTaken."""
        if not web.listen:
            return None
        self.tls = door_tls(web.cert_file, web.key_file)
        self._note(web)
        return bind(web.listen)

    def renew(self, web: WebSection) -> None:
        """Show the certificate that is in the files now; raise ConfigError where it cannot be used."""
        if self.tls is not None and web.cert_file is not None:
            renew(self.tls, web.cert_file, web.key_file)
            self._note(web)

    def _note(self, web: WebSection) -> None:
        if self.tls is not None and web.cert_file and (validity := validity_of_file(web.cert_file)) is not None:
            self._certificates.shown(DOOR, validity[1])
