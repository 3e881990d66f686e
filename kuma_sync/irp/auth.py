"""Makes the httpx.Auth of a profile's `[auth]` from the configured secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from kuma_sync.core.errors import ConfigError
from kuma_sync.irp.profile import Auth
from kuma_sync.settings.secret import Secret
from kuma_sync.transport import TokenAuth


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the configuration holds for the IRP; which of it is used is the profile's `[auth]`."""

    token: Secret
    username: str = ""
    password: Secret


def require(auth: Auth, credentials: Credentials, key: str = "irp") -> None:
    """Raise ConfigError where the profile needs a secret that is not configured."""
    if auth.kind != "none" and not credentials.token:
        raise ConfigError(f"{key}.token", f'is empty, but the profile\'s [auth] kind = "{auth.kind}" needs it')


def make_auth(auth: Auth, credentials: Credentials) -> TokenAuth | None:
    """Return the flow that carries these credentials; None where nothing is carried."""
    match auth.kind:
        case "none":
            return None
        case "bearer":
            return TokenAuth(credentials.token)
        case "header":
            return TokenAuth(credentials.token, header=auth.name or "", prefix=auth.prefix)
        case _:
            assert_never(auth.kind)
