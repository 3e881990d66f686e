"""The console's words: every text translated, times in the viewer's zone, and the browser's language."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from markupsafe import Markup

from kuma_sync.core.maintenance import Maintenance
from kuma_sync.core.sentence import counted, sentence
from kuma_sync.web.console.rendering import rendered
from kuma_sync.web.console.words import (
    LANGUAGES,
    STATES,
    Preferences,
    Words,
    catalogue_file,
    preferences_of,
    shown,
    translations_of,
    zone_named,
)

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 29, 10, 49, 6, tzinfo=UTC)
VALUES = re.compile(r"%\((\w+)\)")


def words(language: str = "en", zone: str = "UTC") -> Words:
    return Words(Preferences(language=language, zone=zone, theme="auto"), NOW)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """What is to be translated: gathered as `make words` gathers it."""
    recipe = re.search(r"\tpybabel (.+)|\t\$\(BIN\)/pybabel (--quiet extract .+)", (ROOT / "Makefile").read_text())
    assert recipe
    found = tmp_path_factory.mktemp("words") / "console.pot"
    arguments = (recipe[1] or recipe[2]).replace("$(WORDS)/console.pot", str(found)).split()
    command = [str(Path(sys.executable).with_name("pybabel")), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with found.open("rb") as file:
        return read_po(file)


@pytest.mark.parametrize("language", sorted(LANGUAGES.keys() - {"en"}))
def test_every_text_is_in_the_catalogue_and_translated(extracted: Catalog, language: str) -> None:
    with catalogue_file(language).open("rb") as file:
        known = read_po(file, locale=language)
    wanted = {message.id for message in extracted if message.id}
    there = {message.id: message.string for message in known if message.id}

    assert len(wanted) > 80
    assert wanted - there.keys() == set(), "run `make words`, then translate what is new"
    assert there.keys() - wanted == set(), "run `make words`: these are said no more"
    assert [text for text, said in there.items() if not (all(said) if isinstance(said, tuple) else said)] == []
    assert [message.id for message in known if message.fuzzy and message.id] == []


@pytest.mark.parametrize("language", sorted(LANGUAGES.keys() - {"en"}))
def test_a_translation_has_the_values_of_its_text(language: str) -> None:
    with catalogue_file(language).open("rb") as file:
        known = read_po(file, locale=language)

    for message in known:
        texts = message.id if isinstance(message.id, tuple) else (message.id,)
        said = message.string if isinstance(message.string, tuple) else (message.string,)
        if message.id:
            assert {tuple(sorted(set(VALUES.findall(one)))) for one in said} == {
                tuple(sorted(set(VALUES.findall(texts[-1]))))
            }, message.id


@pytest.mark.parametrize(
    ("zone", "written"),
    [
        ("UTC", "3 minutes ago 10:46:06 UTC"),
        ("Europe/Moscow", "3 minutes ago 13:46:06 (10:46:06 UTC)"),
        ("Asia/Almaty", "3 minutes ago 15:46:06 (10:46:06 UTC)"),
    ],
)
def test_a_time_is_told_in_the_viewers_zone_with_utc_beside_it(zone: str, written: str) -> None:
    said = words(zone=zone).when(NOW - timedelta(minutes=3))

    assert re.sub(r"<[^>]+>", "", said) == written
    assert 'datetime="2026-11-29T10:46:06Z"' in said


@pytest.mark.parametrize(
    ("language", "zone", "written"),
    [
        ("en", "UTC", "Paused until 12:49:06 UTC (in 2 hours)."),
        ("en", "Europe/Moscow", "Paused until 15:49:06 (12:49:06 UTC, in 2 hours)."),
    ],
)
def test_within_a_sentence_a_time_comes_before_how_far_away_it_is(language: str, zone: str, written: str) -> None:
    said = words(language, zone).sentence(sentence("Paused until %(until)s.", until=NOW + timedelta(hours=2)))

    assert re.sub(r"<[^>]+>", "", said) == written
    assert 'datetime="2026-11-29T12:49:06Z"' in said


def test_that_somebody_paused_a_part_is_told_in_the_viewers_language() -> None:
    until = Maintenance(part="kuma", since=NOW, until=NOW + timedelta(hours=2), by="anna")

    said = [re.sub(r"<[^>]+>", "", words("ru").reason(one.reason)) for one in (until, replace(until, until=None))]

    assert said == [
        "оператор приостановил kuma до 12:49:06 UTC (через 2 часа)",
        "оператор приостановил kuma до команды «Продолжить»",
    ]


def test_a_time_of_another_day_or_year_has_its_date() -> None:
    late = datetime(2026, 11, 28, 22, 0, tzinfo=UTC)

    assert words(zone="Asia/Almaty").exactly(late) == "03:00:00 (28 Nov 22:00:00 UTC)"
    assert words().exactly(late) == "28 Nov 22:00:00 UTC"
    assert words().exactly(late - timedelta(days=400)) == "24 Oct 2025 22:00:00 UTC"
    assert words("ru", "Europe/Moscow").exactly(late) == "01:00:00 (28 нояб. 22:00:00 UTC)"


@pytest.mark.parametrize(
    ("ago", "english", "russian"),
    [
        (timedelta(seconds=5), "5 seconds ago", "5 секунд назад"),
        (timedelta(minutes=14), "14 minutes ago", "14 минут назад"),
        (timedelta(hours=26), "26 hours ago", "26 часов назад"),
        (timedelta(days=-3), "in 3 days", "через 3 дня"),
    ],
)
def test_how_long_ago_is_told_in_both_languages(ago: timedelta, english: str, russian: str) -> None:
    assert (words("en").ago(NOW - ago), words("ru").ago(NOW - ago)) == (english, russian)


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.123, "0.12 s"), (9.9, "9.9 s"), (61, "61 seconds"), (0, "0 seconds"), (None, "–")]
)
def test_a_length_of_time_is_short_where_it_is_small(seconds: float | None, written: str) -> None:
    assert words().span(seconds) == written


@pytest.mark.parametrize(("count", "said"), [(1, "ключ"), (3, "ключа"), (5, "ключей"), (21, "ключ")])
def test_a_number_of_things_has_its_own_form_in_russian(count: int, said: str) -> None:
    text = counted(
        "Show one more key that has its default value",
        "Show %(num)s more keys that have their default values",
        count,
        num=count,
    )

    assert words("ru").sentence(text).startswith(f"Показать ещё {count} {said} ")


def test_values_of_a_sentence_are_escaped_and_sentences_in_it_translated() -> None:
    inner = sentence("what KUMA published late")
    said = words("ru").sentence(sentence("<b>%(kind)s</b> %(inner)s", kind="<i>\u202e\x1b", inner=inner))

    assert isinstance(said, Markup)
    assert said == "&lt;b&gt;&lt;i&gt;\\u202e\\x1b&lt;/b&gt; что KUMA показала с опозданием"


def test_values_in_a_templates_own_text_are_shown_the_same_way(tmp_path: Path) -> None:
    parts = {"file": "<i>\u202e\x1b", "refused": "", "broken": {}, "warnings": (), "everything": True, "sections": ()}
    frame = dict.fromkeys(("menu", "viewer", "leaves", "refresh", "here", "address", "nonce", "orders"), "")
    page = rendered(
        "en",
        "configuration.html",
        {
            **{**frame, **parts, "left_out": 0, "title": "x", "preferences": words().preferences},
            **{"sentence": words().sentence, "restart": sentence("all is well")},
        },
    )

    assert "The file is &lt;i&gt;\\u202e\\x1b." in page


def test_every_state_has_a_word_in_both_languages_and_colour_is_not_all() -> None:
    for name in STATES:
        english, russian = words("en").state(name), words("ru").state(name)
        assert re.fullmatch(r'<span class="badge \w+">[a-z ]+</span>', english)
        assert re.fullmatch(r'<span class="badge \w+">[а-яё ]+</span>', russian)
    assert words().state("<odd>") == '<span class="badge quiet">&lt;odd&gt;</span>'


def test_what_is_parked_has_one_russian_word_that_does_not_sound_as_if_it_came_back() -> None:
    """*Отложено* is put off, and goes on by itself."""
    pages = [catalogue_file("ru"), ROOT / "README.ru.md", *(ROOT / "docs").glob("*.ru.md")]

    assert [page.name for page in pages if re.search("отклад|отлож", page.read_text(), re.IGNORECASE)] == []
    assert re.sub(r"<[^>]+>", "", words("ru").state("parked")) == "застрял"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("de, fr;q=0.5", "en"),
        ("de,ru;q=0.4,en;q=0.3", "ru"),
        ("en;q=0.3,ru;q=0.4", "ru"),
        ("ru;q=0", "en"),
        ("ru;q=x,en", "en"),
        (",;q=,;;,", "en"),
    ],
)
def test_the_browsers_languages_choose_ours(accepted: str, language: str) -> None:
    assert preferences_of(_request({"accept-language": accepted})).language == language


def test_cookies_win_over_the_browser_and_odd_ones_mean_nothing() -> None:
    chosen = {"kuma_sync_language": "en", "kuma_sync_zone": "Asia/Almaty", "kuma_sync_theme": "dark"}
    odd = {"kuma_sync_language": "../x", "kuma_sync_zone": "/etc/passwd", "kuma_sync_theme": "<b>"}

    assert preferences_of(_request({"accept-language": "ru"}, chosen)) == Preferences(
        language="en", zone="Asia/Almaty", theme="dark"
    )
    assert preferences_of(_request({"accept-language": "ru"}, odd)) == Preferences(
        language="ru", zone="UTC", theme="auto"
    )


def test_a_command_in_a_reason_is_set_as_one_and_the_rest_of_it_stays_escaped() -> None:
    assert words().reason("<b> (1 more: `kuma-sync config check` lists them)") == (
        "&lt;b&gt; (1 more: <code>kuma-sync config check</code> lists them)"
    )


def test_a_length_of_time_within_a_text_has_the_case_that_the_text_asks_for() -> None:
    age = timedelta(seconds=21)

    assert words("ru").span(age) == "21 секунда"
    assert words("ru").lasting(age) == "21 секунду"
    assert words("ru").lasting(5) == "5 с"
    assert words().lasting(age) == "21 seconds"
    assert "уже 21 секунду" in words("ru").sentence(
        sentence("Nothing flows: the store is not well for %(age)s: %(reason)s", age=age, reason="x")
    )


@pytest.mark.parametrize("name", ["", "Europe/Nowhere", "../../etc/passwd", "Europe/Moscow\x00", "zone.tab", "Europe"])
def test_an_unknown_zone_is_utc(name: str) -> None:
    assert zone_named(name).key == "UTC"


def test_the_catalogue_is_compiled_once_and_quickly() -> None:
    assert translations_of("ru") is translations_of("ru")
    assert shown("a\nb\u2066") == "a\nb\\u2066"


def _request(headers: dict[str, str], cookies: dict[str, str] | None = None) -> Any:
    make: Callable[..., Any] = SimpleNamespace
    return make(headers=headers, cookies=cookies or {})


def test_a_sentence_names_the_button_where_a_command_names_the_order() -> None:
    said = sentence("%(what)s It waits for `release`.", what="`retry` of somebody.")

    assert words().sentence(said) == "<code>retry</code> of somebody. It waits for “Release”."
    assert "«Отпустить»" in words("ru").sentence(said)
