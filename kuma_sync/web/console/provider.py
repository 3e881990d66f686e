"""An OpenID Connect provider: what it says about itself, where it is asked to sign somebody in, and what it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.common.urls import add_params_to_uri
from authlib.integrations.base_client.async_openid import AsyncOpenIDMixin
from authlib.oauth2.auth import encode_client_secret_basic
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.discovery import get_well_known_url
from joserfc.errors import JoseError

from kuma_sync.core.errors import KumaSyncError, RemoteError, Transient
from kuma_sync.settings.console import OidcSection
from kuma_sync.transport import Answer, Endpoint, Outgoing, RemoteClient, refusal
from kuma_sync.web.console.access import ConsoleLimits

_FORM = "application/x-www-form-urlencoded"
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signatures that only the provider can make; never `none`, nor those made with the client's own secret."""

_LONGEST = 300
_LARGEST = 1 << 20


class NotVouched(KumaSyncError):
    """The provider vouches for nobody: it refused, or what it answered cannot be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One sign-in that was begun: what must come back with it, kept by the browser alone, signed by us."""

    state: str
    nonce: str
    verifier: str
    address: str


class Provider(AsyncOpenIDMixin):  # type: ignore[misc]  # Authlib has no types
    """One provider. What it says about itself is asked for when it is needed, and believed for an hour."""

    def __init__(self, oidc: OidcSection, limits: ConsoleLimits, *, clock: Callable[[], Any]) -> None:
        self.client_id = oidc.client_id
        self.server_metadata: dict[str, Any] = {}
        self._oidc = oidc
        self._limits = limits
        self._clock = clock
        self._asked_at = 0.0

    async def load_server_metadata(self) -> dict[str, Any]:
        """Return what the provider says about itself. Raise RemoteError or NotVouched."""
        known_for = time.monotonic() - self._asked_at
        if self.server_metadata and known_for < self._limits.provider_known.total_seconds():
            return self.server_metadata
        found = await self._asked("GET", get_well_known_url(self._oidc.issuer, external=True))
        if str(found.get("issuer", "")).rstrip("/") != self._oidc.issuer.rstrip("/"):
            raise NotVouched("it calls itself something else than web.console.oidc.issuer")
        for key in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(found.get(key), str):
                raise NotVouched(f"it does not say its {key}")
        offered = found.get("id_token_signing_alg_values_supported") or ["RS256"]
        found["id_token_signing_alg_values_supported"] = [one for one in offered if one in _ALGORITHMS]
        self.server_metadata, self._asked_at = found, time.monotonic()
        return found

    async def fetch_jwk_set(self, force: bool = False) -> dict[str, Any]:
        """Return the provider's keys; `force` asks anew, for it may have new ones."""
        metadata = await self.load_server_metadata()
        if force or "jwks" not in metadata:
            metadata["jwks"] = await self._asked("GET", metadata["jwks_uri"])
        keys: dict[str, Any] = metadata["jwks"]
        return keys

    async def begun(self, address: str) -> tuple[str, Asked]:
        """Return where a browser is sent to sign in, and what must come back to `address`. Raise as above."""
        metadata = await self.load_server_metadata()
        asked = Asked(state=generate_token(32), nonce=generate_token(32), verifier=generate_token(64), address=address)
        query = [
            ("response_type", "code"),
            ("client_id", self.client_id),
            ("redirect_uri", address),
            ("scope", " ".join(self._oidc.scopes)),
            ("state", asked.state),
            ("nonce", asked.nonce),
            ("code_challenge", create_s256_code_challenge(asked.verifier)),
            ("code_challenge_method", "S256"),
        ]
        return str(add_params_to_uri(metadata["authorization_endpoint"], query)), asked

    async def claims(self, code: str, asked: Asked, *, issuer: str) -> Mapping[str, Any]:
        """Change a code for what the provider says about who signed in. Raise RemoteError or NotVouched.

        `issuer` is who says that the code is his, where he says it (RFC 9207).
        """
        metadata = await self.load_server_metadata()
        if issuer and issuer != metadata["issuer"]:
            raise NotVouched("another provider sent this answer")
        token = await self._token(metadata, code, asked)
        wanted = {
            "iss": {"essential": True, "values": [metadata["issuer"]]},
            "aud": {"essential": True, "values": [self.client_id]},
            "exp": {"essential": True},
        }
        try:
            known = await self.parse_id_token(token, asked.nonce, claims_options=wanted)
        except (JoseError, AuthlibBaseError, ValueError, KeyError, TypeError):
            raise NotVouched("its ID token cannot be believed") from None
        if known is None:
            raise NotVouched("it sent no ID token")
        told = {self._oidc.groups_claim, "preferred_username"} <= known.keys()
        if told or "userinfo_endpoint" not in metadata:
            return dict(known)
        bearer = {"Authorization": f"Bearer {token.get('access_token', '')}"}
        more = await self._asked("GET", metadata["userinfo_endpoint"], headers=bearer)
        return {**more, **known} if more.get("sub") == known.get("sub") else dict(known)

    async def _token(self, metadata: Mapping[str, Any], code: str, asked: Asked) -> dict[str, Any]:
        secret = self._oidc.client_secret.reveal()
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": asked.address,
            "code_verifier": asked.verifier,
        }
        headers = {"Content-Type": _FORM}
        ways = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if secret and "client_secret_basic" in ways:
            self.client_secret = secret
            encode_client_secret_basic(self, "POST", "", headers, "")
        else:
            fields |= {"client_id": self.client_id} | ({"client_secret": secret} if secret else {})
        return await self._asked("POST", metadata["token_endpoint"], headers=headers, body=urlencode(fields).encode())

    async def _asked(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> dict[str, Any]:
        """Ask, and return the JSON object that came. Raise RemoteError, or NotVouched where it refuses."""
        parts, seconds = urlsplit(url), self._limits.provider.total_seconds()
        endpoint = Endpoint(
            remote="web.console.oidc",
            url=f"{parts.scheme}://{parts.netloc}",
            ca_file=self._oidc.ca_file,
            connect_timeout=seconds,
            read_timeout=seconds,
            deadline=seconds,
            largest=_LARGEST,
        )
        client = RemoteClient(endpoint, clock=self._clock)
        try:
            request = Outgoing(method=method, path=parts.path, query=parts.query, headers=headers or {}, body=body)
            answer = await client.send(request, operation="sign-in", changes=method != "GET")
        finally:
            await client.aclose()
        if 400 <= answer.status < 500:
            raise NotVouched(f"it refused: {_words(answer)}")
        found = answer.json() if answer.status == 200 else None
        if not isinstance(found, dict):
            raise refusal(answer) if answer.status != 200 else answer.not_json()
        return found


def _words(answer: Answer) -> str:
    """Return what a refusal says, in the words of OAuth where it has them."""
    description = answer.words
    with suppress(Transient):
        match answer.json():
            case {"error_description": str(text)}:
                description = f"{description}: {text}"
    return description[:_LONGEST] or str(answer.status)


def why_not(error: NotVouched | RemoteError) -> str:
    """Return why a provider signed nobody in, in our words."""
    return error.summary if isinstance(error, RemoteError) else str(error)
