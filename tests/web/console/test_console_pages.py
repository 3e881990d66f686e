"""What every page of the console has: headers, both languages, no secret, no text that could do harm."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from console_stage import OpenConsole, console_at, text_of
from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.comparison import Rejected
from kuma_sync.core.sentence import sentence
from kuma_sync.settings import load
from kuma_sync.store import PassRecord
from kuma_sync.web.console.app import PAGES, Page
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.pages.passes import ROWS

MALICIOUS = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202egnp.exe\x1b[31m{{ 7*7 }}"
PATHS = [re.sub(r"{\w+(:path)?}", "5f0c", page.path) for page in PAGES]


def a_pass(number: int, **fields: object) -> PassRecord:
    plausible = {"kind": "window", "seconds": 0.25, "complete": False, "seen": number}
    moment = datetime(2026, 11, 29, tzinfo=UTC) + timedelta(seconds=number)
    return PassRecord(**{**plausible, "started_at": moment, **fields})  # type: ignore[arg-type]  # a test names them


async def test_every_answer_has_the_headers_that_keep_a_browser_safe(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        console_at(tmp_path, sqlite_url) as console,
        console.signed_in() as anna,
        console.visitor() as stranger,
    ):
        style = re.search(r'href="(/static/console\.\w+\.css)"', (await anna.sees("/")).text)
        assert style
        answers = [await anna.sees(path) for path in (*PATHS, "/preferences", "/nothing", style[1])]
        answers += [await stranger.sees(path) for path in ("/", "/sign-in", "/nothing")]
        answers.append(await anna.sends("/sign-out", {}))

    for answer in answers:
        headers = answer.headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self' 'nonce-")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == (
            "public, max-age=31536000, immutable" if answer.url.path == style[1] else "no-store"
        )
    nonces = [re.findall(r"'nonce-([^']+)'", answer.headers["content-security-policy"])[0] for answer in answers]
    assert len(set(nonces)) == len(nonces)


async def test_a_page_has_nothing_inline_and_nothing_from_elsewhere(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        pages = [(await anna.sees(path)).text for path in (*PATHS, "/preferences", "/configuration?all=1")]

    for page in pages:
        assert not re.search(r"\son\w+=|\sstyle=|javascript:|<style", page)
        assert not re.findall(r'<script(?![^>]*src="/static/)', page)
        assert not re.findall(r'(?:src|href|action)="(?!/|#)[^"]*"', page)


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_every_page_is_shown_in_the_browsers_language(tmp_path: Path, sqlite_url: str, language: str) -> None:
    wanted = {"Accept-Language": {"en": "en-GB,en;q=0.9,ru;q=0.1", "ru": "de,ru-RU;q=0.9,en;q=0.2"}[language]}
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in(**wanted) as anna:
        await console.store.write(lambda tx: tx.audit.note_pass(a_pass(1)))
        pages = [(await anna.sees(path)).text for path in (*PATHS, "/preferences", "/nothing")]

    russian = [bool(re.search("[а-я]{3}", re.sub(r'<(\w+)[^>]* lang="ru"[^>]*>.*?</\1>', "", page))) for page in pages]
    assert {re.findall('<html lang="(..)"', page)[0] for page in pages} == {language}
    assert set(russian) == {language == "ru"}


async def test_text_from_elsewhere_is_shown_and_does_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async def shows(request: Request, console: Console) -> Response:
        values = {"why": [sentence("It is called %(name)s.", name=MALICIOUS)], "sign_in": False}
        return console.page(request, "refused.html", MALICIOUS, values=values)

    pages = [Page(path="/", answer=shows), *PAGES[1:]]
    async with console_at(tmp_path, sqlite_url, pages=pages) as console, console.signed_in() as anna:
        await console.store.write(lambda tx: tx.audit.note_pass(a_pass(1, kind=MALICIOUS, error=MALICIOUS)))
        await console.store.write(lambda tx: tx.rejects.park([Rejected(digest=MALICIOUS, raw=b"1", reason="odd")]))
        console.health.refused(MALICIOUS)
        shown = [await anna.sees(path) for path in ("/", "/passes", "/configuration")]
        question = await anna.sees(f"/orders/drop?alert={quote(MALICIOUS)}")

    for answer in shown:
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
        assert "<script>alert(1)</script>" in text_of(answer)
        assert not set(text_of(answer)) & {"\u202e", "\x1b"}
        assert "\\u202egnp.exe\\x1b[31m{{ 7*7 }}" in text_of(answer)
    hidden = re.findall(r'name="alert" value="([^"]*)"', question.text)
    assert hidden == [hidden[0]]
    assert "\u202e" in hidden[0], "what a form sends back must be what it was"


async def test_no_page_shows_a_secret(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        pages = [(await anna.sees(path)).text for path in (*PATHS, "/preferences", "/configuration?all=1")]
        hashes = [secret.reveal() for secret in console.settings.web.console.users.values()]

    assert not [page for page in pages if "canary" in page or any(one in page for one in hashes)]
    assert "**********" in pages[-1]


async def test_the_configuration_says_where_each_value_comes_from(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        given = {"KUMA_SYNC_POLL__INTERVAL": "45s", "KUMA_SYNC_WEB__CONSOLE__SESSION": "2h"}
        console.settings = load(tmp_path / "console.toml", given)
        some, everything = await anna.sees("/configuration"), await anna.sees("/configuration?all=1")

    assert str(tmp_path / "console.toml") in text_of(some)
    assert '[poll] Key Value Source interval "45s" environment KUMA_SYNC_POLL__INTERVAL' in text_of(some)
    assert 'session "2h" environment KUMA_SYNC_WEB__CONSOLE__SESSION' in text_of(some)
    assert 'url "https://sv.example.com" file' in text_of(some)
    assert "sweep_interval" not in text_of(some)
    assert 'sweep_interval "10m" default' in text_of(everything)


async def test_the_configuration_tells_warnings_and_what_was_refused(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        console.configure(roles={"nobody": "viewer"})
        console.health.refused("kuma.url: is not an address")
        console.clock.advance(minutes=14)
        console.health.refused("kuma.url: cannot change while the daemon runs; restart it")
        page = await anna.sees("/configuration")

    assert "The configuration on disk was refused." in text_of(page)
    assert "kuma.url: cannot change while the daemon runs; restart it" in text_of(page)
    assert re.search(r"It is refused since .*14 minutes ago", text_of(page))
    assert "web.console.roles.nobody: there is no such user" in text_of(page)


async def test_passes_are_paged_through_without_gap_or_double(tmp_path: Path, sqlite_url: str) -> None:
    many = ROWS * 2 + 7
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        await _note(console, [a_pass(number) for number in range(many)])
        path, seen = "/passes", list[str]()
        for _ in range(3):
            page = (await anna.sees(path)).text
            seen += re.findall(r'data-label="Seen">(\d+)<', page)
            older = re.search(r'href="([^"]+)" rel="next"', page)
            path = older[1] if older else ""

    assert path == ""
    assert seen == [str(number) for number in reversed(range(many))]


async def test_passes_of_one_kind_are_shown_alone_with_their_errors(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        failed = a_pass(2, kind="sweep", error="KUMA answers 503")
        await _note(console, [a_pass(1), failed, a_pass(3, kind="watch:irp", complete=True)])
        sweeps, watched = await anna.sees("/passes?kind=sweep"), await anna.sees("/passes?kind=watch%3Airp")
        odd = [await anna.sees(f"/passes?before={text}&kind=x") for text in ("abc", "-1", "9" * 30, "²", "0")]

    assert "failed KUMA answers 503" in text_of(sweeps)
    assert "incidents closed in irp done" in text_of(watched).split("Pages", 1)[1]
    assert [answer.status_code for answer in odd] == [200] * 5


async def test_an_unknown_address_is_a_page_for_people_and_json_for_programs(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        page = await visitor.sees("/nothing")
        program = await visitor.sees("/nothing", Accept="application/json")
        api = await visitor.sees("/api/v1/nothing")
        wrong = await visitor.client.delete("/passes", headers={"Accept": "*/*"})

    assert (page.status_code, text_of(page)[:12]) == (404, "No such page")
    assert [(one.status_code, one.json()["message"]) for one in (program, api)] == [(404, "not found")] * 2
    assert (wrong.status_code, wrong.json()["message"]) == (405, "method not allowed")


async def test_while_the_console_is_off_its_addresses_are_as_unknown_as_ever(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url, enabled=False) as console, console.visitor() as visitor:
        answers = [await visitor.sees(path) for path in ("/", "/sign-in", "/alerts", "/static/console.css")]
        console.configure(enabled=True)
        page = await visitor.sees("/sign-in")

    assert [(one.status_code, one.json()) for one in answers] == [(404, {"message": "not found", "details": None})] * 4
    assert page.status_code == 200


async def test_a_mistake_of_ours_is_told_in_words_and_is_in_the_log(tmp_path: Path, sqlite_url: str) -> None:
    async def broken(_request: Request, _console: Console) -> Response:
        raise LookupError("canary-detail")

    pages = [Page(path="/", answer=broken)]
    async with console_at(tmp_path, sqlite_url, pages=pages) as console, console.signed_in() as anna:
        page = await anna.sees("/")

    assert page.status_code == 500
    assert "A mistake in kuma-sync kept this page from being made." in text_of(page)
    assert "canary" not in page.text


async def _note(console: OpenConsole, records: list[PassRecord]) -> None:
    await console.store.write(lambda tx: [tx.audit.note_pass(record) for record in records])
