"""How we prove who we are: the headers that carry the token.

Must not: log, or let a token into an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from kuma_sync.core.errors import AccessDenied, ConfigError
from kuma_sync.irp.profile import Auth
from kuma_sync.settings.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the configuration holds for the IRP; which of it is used is the profile's `[auth]`."""

    token: Secret
    username: str = ""
    password: Secret

    def reload(self) -> bool:
        """Read secrets that come from files again; tell whether one changed."""
        changed = [self.token.reload(), self.password.reload()]
        return any(changed)


def require(auth: Auth, credentials: Credentials) -> None:
    """Raise ConfigError where the profile needs a secret that is not configured."""
    if auth.kind != "none" and not credentials.token:
        raise ConfigError("irp.token", f'is empty, but the profile\'s [auth] kind = "{auth.kind}" needs it')


def auth_headers(auth: Auth, credentials: Credentials, *, operation: str) -> Mapping[str, str]:
    """Return the headers that carry the token. Raises AccessDenied for a token that no header can carry."""
    token = credentials.token.reveal()
    if auth.kind != "none" and not (token.isascii() and token.isprintable()):
        # A file with a stray line in it: the side pauses until the file is right, no job is parked for it.
        raise AccessDenied(remote="irp", operation=operation, summary="the token holds what no HTTP header can carry")
    match auth.kind:
        case "none":
            return {}
        case "bearer":
            return {"Authorization": f"Bearer {token}"}
        case "header":
            return {auth.name or "": token}
        case _:
            assert_never(auth.kind)
