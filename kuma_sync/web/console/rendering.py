"""Templates and the few static files: loaded once, found by what they hold, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.core.text import fit
from kuma_sync.web.console.words import shown, translations_of

_HERE = Path(__file__).parent
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"
_POLICY = (
    "default-src 'none'; style-src 'self' 'nonce-{nonce}'; script-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_NO_NUL = quote(fit("\0")).encode()
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@cache
def environment(language: str) -> Environment:
    """Return the templates in a language. What a template shows is escaped, signs that deceive the eye written out."""
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    translations = translations_of(language)
    made.newstyle_gettext = True  # type: ignore[attr-defined]  # the extension's

    def gettext(text: str, /, **values: Any) -> Markup:
        return _filled(translations.ugettext(text), values)

    def ngettext(one: str, many: str, number: int, /, **values: Any) -> Markup:
        return _filled(translations.ungettext(one, many, number), {"num": number, **values})

    made.globals.update(gettext=gettext, ngettext=ngettext, static=static_path)
    return made


def _filled(text: str, values: Mapping[str, Any]) -> Markup:
    """Put values into a text of ours; Jinja's own way would escape HTML alone."""
    return Markup(text) % {name: _shown(value) for name, value in values.items()}  # noqa: S704  # the text is ours


def _shown(value: Any) -> Any:
    return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def rendered(language: str, template: str, values: Mapping[str, Any]) -> str:
    """Render a template."""
    return environment(language).get_template(template).render(values)


@cache
def _files() -> dict[str, tuple[str, bytes]]:
    """Return the static files by the name in their address, which holds a digest of what they hold."""
    found = {}
    for path in sorted((_HERE / "static").iterdir()):
        if path.suffix in _KINDS:
            held = path.read_bytes()
            found[f"{path.stem}.{hashlib.sha256(held).hexdigest()[:12]}{path.suffix}"] = (_KINDS[path.suffix], held)
    return found


@cache
def static_path(name: str) -> str:
    """Return the address of a static file."""
    stem, _, suffix = name.rpartition(".")
    return next(f"/static/{one}" for one in _files() if one.startswith(f"{stem}.") and one.endswith(f".{suffix}"))


async def static(request: Request) -> Response:
    """Answer with a static file. They hold no secret, so nobody need be signed in."""
    found = _files().get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    kind, held = found
    return Response(held, media_type=kind, headers={"Cache-Control": _FOR_EVER})


def nonce_of(request: HTTPConnection) -> str:
    """Return the word that lets an inline style or script of this page run."""
    nonce: str = request.state.nonce
    return nonce


def guarded(app: ASGIApp) -> ASGIApp:
    """Return the application with the headers that every answer has, and an address that every store can look for."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        nonce = secrets.token_urlsafe(16)
        scope = {**scope, "path": fit(scope["path"]), "query_string": scope["query_string"].replace(b"%00", _NO_NUL)}
        scope.setdefault("state", {})["nonce"] = nonce
        headers = _HEADERS | {"Content-Security-Policy": _POLICY.format(nonce=nonce)}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _value in message.get("headers", [])}
                more = headers if b"cache-control" in there else headers | {"Cache-Control": "no-store"}
                message["headers"] = [
                    *message.get("headers", []),
                    *((name.lower().encode(), value.encode()) for name, value in more.items()),
                ]
            await send(message)

        await app(scope, receive, with_headers)

    return answer
