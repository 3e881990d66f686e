"""Users whom a reverse proxy names: believed from listed addresses alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from console_stage import console_at

HEADER = "X-Remote-User"
TRUSTED: dict[str, Any] = {"user_header": HEADER, "proxy_addresses": ["127.0.0.1"]}
ELSEWHERE: dict[str, Any] = {"user_header": HEADER, "proxy_addresses": ["10.0.0.0/8", "::1"]}


@pytest.mark.parametrize("trusted", ["127.0.0.1", "127.0.0.0/8"])
async def test_a_listed_proxy_names_the_user(tmp_path: Path, sqlite_url: str, trusted: str) -> None:
    rules = {**TRUSTED, "proxy_addresses": [trusted]}
    async with console_at(tmp_path, sqlite_url, **rules) as console, console.visitor() as boris:
        page = await boris.client.get("/", headers={HEADER.encode(): "Борис".encode()})

    assert page.status_code == 200
    assert "Борис" in page.text
    assert "operator" in page.text
    assert "/sign-out" not in page.text, "the proxy would sign him in again"


async def test_the_header_of_anybody_else_opens_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        console_at(tmp_path, sqlite_url, **ELSEWHERE) as console,
        console.visitor(**{HEADER: "boris"}) as liar,
    ):
        page = await liar.sees("/")
        forwarded = await liar.sees("/", **{"X-Forwarded-For": "10.0.0.1"})

    assert (page.status_code, forwarded.status_code) == (303, 303)


async def test_without_the_key_the_header_means_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor(**{HEADER: "boris"}) as liar:
        page = await liar.sees("/")

    assert page.status_code == 303


async def test_a_header_that_came_twice_names_nobody(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url, **TRUSTED) as console, console.visitor() as visitor:
        page = await visitor.client.get("/", headers=[(HEADER, "boris"), (HEADER, "anna")])
        empty = await visitor.client.get("/", headers=[(HEADER, "")])

    assert (page.status_code, empty.status_code) == (303, 303)


async def test_a_named_user_has_the_role_that_is_configured(tmp_path: Path, sqlite_url: str) -> None:
    rules = {**TRUSTED, "roles": {"boris": "viewer"}}
    async with console_at(tmp_path, sqlite_url, **rules) as console, console.visitor(**{HEADER: "boris"}) as boris:
        page = await boris.sees("/")

    assert "boris · viewer" in page.text.replace('<span class="quiet">', "")


async def test_the_proxys_user_stands_before_a_session_of_somebody_else(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url, **TRUSTED) as console, console.signed_in("anna") as anna:
        page = await anna.sees("/", **{HEADER: "boris"})

    assert "boris" in page.text
    assert "anna" not in page.text


async def test_local_users_still_sign_in_where_the_proxy_names_nobody(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url, **TRUSTED) as console, console.signed_in("anna") as anna:
        page = await anna.sees("/")

    assert "anna" in page.text


@pytest.mark.parametrize(("rules", "secure"), [(TRUSTED, True), (ELSEWHERE, False)])
async def test_tls_at_a_listed_proxy_makes_the_cookie_secure(
    tmp_path: Path, sqlite_url: str, rules: dict[str, Any], secure: bool
) -> None:
    async with (
        console_at(tmp_path, sqlite_url, **rules) as console,
        console.visitor(**{"X-Forwarded-Proto": "https"}) as anna,
    ):
        answer = await anna.signs_in()

    assert answer.headers["set-cookie"].startswith("__Host-") is secure
    assert ("secure" in answer.headers["set-cookie"].lower()) is secure
