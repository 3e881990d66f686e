"""Every order of the console in a real browser: asked first, carried out once, and told in the history by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, Page
from scene import OPERATOR, REFUSED, VIEWER, Scene
from stage import eventually
from visitor import Manner, Visitor, visiting

from kuma_sync.core.alert import AlertId
from kuma_sync.store import Tx

WAYS = [Manner(), Manner(javascript=False), Manner(language="ru", javascript=False)]
WORDS = {
    "en": {
        "retry": "Try again",
        "drop": "Give up",
        "release": "Release",
        "resync": "Send anew",
        "close": "Close",
        "pause": "Pause",
        "resume": "Resume",
    },
    "ru": {
        "retry": "Повторить",
        "drop": "Отказаться от алерта",
        "release": "Отпустить",
        "resync": "Отправить заново",
        "close": "Закрыть",
        "pause": "Приостановить",
        "resume": "Продолжить",
    },
}


def said(manner: Manner) -> str:
    return f"{manner.language} {'with' if manner.javascript else 'without'} JavaScript"


@dataclass(kw_only=True)
class Hand:
    """An operator at the browser, and the store behind."""

    visitor: Visitor
    here: Scene

    def word(self, verb: str) -> str:
        """Return what a button says."""
        return WORDS[self.visitor.manner.language][verb]

    async def orders(self, verb: str) -> None:
        """Press a button of the page, then the button that agrees; go on."""
        page = self.visitor.page
        await page.locator("main").get_by_role("link", name=self.word(verb)).first.click()
        await self.agrees()

    async def agrees(self) -> None:
        """Press the button that agrees, and go on."""
        page = self.visitor.page
        await page.wait_for_url("**/orders/**")
        await page.locator("main form button").click()
        await page.locator("main a.button.strong").click()
        await page.wait_for_load_state()

    def ask(self, question: Callable[[Tx], Any]) -> Any:
        """Ask the store."""
        with self.here.store.reading() as tx:
            return question(tx)

    def history(self, alert_id: str) -> list[tuple[str, str]]:
        """Return who did what to an alert."""
        return self.ask(lambda tx: [(one.actor, one.action) for one in tx.audit.history(alert_id)])


@asynccontextmanager
async def hand(browser: Browser, here: Scene, manner: Manner, sessions: dict[str, Any]) -> AsyncIterator[Hand]:
    async with visiting(browser, here.base, manner, sessions[OPERATOR[0]]) as visitor:
        yield Hand(visitor=visitor, here=here)


@pytest.mark.parametrize("manner", WAYS, ids=said)
async def test_a_parked_alert_is_tried_again_then_given_up(
    manner: Manner, browser: Browser, ordered: Scene, signed: dict[str, Any]
) -> None:
    async with hand(browser, ordered, manner, signed) as anna:
        alert_id = ordered.stage.kuma.raise_alert(name=REFUSED, events=1)
        await eventually(lambda: anna.ask(lambda tx: tx.waiting.parked(alert_id)), within=40)

        await anna.visitor.goes(f"/alerts/{alert_id}")
        await anna.orders("retry")
        await eventually(lambda: anna.history(alert_id).count(("kuma-sync", "parked")) == 2, within=40)
        await anna.visitor.goes(f"/alerts/{alert_id}")
        await anna.orders("drop")

        assert ("console:anna", "retry") in anna.history(alert_id)
        assert anna.history(alert_id)[-1] == ("console:anna", "drop")
        assert anna.ask(lambda tx: tx.links.get(AlertId(alert_id)).dropped)
        assert anna.word("resync") in await anna.visitor.text()


@pytest.mark.parametrize("manner", WAYS, ids=said)
async def test_an_alert_is_sent_anew_then_closed_with_a_reason_and_a_comment(
    manner: Manner, browser: Browser, ordered: Scene, signed: dict[str, Any]
) -> None:
    async with hand(browser, ordered, manner, signed) as anna:
        alert_id = ordered.stage.kuma.raise_alert(name="R014. Sent anew, then closed", tenant="Main", events=1)
        await eventually(lambda: anna.ask(lambda tx: tx.overview.state(AlertId(alert_id))) == "open", within=40)
        page = anna.visitor.page

        await anna.visitor.goes(f"/alerts/{alert_id}")
        await anna.orders("resync")
        await page.locator("main").get_by_role("link", name=anna.word("close")).first.click()
        await page.select_option("select[name=reason]", "incorrect data")
        await page.fill("textarea[name=comment]", "<b>a test</b> \u202e of ours")
        await anna.agrees()

        await eventually(lambda: ordered.stage.kuma.alerts[alert_id]["status"] == "closed", within=40)
        await eventually(lambda: ordered.stage.incident(alert_id).status == "closed", within=40)
        assert ordered.stage.kuma.alerts[alert_id]["closingReason"] == "incorrect data"
        assert {("console:anna", "resync"), ("console:anna", "close_ordered")} <= set(anna.history(alert_id))
        await anna.visitor.goes(f"/alerts/{alert_id}")
        assert "<b>a test</b> \\u202e of ours" in await anna.visitor.text()


@pytest.mark.parametrize("manner", WAYS, ids=said)
async def test_a_part_is_paused_for_a_time_and_resumed(
    manner: Manner, browser: Browser, ordered: Scene, signed: dict[str, Any]
) -> None:
    async with hand(browser, ordered, manner, signed) as anna:
        page = anna.visitor.page
        await anna.visitor.goes("/")
        await page.locator("main").get_by_role("link", name=anna.word("pause")).first.click()
        await page.select_option("select[name=for]", "30m")
        await anna.agrees()
        (paused,) = anna.ask(lambda tx: tx.pauses.all())

        assert (paused.part, paused.by) == ("kuma", "console:anna")
        assert (paused.until - paused.since).total_seconds() == 1800
        await anna.visitor.goes("/")
        await anna.orders("resume")
        assert anna.ask(lambda tx: tx.pauses.all()) == []


async def test_a_group_that_grew_meanwhile_is_asked_about_again(
    browser: Browser, ordered: Scene, signed: dict[str, Any]
) -> None:
    async with hand(browser, ordered, Manner(), signed) as anna:
        first = ordered.stage.kuma.raise_alert(name=f"{REFUSED} one more", events=1)
        await eventually(lambda: anna.ask(lambda tx: tx.waiting.parked(first)), within=40)
        page = anna.visitor.page
        await anna.visitor.goes("/waiting")
        await page.locator("main").get_by_role("link", name="Give all").first.click()
        second = ordered.stage.kuma.raise_alert(name=f"{REFUSED} and another", events=1)
        await eventually(lambda: anna.ask(lambda tx: tx.waiting.parked(second)), within=40)

        anna.visitor.refusals.add(409)
        await page.locator("main form button").click()
        await page.wait_for_load_state()

        assert "Nothing was done yet" in await anna.visitor.text()
        assert not anna.ask(lambda tx: tx.links.get(AlertId(first)).dropped)
        await anna.agrees()
        assert anna.ask(lambda tx: tx.links.get(AlertId(first)).dropped)
        assert anna.ask(lambda tx: tx.links.get(AlertId(second)).dropped)


async def test_what_the_brake_holds_is_released(browser: Browser, ordered: Scene, signed: dict[str, Any]) -> None:
    async with hand(browser, ordered, Manner(), signed) as anna:
        create, close = ordered.ids["held create"][-1], ordered.ids["held close"][-1]
        for alert_id in (create, close):
            await anna.visitor.goes(f"/alerts/{alert_id}")
            await anna.orders("release")

        await eventually(lambda: ordered.stage.incidents(create), within=40)
        await eventually(lambda: ordered.stage.kuma.alerts[close]["status"] == "closed", within=40)
        for alert_id in (create, close):
            assert anna.history(alert_id).count(("console:anna", "release")) == 1


async def test_no_form_works_twice(browser: Browser, ordered: Scene, signed: dict[str, Any]) -> None:
    async with hand(browser, ordered, Manner(), signed) as anna:
        alert_id, page = ordered.ids["delivered"][1], anna.visitor.page
        await anna.visitor.goes(f"/orders/resync?alert={alert_id}")
        fields = await sent_by(page)
        await anna.agrees()

        again = await page.request.post(f"{ordered.base}/orders/resync", form=fields)

        assert again.status == 403
        assert anna.history(alert_id).count(("console:anna", "resync")) == 1


async def test_a_viewer_sees_no_orders_and_can_give_none(
    browser: Browser, ordered: Scene, signed: dict[str, Any]
) -> None:
    async with visiting(browser, ordered.base, Manner(), signed[VIEWER[0]]) as visitor:
        alert_id = ordered.one("parked")
        for address in ("/", "/waiting", "/closings", f"/alerts/{alert_id}"):
            await visitor.goes(address)
            assert await visitor.page.locator("main a[href^='/orders/'], main form[method=post]").count() == 0, address

        visitor.refusals.add(403)
        for verb in ("retry", "drop", "release", "resync", "close", "pause", "resume"):
            asked = await visitor.goes(f"/orders/{verb}?alert={alert_id}&part=kuma")
            done = await visitor.page.request.post(
                f"{ordered.base}/orders/{verb}", form={"alert": alert_id, "part": "kuma", "token": "forged"}
            )
            assert (asked.status, done.status) == (403, 403), verb


async def test_a_forged_or_missing_token_does_nothing(browser: Browser, ordered: Scene, signed: dict[str, Any]) -> None:
    async with visiting(browser, ordered.base, Manner(), signed[OPERATOR[0]]) as visitor:
        alert_id = ordered.one("delivered")
        await visitor.goes(f"/orders/drop?alert={alert_id}")
        fields = await sent_by(visitor.page)
        request = visitor.page.request
        for forged in ("", "forged", f"{fields['token']}x"):
            answer = await request.post(f"{ordered.base}/orders/drop", form=fields | {"token": forged})
            assert answer.status == 403
        elsewhere = await request.post(f"{ordered.base}/orders/resync", form=fields)

        assert elsewhere.status == 403
        with ordered.store.reading() as tx:
            assert not {one.actor for one in tx.audit.history(alert_id)} & {"console:anna"}


async def test_by_the_keyboard_alone_an_alert_is_found_and_given_up(
    browser: Browser, ordered: Scene, signed: dict[str, Any]
) -> None:
    async with hand(browser, ordered, Manner(), signed) as anna:
        alert_id = ordered.stage.kuma.raise_alert(name=f"{REFUSED} by keyboard", events=1)
        await eventually(lambda: anna.ask(lambda tx: tx.waiting.parked(alert_id)), within=40)
        page = anna.visitor.page
        await anna.visitor.goes("/alerts")

        await _tab_to(page, "input[name=q]")
        await page.keyboard.type("by keyboard")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**q=by+keyboard**")
        await _tab_to(page, f"a[href='/alerts/{alert_id}']")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/alerts/{alert_id}")
        await _tab_to(page, "a[href^='/orders/drop']")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/orders/drop**")
        await _tab_to(page, "main form button")
        await page.keyboard.press("Enter")
        await page.wait_for_load_state()

        await eventually(lambda: anna.ask(lambda tx: tx.links.get(AlertId(alert_id)).dropped), within=15)


async def sent_by(page: Page) -> dict[str, str]:
    """Return the hidden fields of a page that asks."""
    fields = await page.locator("main form input[type=hidden]").all()
    return {str(await one.get_attribute("name")): str(await one.get_attribute("value")) for one in fields}


async def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus, and see that the focus is shown."""
    for _ in range(120):
        await page.keyboard.press("Tab")
        if await page.evaluate("selector => document.activeElement.matches(selector)", selector):
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", selector
            return
    raise AssertionError(f"Tab never came to {selector}")
