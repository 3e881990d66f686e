"""Who is signed in: by a session in the store and a signed cookie, or by the header of a reverse proxy."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from itsdangerous import BadSignature, URLSafeSerializer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from kuma_sync.settings.console import ConsoleSection, OidcSection
from kuma_sync.settings.secrets import is_user
from kuma_sync.store import Store, Tx
from kuma_sync.store.console import SessionRow
from kuma_sync.web.console.access import Role, Viewer
from kuma_sync.web.throttle import peer_of

LOCAL, OIDC, PROXY = "local", "oidc", "proxy"
_COOKIE = "kuma_sync_session"
_SESSION = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Somebody who proved who they are.

    `role` is empty where the configuration says it; `detail` is what the audit trail tells of them besides.
    """

    name: str
    source: str
    role: str = ""
    detail: str = ""


class Sessions:
    """Knows who looks at a page. `rules` is called at every request: what a reload changed counts at once."""

    def __init__(self, store: Store, *, rules: Callable[[], ConsoleSection], clock: Callable[[], datetime]) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock
        self._key: bytes | None = None

    async def ready(self) -> None:
        """Read the signing key from the store, once; make it where there is none. Raise StoreError."""
        if self._key is None:
            found = await self._store.read(lambda tx: tx.console.key())
            self._key = found or await self._store.write(lambda tx: tx.console.make_key())

    def signer(self, purpose: str) -> URLSafeSerializer:
        """Return what signs and reads texts for one purpose; `ready` must have been called."""
        assert self._key is not None  # noqa: S101  # every request waits for it
        options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        return URLSafeSerializer(self._key, salt=f"kuma-sync {purpose}", signer_kwargs=options)

    async def viewer(self, request: HTTPConnection) -> Viewer | None:
        """Return who looks at a page; None of a stranger. Raise StoreError."""
        rules = self._rules()
        vouched = _vouched_for(request, rules)
        digest = None if vouched else self._digest_in(request)
        if digest is None:
            return vouched
        row = await self._store.read(lambda tx: tx.console.session(digest))
        return None if row is None else _still_known(row, rules)

    async def begin(
        self, request: HTTPConnection, response: Response, known: Known, also: Callable[[Tx], None]
    ) -> None:
        """Begin a session, and give its cookie to the browser. `also` is done in the same transaction."""
        rules, session_id = self._rules(), secrets.token_urlsafe(32)
        now = self._clock()
        row = SessionRow(
            digest=_digest(session_id),
            name=known.name,
            source=known.source,
            role=known.role,
            proof=_proof(rules, known.source, known.name),
            begun_at=now,
            expires_at=now + rules.session,
        )

        def begin(tx: Tx) -> None:
            also(tx)
            tx.console.begin(row)
            tx.audit.note(f"console:{row.name}", "sign_in", detail=f"{known.source} {known.detail}".rstrip())

        await self._store.write(begin)
        secure = is_secure(request, rules)
        response.set_cookie(
            _cookie(secure=secure),
            str(self.signer(_SESSION).dumps(session_id)),
            max_age=int(rules.session.total_seconds()),
            path="/",
            secure=secure,
            httponly=True,
            samesite="lax",
        )

    async def end(
        self, request: HTTPConnection, response: Response, viewer: Viewer, also: Callable[[Tx], None]
    ) -> None:
        """End a session: its row goes, so that its cookie opens nothing any more."""

        def end(tx: Tx) -> None:
            also(tx)
            if viewer.digest is not None:
                tx.console.end(viewer.digest)

        await self._store.write(end)
        secure = is_secure(request, self._rules())
        response.delete_cookie(_cookie(secure=secure), path="/", secure=secure, httponly=True, samesite="lax")

    def _digest_in(self, request: HTTPConnection) -> bytes | None:
        """Return the digest of the session that a request's cookie names, if we signed it."""
        value = request.cookies.get(_cookie(secure=is_secure(request, self._rules())))
        try:
            return _digest(str(self.signer(_SESSION).loads(value))) if value else None
        except BadSignature:
            return None


def through_proxy(request: HTTPConnection, rules: ConsoleSection) -> bool:
    """Tell whether the direct peer is a reverse proxy that the configuration trusts."""
    peer = peer_of(request)
    return bool(peer) and any(ip_address(peer) in network for network in rules.proxy_addresses)


def is_secure(request: HTTPConnection, rules: ConsoleSection) -> bool:
    """Tell whether the browser speaks TLS, to us or to a trusted proxy before us."""
    if request.scope["scheme"] == "https":
        return True
    return through_proxy(request, rules) and request.headers.get("x-forwarded-proto", "").strip().lower() == "https"


def _vouched_for(request: HTTPConnection, rules: ConsoleSection) -> Viewer | None:
    """Return the user that a trusted proxy names. Named twice is named by nobody: a browser may have sent one."""
    named = request.headers.getlist(rules.user_header) if rules.user_header else []
    if len(named) != 1 or not through_proxy(request, rules):
        return None
    try:
        name = named[0].encode("latin-1").decode("utf-8").strip()
    except UnicodeError:
        return None
    return Viewer(name=name, role=_role(rules, name), key=f"{PROXY}:{name}") if is_user(name) else None


def _still_known(row: SessionRow, rules: ConsoleSection) -> Viewer | None:
    """Return whose session it is; None where he was removed, or what let him in has changed since."""
    proof = _proof(rules, row.source, row.name)
    if not proof or proof != row.proof:
        return None
    role = Role(row.role) if row.role else _role(rules, row.name)
    return Viewer(name=row.name, role=role, key=row.digest.hex(), digest=row.digest)


def _proof(rules: ConsoleSection, source: str, name: str) -> str:
    """Return what stands for the configuration that lets somebody in; "" where none does any more."""
    if source == LOCAL:
        secret = rules.users.get(name)
        return "" if secret is None else _digest(secret.reveal()).hex()
    return _digest(repr(_lets_in(rules.oidc))).hex() if rules.oidc.issuer else ""


def _lets_in(oidc: OidcSection) -> tuple[object, ...]:
    return (oidc.issuer, oidc.client_id, oidc.groups_claim, oidc.operators, oidc.viewers)


def _role(rules: ConsoleSection, name: str) -> Role:
    return Role(rules.roles.get(name, Role.OPERATOR))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _cookie(*, secure: bool) -> str:
    return f"__Host-{_COOKIE}" if secure else _COOKIE
