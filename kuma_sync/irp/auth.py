"""Makes the httpx.Auth of a profile's `[auth]` from the configured secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

import httpx

from kuma_sync.core.errors import ConfigError
from kuma_sync.irp.context import LOGIN
from kuma_sync.irp.login import compile_login
from kuma_sync.irp.profile import Auth, Profile
from kuma_sync.irp.rendering import Draft
from kuma_sync.irp.validate import compile_profile
from kuma_sync.settings.secret import MASK, Secret
from kuma_sync.transport import BasicAuth, LoginAuth, QueryAuth, RemoteClient, Session, TokenAuth
from kuma_sync.transport.auth import read_again


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the configuration holds for the IRP; which of it is used is the profile's `[auth]`.

    `named` are further secrets, by name, for templates.
    """

    token: Secret
    username: str = ""
    password: Secret
    named: Mapping[str, Secret] = field(default_factory=dict)

    @property
    def every(self) -> tuple[Secret, ...]:
        """Return all that are secret."""
        return (self.token, self.password, *self.named.values())


def require(profile: Profile, credentials: Credentials, key: str = "irp") -> None:
    """Raise ConfigError where the profile needs a secret that is not configured; it names them all."""
    problems = [ConfigError(f"{key}.{name}", problem) for name, problem in _lacking(profile, credentials)]
    if problems:
        first, *others = problems
        raise ConfigError(first.key, first.problem, others=others)


def _lacking(profile: Profile, credentials: Credentials) -> Iterator[tuple[str, str]]:
    auth, given = profile.auth, {"username": credentials.username}
    given |= {"token": credentials.token.reveal(), "password": credentials.password.reveal()}
    for name in sorted(_needed(profile) - {name for name, text in given.items() if text}):
        yield name, f'is empty, but the profile\'s [auth] kind = "{auth.kind}" needs it'
    if auth.kind == "bearer" and " " in given["token"]:
        yield "token", "expected no space in it: it is sent behind the word Bearer"
    if auth.kind == "basic" and ":" in credentials.username:
        yield "username", "must hold no colon: HTTP ends a username with it"
    for name, where in _named(profile):
        if not credentials.named.get(name):
            yield f"secrets.{name}", f"is missing, but the profile's {where} uses it"


def proofs(profile: Profile) -> list[str]:
    """Return the keys of an IRP's section that prove who asks: `username`, `secrets.app_key`."""
    login = compile_login(profile)
    named = sorted(f"secrets.{name}" for name in login.rendering.secrets) if login else []
    return sorted(_needed(profile), reverse=True) + named


def _needed(profile: Profile) -> frozenset[str]:
    match profile.auth.kind:
        case "none":
            return frozenset()
        case "basic":
            return frozenset({"username", "password"})
        case "login":
            login = compile_login(profile)
            return login.rendering.uses & {"username", "password", "token"} if login else frozenset()
        case _:
            return frozenset({"token"})


def _named(profile: Profile) -> Iterator[tuple[str, str]]:
    """Yield every secret that a template uses by name, and where."""
    login = compile_login(profile)
    renderings = {name: one.rendering for name, one in compile_profile(profile).items()}
    for where, rendering in {**({LOGIN: login.rendering} if login else {}), **renderings}.items():
        for name in sorted(rendering.secrets):
            yield name, f"[{where}]"


def make_auth(
    profile: Profile, credentials: Credentials, client: RemoteClient, options: Mapping[str, object]
) -> httpx.Auth | None:
    """Return the flow that carries these credentials; None where nothing is carried."""
    auth = profile.auth
    match auth.kind:
        case "none":
            return None
        case "bearer":
            return TokenAuth(credentials.token)
        case "header":
            return TokenAuth(credentials.token, header=auth.name or "", prefix=auth.prefix or "")
        case "query":
            return QueryAuth(credentials.token, name=auth.name or "")
        case "basic":
            return BasicAuth(credentials.username, credentials.password)
        case "login":
            return _login(profile, credentials, client, options)
        case _:
            assert_never(auth.kind)


def _login(
    profile: Profile, credentials: Credentials, client: RemoteClient, options: Mapping[str, object]
) -> LoginAuth:
    login = compile_login(profile)
    if login is None:
        raise ConfigError("irp.profile", "[auth.login] is missing")

    async def log_in() -> Session:
        # It is not often, and a file may hold another secret since the last time.
        read_again(*credentials.every)
        values = {
            "username": credentials.username,
            "password": credentials.password.reveal(),
            "token": credentials.token.reveal(),
            "options": dict(options),
        }
        named = {name: secret.reveal() for name, secret in credentials.named.items()}
        return await login.open(client, values, named)

    return LoginAuth(log_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What `[auth]` adds to every request, as it may be shown."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""


def shown(auth: Auth) -> Shown:
    """Return what is added to every request, every secret masked."""
    match auth.kind:
        case "none":
            return Shown()
        case "query":
            return Shown(query=f"{auth.name}={MASK}")
        case "basic":
            return Shown(headers={"Authorization": f"Basic {MASK}"})
        case "header":
            return Shown(headers={auth.name or "": f"{auth.prefix or ''}{MASK}"})
        case "login" if auth.cookie:
            return Shown(headers={"Cookie": MASK})
        case _:
            prefix = "Bearer " if auth.prefix is None else auth.prefix
            return Shown(headers={auth.header or "Authorization": f"{prefix}{MASK}"})


def shown_login(profile: Profile, username: str, options: Mapping[str, object]) -> Draft | None:
    """Return the login as it may be shown, every secret masked; None where the profile has none."""
    login = compile_login(profile)
    values = {"username": username, "password": MASK, "token": MASK, "options": dict(options)}
    return login.rendering.draft(values) if login else None
