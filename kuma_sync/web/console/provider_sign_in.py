"""Sign-in at the organization's OpenID Connect provider: the way there, and the way back."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import structlog
from itsdangerous import BadSignature
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kuma_sync.core.errors import RemoteError
from kuma_sync.core.sentence import N_, Cause, sentence
from kuma_sync.settings.console import ConsoleSection, OidcSection
from kuma_sync.settings.secrets import is_user
from kuma_sync.web.console.access import NotDone, Role, next_of
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.provider import Asked, NotVouched, Provider, why_not
from kuma_sync.web.console.sessions import OIDC, Known, is_secure, through_proxy
from kuma_sync.web.console.sign_in import SignIn
from kuma_sync.web.throttle import peer_of

log = structlog.get_logger(__name__)

THERE = "/sign-in/provider"
BACK = "/sign-in/provider/back"
_COOKIE = "kuma_sync_provider"
_PURPOSE = "provider"
_MINUTES = 10
_NOT = N_("Not signed in")


class ProviderSignIn:
    """Sends browsers to the provider and takes them back. The provider is the one that the configuration names now."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in
        self._known: tuple[OidcSection, Provider] | None = None

    async def go(self, request: Request, console: Console) -> Response:
        """Send a browser to the provider."""
        wanted = next_of(request.query_params.get("next", "/"))
        try:
            there, asked = await self._provider(console).begun(_address(request, console.rules()))
        except (RemoteError, NotVouched) as error:
            return self._away(request, console, error, wanted)
        until = int(console.behind.clock().timestamp()) + _MINUTES * 60
        kept = {**asdict(asked), "next": wanted, "until": until}
        response = RedirectResponse(there, 303)
        secure = is_secure(request, console.rules())
        response.set_cookie(
            _cookie(secure=secure),
            str(console.sessions.signer(_PURPOSE).dumps(kept)),
            max_age=_MINUTES * 60,
            path="/",
            secure=secure,
            httponly=True,
            samesite="lax",
        )
        return response

    async def back(self, request: Request, console: Console) -> Response:
        """Take a browser back from the provider, and sign its user in."""
        asked, wanted = _begun_here(request, console)
        try:
            if refused := request.query_params.get("error", ""):
                raise NotVouched(f"it refused: {request.query_params.get('error_description') or refused}")  # noqa: TRY301
            given = request.query_params
            claims = await self._provider(console).claims(given.get("code", ""), asked, issuer=given.get("iss", ""))
        except (RemoteError, NotVouched) as error:
            return self._away(request, console, error, wanted)
        known = _known(claims, console.rules())
        response = RedirectResponse(wanted, 303)
        await console.sessions.begin(request, response, known, lambda _tx: None)
        secure = is_secure(request, console.rules())
        response.delete_cookie(_cookie(secure=secure), path="/", secure=secure, httponly=True, samesite="lax")
        log.info("signed_in", user=known.name, address=peer_of(request))
        return response

    def _provider(self, console: Console) -> Provider:
        oidc = console.rules().oidc
        if not oidc.issuer:
            raise NotDone(404, N_("No such page"), sentence("No provider is configured to sign in at."))
        if self._known is None or self._known[0] != oidc:
            self._known = (oidc, Provider(oidc, console.behind.limits, clock=console.behind.clock))
        return self._known[1]

    def _away(self, request: Request, console: Console, error: RemoteError | NotVouched, wanted: str) -> Response:
        """Say on the sign-in page, where local users can still sign in, that the provider did not do it."""
        log.warning("sign_in_provider_failed", reason=why_not(error))
        why = sentence("Your organization's provider signed nobody in: %(reason)s.", reason=Cause(why_not(error)))
        return self._sign_in.page(request, console, wanted, why=why, status=503)


def _address(request: Request, rules: ConsoleSection) -> str:
    """Return the address that the provider sends browsers back to, as the browser knows this console."""
    host = request.headers.get("host", "")
    if through_proxy(request, rules):
        host = request.headers.get("x-forwarded-host", "") or host
    return f"{'https' if is_secure(request, rules) else 'http'}://{host}{BACK}"


def _begun_here(request: Request, console: Console) -> tuple[Asked, str]:
    """Return the sign-in that this browser began; raise NotDone for a stranger's answer."""
    value = request.cookies.get(_cookie(secure=is_secure(request, console.rules())), "")
    try:
        kept: dict[str, Any] = console.sessions.signer(_PURPOSE).loads(value)
    except BadSignature:
        kept = {}
    state = request.query_params.get("state", "")
    late = kept.get("until", 0) < console.behind.clock().timestamp()
    if late or not hmac.compare_digest(state.encode(), str(kept.get("state", "")).encode()):
        why = sentence("This sign-in was not begun in this browser, or more than ten minutes ago. Begin again.")
        raise NotDone(403, _NOT, why, sign_in=True)
    asked = Asked(state=kept["state"], nonce=kept["nonce"], verifier=kept["verifier"], address=kept["address"])
    return asked, next_of(kept["next"])


def _known(claims: Mapping[str, Any], rules: ConsoleSection) -> Known:
    """Return who signed in, with the role that the groups give; raise NotDone where they give none."""
    names = (claims.get(claim) for claim in ("preferred_username", "email", "sub"))
    name = next((one.strip() for one in names if isinstance(one, str) and is_user(one.strip())), "")
    if not name:
        raise NotDone(403, _NOT, sentence("Your organization's provider did not say your name."), sign_in=True)
    if name in rules.users:
        why = sentence("A user called %(name)s is in the console's own list. Sign in with that password.", name=name)
        raise NotDone(403, _NOT, why, sign_in=True)
    groups = claims.get(rules.oidc.groups_claim, [])
    role = _role_of([groups] if isinstance(groups, str) else groups, rules.oidc)
    if role is None:
        why = sentence("You are %(name)s, and none of your groups may see the console.", name=name)
        raise NotDone(403, _NOT, why, sign_in=True)
    return Known(name=name, source=OIDC, role=role, detail=str(claims.get("sub", ""))[:200])


def _role_of(groups: object, oidc: OidcSection) -> Role | None:
    found = {one for one in groups if isinstance(one, str)} if isinstance(groups, Collection) else set()
    if found & set(oidc.operators):
        return Role.OPERATOR
    return Role.VIEWER if found & set(oidc.viewers) else None


def _cookie(*, secure: bool) -> str:
    return f"__Host-{_COOKIE}" if secure else _COOKIE
