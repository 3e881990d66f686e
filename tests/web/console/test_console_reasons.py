"""Reasons that the daemon wrote down in English are said in Russian; what others said stays as it came."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from console_stage import console_at, text_of

import kuma_sync
from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import load
from kuma_sync.web.console.reasons import CONFIGURATION, KNOWN, recognised
from kuma_sync.web.console.words import Preferences, Words

NOW = datetime(2026, 11, 29, 10, 49, 6, tzinfo=UTC)
PACKAGE = Path(kuma_sync.__file__).parent
WRITERS = ("sync", "kuma", "transport", "core/transitions.py", "core/retry.py", "irp/client.py", "irp/responses.py")
SEAMS = re.compile(
    r"%\(\w+\)s|(?= \(| before | KUMA 4| for | even without|; incident|, or took)|(?<=too )|(?<=expect_every\); )"
)
"""Where the code puts a text together: at its values, and between its own pieces."""

RUSSIAN, ENGLISH = (Words(Preferences(language=name, zone="UTC", theme="auto"), NOW) for name in ("ru", "en"))


def said(words: Words, text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", words.reason(text)))


@cache
def trees() -> dict[str, ast.Module]:
    files = [file for file in PACKAGE.rglob("*.py") if file.name != "reasons.py" or file.parent.name != "console"]
    return {str(file.relative_to(PACKAGE)): ast.parse(file.read_text()) for file in files}


def text_in(node: ast.AST | None) -> str | None:
    """Return a text of the code, with 777 for each of its values."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_in(value) or "777" for value in values)
        case _:
            return None


def reasons_written() -> Iterator[str]:
    """Yield the texts that are given as `reason` or `summary`, or on which a gate stands still."""
    for name, tree in trees().items():
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and name.startswith(WRITERS))
        for call in calls:
            given = [one.value for one in call.keywords if one.arg in ("reason", "summary")]
            if isinstance(call.func, ast.Attribute) and call.func.attr == "stand_still":
                given += call.args[:1]
            yield from (text for node in given if (text := text_in(node)) and re.search("[a-z]{3} ", text))


def test_every_known_reason_is_one_that_the_code_writes() -> None:
    written = "\n".join(
        text for tree in trees().values() for node in ast.walk(tree) if (text := text_in(node)) is not None
    )

    lost = {}
    for text in (*KNOWN, *CONFIGURATION):
        pieces = [piece for piece in SEAMS.split(text) if re.search("[a-z]{2}", piece)]
        lost[text] = [piece for piece in pieces if piece.strip(" :;,") not in written]

    assert {text: pieces for text, pieces in lost.items() if pieces} == {}, "nobody writes that any more"


def test_every_reason_that_is_written_down_is_known() -> None:
    unknown = {text for text in reasons_written() if recognised(text) is None}

    assert unknown == set(), "add it to web/console/reasons.py, then `make words`"


@pytest.mark.parametrize(
    ("text", "russian"),
    [
        ("connection refused", "в соединении отказано"),
        ("no answer within 2.5s", "нет ответа за 2.5 с"),
        ("answered 503 Service Unavailable", "ответ 503 Service Unavailable"),
        ("out of service: answered 503 Service Unavailable", "не работает: ответ 503 Service Unavailable"),
        ("token refused (answered 401 Unauthorized)", "токен не принят (ответ 401 Unauthorized)"),
        ("answered text/html instead of JSON", "в ответе text/html вместо JSON"),
        (
            "create answered 404 Not Found at https://sv/api: is the profile's path right?",
            "create: ответ 404 Not Found, адрес https://sv/api: верен ли путь в профиле?",
        ),
        (
            "kuma alerts: certificate not trusted (set kuma.ca_file)",
            "kuma alerts: сертификату нет доверия (задайте kuma.ca_file)",
        ),
        (
            "irp is not asked before 10:49:06: it asked to wait",
            "irp: запросов не будет до 10:49:06: другая сторона попросила подождать",
        ),
        ("the store is out of reach: connection refused", "база недоступна: в соединении отказано"),
        ("responded; held by the brake", "отработан; удержано предохранителем"),
        ("answered 409 Conflict; Такой инцидент уже есть", "ответ 409 Conflict; Такой инцидент уже есть"),
    ],
)
def test_a_reason_is_said_in_russian_and_in_english_as_it_was(text: str, russian: str) -> None:
    assert said(RUSSIAN, text) == russian
    assert said(ENGLISH, text) == text


@pytest.mark.parametrize(
    "text",
    ["", "Access to the tenant is forbidden", "Нет прав", "<b>answered</b>", "x" * 5000, "a: " * 2000, "; " * 2000],
)
def test_what_others_said_stays_as_it_came(text: str) -> None:
    assert said(RUSSIAN, text) == said(ENGLISH, text) == text


@pytest.mark.parametrize(
    ("written", "russian"),
    [
        ({"poll": {"intervall": "5s"}}, "poll.intervall: нет такого ключа; может быть, poll.interval?"),
        ({"poll": {"interval": True}}, "poll.interval: нужна длительность вида"),
        ({"kuma": {"url": "kuma.example.com"}}, "kuma.token: обязателен (или kuma.token_file)"),
        (
            {"kuma": {"url": "", "token": "k"}, "brake": {"min_alerts": -1}},
            "(и ещё 1: все покажет `kuma-sync config check`)",
        ),
    ],
)
def test_why_a_configuration_was_refused_is_said_in_russian(
    written: dict[str, Any], russian: str, tmp_path: Path
) -> None:
    sides = {"kuma": {"url": "kuma.example.com", "token": "k"}, "irp": {"url": "sv.example.com", "token": "i"}}
    file = tmp_path / "config.toml"
    file.write_text(tomli_w.dumps({**sides, **written}))
    file.chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        load(file, {})

    plain = {
        words: html.unescape(re.sub(r"</?code>", "`", words.refusal(str(refused.value))))
        for words in (RUSSIAN, ENGLISH)
    }

    assert russian in plain[RUSSIAN]
    assert plain[ENGLISH] == str(refused.value)


def test_what_an_irp_says_of_its_fields_is_not_taken_for_a_configurations_fault() -> None:
    assert said(RUSSIAN, "answered 422; title: is required") == "ответ 422; title: is required"


async def test_warnings_of_the_configuration_are_said_in_the_viewers_language(tmp_path: Path, sqlite_url: str) -> None:
    wrong = {"roles": {"nobody": "viewer"}, "oidc": {"issuer": "http://id.example.com", "client_id": "a"}}
    wrong["oidc"]["client_secret"] = "a-secret-of-some-length"
    async with (
        console_at(tmp_path, sqlite_url, **wrong) as console,
        console.signed_in(**{"Accept-Language": "ru"}) as anna,
    ):
        page = text_of(await anna.sees("/configuration"))
        english = [str(one) for one in console.settings.warnings]

    assert len(english) >= 3
    assert "web.console.roles.nobody: такого пользователя нет в [web.console.users]" in page
    assert [one for one in english if one in page] == []
