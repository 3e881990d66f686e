"""Forms that order something: each works once, for one session, from our own page, and never for a viewer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from builders import a_link, an_alert
from console_stage import OpenConsole, Visitor, console_at, text_of
from itsdangerous import URLSafeSerializer

from kuma_sync.core.alert import AlertId, AlertSnapshot
from kuma_sync.store import Shape, Shown, Tx
from kuma_sync.web.console.access import Role
from kuma_sync.web.console.app import PAGES

ALERT = 'a"b<i>'
ORDER, OTHER = "/orders/resync", "/orders/drop"
ASKED = f"{ORDER}?{urlencode({'alert': ALERT})}"
"""The page that asks before the order."""


@asynccontextmanager
async def ordering(folder: Path, database: str) -> AsyncIterator[tuple[OpenConsole, Visitor]]:
    async with console_at(folder, database) as console, console.signed_in() as anna:
        await console.store.write(keep)
        yield console, anna


def keep(tx: Tx) -> None:
    snapshot = AlertSnapshot(alert=an_alert(id=AlertId(ALERT)))
    tx.alerts.save([Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None)], now=tx.now, sweep=0)
    tx.links.add([a_link(alert_id=AlertId(ALERT))], now=tx.now)


async def token_of(visitor: Visitor) -> str:
    """Open the page that asks, and return the token of its form."""
    return await visitor.token(ASKED, ORDER)


async def orders_in(console: OpenConsole) -> list[tuple[str, str]]:
    trail = await console.store.read(lambda tx: tx.audit.history(ALERT))
    return [(entry.actor, entry.action) for entry in trail]


async def test_an_order_is_asked_about_done_once_and_audited_with_the_users_name(
    tmp_path: Path, database_url: str
) -> None:
    async with ordering(tmp_path, database_url) as (console, anna):
        question = await anna.sees(ASKED)
        token = await token_of(anna)
        done = await anna.sends(ORDER, {"token": token, "alert": ALERT})
        again = await anna.sends(ORDER, {"token": token, "alert": ALERT})
        orders = await orders_in(console)

    assert "The incident of one alert is looked for, then sent anew." in text_of(question)
    assert 'value="a&#34;b&lt;i&gt;"' in question.text
    assert (done.status_code, again.status_code) == (200, 403)
    assert "sent before" in text_of(again)
    assert orders == [("console:anna", "resync")]


async def test_a_form_without_a_token_of_ours_does_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with ordering(tmp_path, sqlite_url) as (console, anna), console.signed_in("anna") as elsewhere:
        ours = await token_of(anna)
        forged = URLSafeSerializer(b"guessed", salt="kuma-sync form").dumps(["", ORDER, "x", 2**40])
        wrong = {
            "missing": None,
            "empty": "",
            "garbage": "x.y.z",
            "forged": forged,
            "cut": ours[:-1],
            "another session's": await token_of(elsewhere),
            "another form's": await anna.token(ASKED.replace(ORDER, OTHER), OTHER),
        }
        answers = {}
        for name, token in wrong.items():
            given = {} if token is None else {"token": token}
            answers[name] = await anna.sends(ORDER, {"alert": ALERT, **given})
        orders = await orders_in(console)

    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(wrong, 403)
    assert all("Nothing was done" in text_of(answer) for answer in answers.values())
    assert orders == []


async def test_another_spelling_of_a_used_token_does_nothing(tmp_path: Path, sqlite_url: str) -> None:
    signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    async with ordering(tmp_path, sqlite_url) as (console, anna):
        token = await token_of(anna)
        block = signs.index(token[-1]) & ~3
        answers = [
            await anna.sends(ORDER, {"token": token[:-1] + sign, "alert": ALERT}) for sign in signs[block : block + 4]
        ]
        orders = await orders_in(console)

    assert [answer.status_code for answer in answers] == [200, 403, 403, 403]
    assert len(orders) == 1


async def test_a_form_that_was_open_for_more_than_an_hour_does_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with ordering(tmp_path, sqlite_url) as (console, anna):
        old, fresh = await token_of(anna), ""
        console.clock.advance(hours=1)
        late = await anna.sends(ORDER, {"token": old, "alert": ALERT})
        fresh = await token_of(anna)
        done = await anna.sends(ORDER, {"token": fresh, "alert": ALERT})
        orders = await orders_in(console)

    assert (late.status_code, done.status_code) == (403, 200)
    assert "open for too long" in text_of(late)
    assert len(orders) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "{own}"}, 200),
        ({}, 200),
    ],
    ids=str,
)
async def test_a_form_that_another_site_sends_does_nothing(
    tmp_path: Path, sqlite_url: str, headers: dict[str, str], status: int
) -> None:
    async with ordering(tmp_path, sqlite_url) as (console, anna):
        token = await token_of(anna)
        own = {name: value.replace("{own}", console.url) for name, value in headers.items()}
        answer = await anna.sends(ORDER, {"token": token, "alert": ALERT}, **own)
        orders = await orders_in(console)

    assert answer.status_code == status
    assert len(orders) == (status == 200)


async def test_a_viewer_is_neither_asked_nor_obeyed(tmp_path: Path, sqlite_url: str) -> None:
    async with ordering(tmp_path, sqlite_url) as (console, anna), console.signed_in("victor") as victor:
        asked = await victor.sees(ASKED)
        token = await token_of(anna)
        answers = [await victor.sends(ORDER, {"token": token, "alert": ALERT}), await victor.sends(ORDER, {})]
        orders = await orders_in(console)

    assert (asked.status_code, [answer.status_code for answer in answers]) == (403, [403, 403])
    assert "only operators order something" in text_of(asked)
    assert orders == []


async def test_whatever_takes_a_form_is_for_operators_alone(tmp_path: Path, sqlite_url: str) -> None:
    orders = [page for page in PAGES if set(page.methods) != {"GET"}]
    async with console_at(tmp_path, sqlite_url, pages=orders) as console, console.signed_in("victor") as victor:
        paths = [re.sub(r"{\w+(:path)?}", "retry", page.path) for page in orders]
        answers = [await victor.sends(path, {}) for path in paths]

    assert {page.role for page in orders} == {Role.OPERATOR}
    assert all("only operators order something" in text_of(answer) for answer in answers)


async def test_an_operator_who_becomes_a_viewer_is_no_longer_obeyed(tmp_path: Path, sqlite_url: str) -> None:
    async with ordering(tmp_path, sqlite_url) as (console, anna):
        token = await token_of(anna)
        console.configure(roles={"anna": "viewer"})
        answer = await anna.sends(ORDER, {"token": token, "alert": ALERT})
        orders = await orders_in(console)

    assert (answer.status_code, orders) == (403, [])


async def test_a_stranger_who_sends_a_form_is_told_to_sign_in(tmp_path: Path, sqlite_url: str) -> None:
    async with ordering(tmp_path, sqlite_url) as (console, anna), console.visitor() as stranger:
        token = await token_of(anna)
        answer = await stranger.sends(ORDER, {"token": token, "alert": ALERT})
        orders = await orders_in(console)

    assert answer.status_code == 403
    assert "You are no longer signed in." in text_of(answer)
    assert 'href="/sign-in"' in answer.text
    assert orders == []


async def test_a_form_too_large_or_not_to_be_read_does_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with ordering(tmp_path, sqlite_url) as (console, anna):
        large = await anna.sends(ORDER, {"token": "x" * 100_000})
        many = await anna.client.post(ORDER, content="&".join(["a=1"] * 2000))
        binary = await anna.client.post(ORDER, content=b"\xff\xfe=\x00")
        orders = await orders_in(console)

    assert [answer.status_code for answer in (large, many, binary)] == [413, 400, 400]
    assert orders == []


async def test_the_choice_of_language_zone_and_colours_takes_known_values_only(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.visitor() as visitor:
        token = await visitor.token("/preferences?next=/sign-in", "/preferences")
        fields = {"next": "/sign-in", "language": "ru", "zone": "Asia/Almaty", "theme": "dark", "token": token}
        chosen = await visitor.sends("/preferences", fields)
        page = await visitor.sees("/sign-in")
        odd = {**fields, "language": "xx", "zone": "../../etc/passwd", "theme": "<b>", "next": "//evil.example"}
        refused = await visitor.sends("/preferences", odd)
        foreign = await visitor.sends("/preferences", {**fields, "token": "forged"})

    assert (chosen.status_code, chosen.headers["location"]) == (303, "/sign-in")
    assert '<html lang="ru" data-theme="dark">' in page.text
    assert "Asia/Almaty" in page.text
    assert (refused.headers["location"], "set-cookie" in refused.headers) == ("/", False)
    assert foreign.status_code == 403
