"""Sign-in at a real OpenID Connect provider, canaille, on a socket of its own; and at one that lies."""

from __future__ import annotations

import asyncio
import html
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from addresses import somewhere
from console_stage import OpenConsole, Visitor, console_at, text_of
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kuma_sync.web.server import bind, serve

HERE = Path(__file__).parent
REGISTERED = "http://console.example:8484/sign-in/provider/back"
HOST = {"Host": "console.example:8484"}


@pytest.fixture(scope="module")
def canaille() -> Iterator[str]:
    """The provider's address."""
    listen = somewhere()
    command = [sys.executable, str(HERE / "provider_program.py"), listen, REGISTERED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        assert program.stdout
        try:
            assert program.stdout.readline().strip(), "canaille did not start"
            yield f"http://{listen}"
        finally:
            program.terminate()


def rules(issuer: str, **more: Any) -> dict[str, Any]:
    """Return the configuration of a provider."""
    known = {"client_id": "console", "client_secret": "canary-client-secret", "scopes": ["openid", "profile", "groups"]}
    return {"oidc": {"issuer": issuer, **known, "operators": ["soc"], "viewers": ["shift"], **more}}


async def comes_back(visitor: Visitor, name: str, wanted: str = "/passes") -> str:
    """Sign in at canaille as a person does; return the address that it sends the browser back to."""
    there = (await visitor.sees(f"/sign-in/provider?next={wanted}", **HOST)).headers["location"]
    async with httpx.AsyncClient(trust_env=False, timeout=20) as provider:
        for _step in range(12):
            page = await provider.get(there)
            if not page.is_redirect:
                page = await provider.post(page.url, data=_filled(page.text, name))
            assert page.is_redirect, text_of(page)
            there = str(page.url.join(page.headers["location"]))
            if there.startswith(REGISTERED):
                return there
    raise AssertionError(f"canaille leads nowhere, but to {there}")


def _filled(page: str, name: str) -> dict[str, str]:
    form = next(one for one in re.findall(r"<form.*?</form>", page, re.DOTALL) if "csrf_token" in one)
    token = re.search(r'name="csrf_token" value="([^"]+)"', form)
    assert token
    answers = {"login": name, "password": f"{name}'s password"}
    asked = {field: value for field, value in answers.items() if f'name="{field}"' in form}
    return {"csrf_token": html.unescape(token[1]), **asked}


async def arrives(visitor: Visitor, back: str) -> httpx.Response:
    """Let the browser come back to the console."""
    parts = urlsplit(back)
    return await visitor.sees(f"{parts.path}?{parts.query}", **HOST)


@pytest.mark.parametrize(("name", "role"), [("olga", "operator"), ("boris", "viewer")])
async def test_who_signs_in_at_the_provider_has_the_role_of_the_groups(
    tmp_path: Path, sqlite_url: str, canaille: str, name: str, role: str
) -> None:
    async with console_at(tmp_path, sqlite_url, **rules(canaille)) as console, console.visitor() as visitor:
        back = await comes_back(visitor, name)
        arrived = await arrives(visitor, back)
        seen = await visitor.sees("/passes")
        again = await arrives(visitor, back)
        trail = await console.store.read(lambda tx: tx.audit.history(""))

    assert (arrived.status_code, arrived.headers["location"], seen.status_code) == (303, "/passes", 200)
    assert f"{name} · {role}" in seen.text.replace('<span class="quiet">', "")
    assert again.status_code == 403, "what came back once means nothing again"
    assert [(entry.actor, entry.detail) for entry in trail] == [(f"console:{name}", f"oidc {name}")]


async def test_who_is_in_no_listed_group_is_turned_away(tmp_path: Path, sqlite_url: str, canaille: str) -> None:
    async with console_at(tmp_path, sqlite_url, **rules(canaille)) as console, console.visitor() as visitor:
        arrived = await arrives(visitor, await comes_back(visitor, "vera"))
        seen = await visitor.sees("/")

    assert arrived.status_code == 403
    assert "You are vera, and none of your groups may see the console." in text_of(arrived)
    assert seen.status_code == 303


async def test_the_answer_to_another_browsers_sign_in_means_nothing(
    tmp_path: Path, sqlite_url: str, canaille: str
) -> None:
    async with (
        console_at(tmp_path, sqlite_url, **rules(canaille)) as console,
        console.visitor() as attacker,
        console.visitor() as victim,
    ):
        back = await comes_back(attacker, "olga")
        await victim.sees("/sign-in/provider", **HOST)
        answers = [await arrives(victim, back), await arrives(victim, REGISTERED)]
        console.clock.advance(minutes=11)
        late = await arrives(attacker, back)

    assert [answer.status_code for answer in (*answers, late)] == [403, 403, 403]
    assert "This sign-in was not begun in this browser" in text_of(answers[0])


async def test_a_change_of_the_groups_ends_the_sessions_of_the_provider(
    tmp_path: Path, sqlite_url: str, canaille: str
) -> None:
    async with console_at(tmp_path, sqlite_url, **rules(canaille)) as console, console.visitor() as visitor:
        await arrives(visitor, await comes_back(visitor, "olga"))
        before = await visitor.sees("/")
        console.configure(**rules(canaille, operators=["others"]))
        after = await visitor.sees("/")

    assert (before.status_code, after.status_code) == (200, 303)


async def test_a_wrong_client_secret_is_told_and_local_users_still_sign_in(
    tmp_path: Path, sqlite_url: str, canaille: str
) -> None:
    wrong = rules(canaille, client_secret="canary-wrong-secret")
    async with console_at(tmp_path, sqlite_url, **wrong) as console, console.visitor() as visitor:
        arrived = await arrives(visitor, await comes_back(visitor, "olga"))
        local = await visitor.signs_in("anna")

    assert arrived.status_code == 503
    assert "Your organization's provider signed nobody in: it refused" in text_of(arrived)
    assert "canary" not in arrived.text
    assert local.status_code == 303


async def test_while_the_provider_is_away_local_users_still_sign_in(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        console_at(tmp_path, sqlite_url, **rules(f"http://{somewhere()}")) as console,
        console.visitor() as visitor,
    ):
        away = await visitor.sees("/sign-in/provider?next=/passes")
        local = await visitor.signs_in("anna", wanted="/passes")

    assert away.status_code == 503
    assert "Your organization's provider signed nobody in" in text_of(away)
    assert 'action="/sign-in"' in away.text
    assert (local.status_code, local.headers["location"]) == (303, "/passes")


async def test_without_a_provider_its_addresses_are_unknown(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        answer = await visitor.sees("/sign-in/provider")

    assert answer.status_code == 404


# A provider that lies


KEY = RSAKey.generate_key(2048, auto_kid=True)
OTHER = RSAKey.generate_key(2048, auto_kid=True)
SECRET = "canary-client-secret"


@dataclass
class Liar:
    """A provider whose ID token is what a test says."""

    url: str = ""
    claims: dict[str, Any] | None = None
    header: dict[str, Any] | None = None
    key: Any = field(default_factory=lambda: KEY)
    nonce: str = ""
    verifier: str = ""

    def metadata(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "id_token_signing_alg_values_supported": ["none", "HS256", "RS256"],
            }
        )

    def keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": [KEY.as_dict(private=False)]})

    async def token(self, request: Request) -> Response:
        self.verifier = parse_qs((await request.body()).decode())["code_verifier"][0]
        now = int(time.time())
        right = {"iss": self.url, "aud": "console", "sub": "1", "iat": now, "exp": now + 60, "nonce": self.nonce}
        claims = {**right, "preferred_username": "anna.k", "groups": ["soc"], **(self.claims or {})}
        header = {"alg": "RS256", "kid": KEY.kid, **(self.header or {})}
        text = _signed(header, {name: value for name, value in claims.items() if value is not None}, self.key)
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": text})


def _signed(header: dict[str, Any], claims: dict[str, Any], key: Any) -> str:
    return jwt.encode(header, claims, key, algorithms=["none", "HS256", "RS256"])


@asynccontextmanager
async def liar() -> AsyncIterator[Liar]:
    told = Liar()
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", told.metadata),
            Route("/keys", told.keys),
            Route("/token", told.token, methods=["POST"]),
        ]
    )
    stop, listener = asyncio.Event(), bind("127.0.0.1:0")
    told.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(app, listener, stop=stop))
        try:
            yield told
        finally:
            stop.set()


async def signs_in(console: OpenConsole, told: Liar, **query: str) -> httpx.Response:
    async with console.visitor() as visitor:
        there = (await visitor.sees("/sign-in/provider")).headers["location"]
        asked = parse_qs(urlsplit(there).query)
        told.nonce = asked["nonce"][0]
        given = {"code": "c", "state": asked["state"][0], **query}
        return await visitor.client.get("/sign-in/provider/back", params=given)


async def test_an_honest_token_signs_in_and_the_code_was_asked_for_with_pkce(tmp_path: Path, sqlite_url: str) -> None:
    async with liar() as told, console_at(tmp_path, sqlite_url, **rules(told.url)) as console:
        answer = await signs_in(console, told, iss=told.url)

    assert answer.status_code == 303
    assert len(told.verifier) >= 43


@pytest.mark.parametrize(
    "lie",
    [
        {"claims": {"iss": "https://elsewhere.example"}},
        {"claims": {"aud": "another-client"}},
        {"claims": {"aud": []}},
        {"claims": {"aud": ["another-client"], "azp": "console"}},
        {"claims": {"aud": None}},
        {"claims": {"exp": 1}},
        {"claims": {"exp": None}},
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"sub": None}},
        {"key": OTHER},
        {"key": OctKey.import_key(SECRET), "header": {"alg": "HS256", "kid": KEY.kid}},
    ],
    ids=lambda lie: f"{' '.join(lie)} {lie.get('claims', '')}",
)
async def test_a_token_that_cannot_be_believed_signs_nobody_in(
    tmp_path: Path, sqlite_url: str, lie: dict[str, Any]
) -> None:
    async with liar() as told, console_at(tmp_path, sqlite_url, **rules(told.url)) as console:
        vars(told).update(lie)
        answer = await signs_in(console, told)

    assert answer.status_code == 503
    assert "its ID token cannot be believed" in text_of(answer)
    assert "set-cookie" not in answer.headers


async def test_a_token_without_a_signature_signs_nobody_in(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with liar() as told, console_at(tmp_path, sqlite_url, **rules(told.url)) as console:
        monkeypatch.setitem(globals(), "_signed", _unsigned)
        answer = await signs_in(console, told)

    assert answer.status_code == 503


def _unsigned(_header: dict[str, Any], claims: dict[str, Any], key: Any) -> str:
    signed = jwt.encode({"alg": "RS256"}, claims, key).split(".")
    return f"eyJhbGciOiJub25lIn0.{signed[1]}."


@pytest.mark.parametrize(
    ("query", "told_of"),
    [
        ({"error": "access_denied", "error_description": "<b>no"}, "it refused: <b>no"),
        ({"iss": "https://elsewhere.example"}, "another provider sent this answer"),
    ],
    ids=["refused", "mixed up"],
)
async def test_what_the_provider_says_against_it_is_told(
    tmp_path: Path, sqlite_url: str, query: dict[str, str], told_of: str
) -> None:
    async with liar() as told, console_at(tmp_path, sqlite_url, **rules(told.url)) as console:
        answer = await signs_in(console, told, **query)

    assert answer.status_code == 503
    assert told_of in text_of(answer)
    assert "<b>no" not in answer.text


@pytest.mark.parametrize(
    ("claims", "told_of"),
    [
        ({"preferred_username": "anna"}, "A user called anna is in the console's own list."),
        ({"preferred_username": "x\u202ey", "sub": "x" * 99}, "did not say your name"),
        ({"groups": "shift, soc"}, "none of your groups may see the console"),
        ({"groups": 7}, "none of your groups may see the console"),
    ],
    ids=str,
)
async def test_a_name_or_groups_that_do_not_fit_are_turned_away(
    tmp_path: Path, sqlite_url: str, claims: dict[str, Any], told_of: str
) -> None:
    async with liar() as told, console_at(tmp_path, sqlite_url, **rules(told.url)) as console:
        told.claims = claims
        answer = await signs_in(console, told)

    assert answer.status_code == 403
    assert told_of in text_of(answer)


async def test_another_issuer_than_the_configured_one_is_not_believed(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        liar() as told,
        console_at(tmp_path, sqlite_url, **rules(told.url)) as console,
        console.visitor() as visitor,
    ):
        told.url = told.url.replace("127.0.0.1", "localhost")
        answer = await visitor.sees("/sign-in/provider")

    assert answer.status_code == 503
    assert "it calls itself something else" in text_of(answer)
