"""The keys of the operators' console: who may sign in, how, and what each may do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from kuma_sync.settings import secrets as hidden
from kuma_sync.settings import types
from kuma_sync.settings.section import Section, written

Network = IPv4Network | IPv6Network
RoleName = Annotated[Literal["viewer", "operator"], types.Lower]

_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_NO_USERS = frozenset({"authorization", "cookie", "host", "origin", "referer", "user-agent", "content-type"})


def _network(value: Any) -> Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(value.strip()) if isinstance(value, str) else ip_network("")
    except ValueError:
        raise ValueError('expected an address or a network, such as "127.0.0.1" or "10.0.0.0/8"') from None


def _shown(network: Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _header(value: str) -> str:
    if value and (not _HEADER.fullmatch(value) or value.lower() in _NO_USERS):
        raise ValueError('expected the name of a header that only the proxy sets, such as "X-Remote-User"')
    return value


def _user(value: str) -> str:
    if not hidden.is_user(value):
        raise ValueError(f"expected a name of at most {hidden.LONGEST_NAME} printable characters")
    return value


ProxyAddress = Annotated[
    Network, BeforeValidator(_network), PlainSerializer(_shown), WithJsonSchema({"type": "string"})
]
HeaderName = Annotated[str, AfterValidator(_header)]
UserName = Annotated[str, AfterValidator(_user)]


class OidcSection(Section):
    """Sign-in at an OpenID Connect provider; an empty `issuer` means none."""

    issuer: types.OptionalWebUrl = ""
    client_id: str = ""
    client_secret_file: hidden.SecretFile = ""
    client_secret: hidden.Password = written("")
    scopes: Annotated[tuple[types.NonEmpty, ...], types.Words] = ("openid", "profile")
    groups_claim: types.NonEmpty = "groups"
    operators: Annotated[tuple[types.NonEmpty, ...], types.Words] = ()
    viewers: Annotated[tuple[types.NonEmpty, ...], types.Words] = ()
    ca_file: types.OptionalFile = written("")

    @field_validator("client_id")
    @classmethod
    def _for_the_issuer(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("issuer") and not value:
            raise PydanticCustomError("needed_beside", "is required", {"other": "issuer"})
        return value

    @field_validator("scopes")
    @classmethod
    def _signs_in(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in value:
            raise ValueError('expected "openid" among them: without it the provider does not say who signs in')
        return value


class ConsoleSection(Section):
    """The operators' console: pages at the HTTP door."""

    enabled: bool = False
    session: types.PositiveDuration = written("8h")
    user_header: HeaderName = ""
    proxy_addresses: Annotated[tuple[ProxyAddress, ...], types.Words] = ()
    users: hidden.PasswordHashes = written({})
    roles: Annotated[Mapping[UserName, RoleName], types.Table] = written({})
    oidc: OidcSection = written({})

    @field_validator("proxy_addresses")
    @classmethod
    def _for_the_header(cls, value: tuple[Network, ...], info: ValidationInfo) -> tuple[Network, ...]:
        if info.data.get("user_header") and not value:
            raise PydanticCustomError("needed_beside", "is required", {"other": "user_header"})
        return value
