"""Every page in a real browser: in both languages, on a phone and on a screen, with and without JavaScript."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from console_pages import PAGES, QUESTIONS
from playwright.async_api import Browser
from scene import OPERATOR, SECRETS, Scene
from visitor import NARROW, WIDE, Manner, visiting

EVERY = PAGES | QUESTIONS

ON_A_PHONE = ("overview", "alert-parked")
"""Pages of which there is a picture on a phone, too."""

MANNERS = [
    Manner(language="en", width=WIDE),
    Manner(language="en", width=NARROW, javascript=False),
    Manner(language="ru", width=WIDE, javascript=False),
    Manner(language="ru", width=NARROW),
]
"""Each language in each width, and each of them with and without JavaScript."""


def said(manner: Manner) -> str:
    return f"{manner.language} {manner.width} {'with' if manner.javascript else 'without'} JavaScript"


@pytest.mark.parametrize("manner", MANNERS, ids=said)
async def test_every_page_is_whole_and_fits_the_window(
    manner: Manner, browser: Browser, here: Scene, sessions: dict[str, Any], pictures: Path | None
) -> None:
    async with visiting(browser, here.base, manner, sessions[OPERATOR[0]]) as visitor:
        for name, address in EVERY.items():
            answer = await visitor.goes(address(here))

            assert answer.status == 200, name
            assert await visitor.page.get_attribute("html", "lang") == manner.language, name
            assert await visitor.page.locator("h1").count() == 1, name
            assert await visitor.overflow() <= 0, f"{name}: {await visitor.too_wide()}"
            if pictures and (manner.width == WIDE or name in ON_A_PHONE):
                small = "" if manner.width == WIDE else "-phone"
                await visitor.pictured(pictures / f"console-{name}{small}.{manner.language}.png")


@pytest.mark.parametrize(("language", "dark"), [("en", False), ("ru", True)], ids=["light", "dark"])
async def test_axe_finds_no_barrier_on_any_page(
    language: str, dark: bool, browser: Browser, here: Scene, sessions: dict[str, Any]
) -> None:
    manner = Manner(language=language, dark=dark)
    async with visiting(browser, here.base, manner, sessions[OPERATOR[0]]) as visitor:
        barriers = {}
        for name, address in EVERY.items():
            await visitor.goes(address(here))
            barriers[name] = await visitor.barriers()

        assert {name: found for name, found in barriers.items() if found} == {}


async def test_the_sign_in_page_has_no_barrier_and_fits_a_phone(browser: Browser, here: Scene) -> None:
    async with visiting(browser, here.base, Manner(width=NARROW)) as visitor:
        await visitor.goes("/")

        assert visitor.page.url.endswith("/sign-in?next=/")
        assert await visitor.barriers() == []
        assert await visitor.overflow() <= 0


async def test_no_page_shows_a_secret(browser: Browser, here: Scene, sessions: dict[str, Any]) -> None:
    async with visiting(browser, here.base, Manner(), sessions[OPERATOR[0]]) as visitor:
        for name, address in EVERY.items():
            await visitor.goes(address(here))
            text = await visitor.page.content()

            assert [secret for secret in SECRETS.values() if secret in text] == [], name
            assert "argon2" not in text, name


async def test_a_hostile_name_is_text_wherever_it_is_shown(
    browser: Browser, here: Scene, sessions: dict[str, Any]
) -> None:
    async with visiting(browser, here.base, Manner(), sessions[OPERATOR[0]]) as visitor:
        shown = 0
        for name, address in EVERY.items():
            await visitor.goes(address(here))
            text = await visitor.page.content()

            assert not await visitor.page.locator("main img, main script").count(), name
            assert "\u202e" not in text, name
            assert "\x1b" not in text, name
            shown += "<script>alert(1)</script>" in await visitor.text()

        assert shown >= 4  # the list, the alert, what is parked, closings


@pytest.mark.parametrize("language", ["ru"])
async def test_in_russian_nothing_is_left_in_english(
    language: str, browser: Browser, here: Scene, sessions: dict[str, Any]
) -> None:
    """What an IRP answered, names and keys stay as they are; headings, labels and buttons are ours."""
    async with visiting(browser, here.base, Manner(language=language), sessions[OPERATOR[0]]) as visitor:
        left = {}
        for name, address in EVERY.items():
            await visitor.goes(address(here))
            ours = await visitor.page.evaluate(OURS)
            words = {one.strip() for text in ours for one in text.splitlines()}
            left[name] = sorted(one for one in words if one and _is_english(one))

        assert {name: found for name, found in left.items() if found} == {}


OURS = """() => [...document.querySelectorAll('h2, th[scope=col], dt, summary, button, a.button, label')].map(one => {
  const ours = one.cloneNode(true);
  ours.querySelectorAll('.unseen, .mono, option, select').forEach(part => part.remove());
  return ours.textContent;
})"""
"""What our templates say, without names, keys and what is to be chosen from."""

FOREIGN = {"KUMA", "IRP", "IRP north", "kuma-sync"}


def _is_english(text: str) -> bool:
    letters = [sign for sign in text if sign.isalpha()]
    latin = [sign for sign in letters if sign.isascii()]
    return len(latin) > 3 and len(latin) == len(letters) and text not in FOREIGN and not text.startswith("[")
