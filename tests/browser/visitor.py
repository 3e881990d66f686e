"""One person at a browser: a language, a width, a role; whatever the browser complains about is remembered.

A page is right if nothing was written to the browser's console, nothing failed, and nobody but the daemon was asked.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response

WIDE, NARROW = 1440, 360
HEIGHT = 900
HIGHEST = 1600
"""Pixels of a picture: pictures are kept with the code."""

LOCALES = {"en": "en-GB", "ru": "ru-RU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How somebody looks at the console."""

    language: str = "en"
    width: int = WIDE
    javascript: bool = True
    dark: bool = False
    zone: str = "Europe/Moscow"


@dataclass(kw_only=True)  # without slots: Playwright hangs its own attributes on it
class Visitor:
    """A page of the browser, and what went wrong in it."""

    page: Page
    base: str
    manner: Manner
    troubles: list[str] = field(default_factory=list)
    refusals: set[int] = field(default_factory=set)
    """Statuses that the test expects."""

    async def goes(self, path: str) -> Response:
        """Open a page of the console."""
        answer = await self.page.goto(self.base + path)
        assert answer is not None
        assert answer.status < 400 or answer.status in self.refusals, await self.text()
        return answer

    async def signs_in(self, name: str, password: str) -> None:
        """Sign in by the form."""
        await self.goes("/sign-in")
        await self.page.fill("input[name=name]", name)
        await self.page.fill("input[name=password]", password)
        await self.page.click("main form button")
        await self.page.wait_for_url(lambda url: not urlsplit(url).path.startswith("/sign-in"))

    async def presses(self, words: str | re.Pattern[str]) -> None:
        """Press the first button or link that says this, and wait for the page it leads to."""
        there = self.page.locator("main").get_by_role("button", name=words)
        if not await there.count():
            there = self.page.locator("main").get_by_role("link", name=words)
        await there.first.click()
        await self.page.wait_for_load_state()

    async def text(self) -> str:
        """Return what the page's main part says."""
        return await self.page.inner_text("main")

    async def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    async def too_wide(self) -> list[str]:
        """Name what stands out beyond the window, for the message of an assertion."""
        return list(await self.page.evaluate(_TOO_WIDE))

    async def pictured(self, path: Path) -> None:
        """Write a picture of the page, of a very long one its beginning."""
        path.parent.mkdir(exist_ok=True)
        height = await self.page.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": self.manner.width, "height": min(int(height), HIGHEST)}
        await self.page.screenshot(path=path, full_page=True, clip=clip)

    async def barriers(self) -> list[str]:
        """Ask axe what keeps people out, by WCAG 2.2 A and AA and its own best practices; one line each."""
        found = await Axe().run(self.page)
        return [
            f"{one['id']} ({one['impact']}): {one['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:200]}"
            for one in found.response["violations"]
            for node in one["nodes"][:3]
        ]

    def heard(self, message: ConsoleMessage) -> None:
        """Note a line in the browser's console, unless it is about a refusal that the test expects."""
        expected = any(f"status of {status}" in message.text for status in self.refusals)
        if message.type in ("error", "warning") and not expected:
            self.troubles.append(f"console: {message.text} ({message.location.get('url', '')})")

    def asked(self, request: Request) -> None:
        """Note a request to anybody but the daemon."""
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.netloc != urlsplit(self.base).netloc:
            self.troubles.append(f"asked somebody else: {request.url}")

    def failed(self, request: Request) -> None:
        """Note a request without an answer, unless the page was left meanwhile."""
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"failed: {request.url}: {request.failure}")

    def answered(self, answer: Response) -> None:
        """Note a refusal that the test does not expect."""
        if answer.status >= 400 and answer.status not in self.refusals:
            self.troubles.append(f"{answer.status}: {answer.url}")


_TOO_WIDE = """() => {
  const wide = window.innerWidth + 1;
  return [...document.querySelectorAll('body *')]
    .filter(one => one.getBoundingClientRect().right > wide && !one.closest('.wide, svg, .unseen'))
    .slice(0, 5).map(one => one.outerHTML.slice(0, 120));
}"""


@asynccontextmanager
async def visiting(browser: Browser, base: str, manner: Manner, state: Any = None) -> AsyncIterator[Visitor]:
    """Open a browser's window; afterwards nothing may have gone wrong in it. `state`: somebody's session."""
    context = await browser.new_context(
        locale=LOCALES[manner.language],
        viewport={"width": manner.width, "height": HEIGHT},
        java_script_enabled=manner.javascript,
        color_scheme="dark" if manner.dark else "light",
        timezone_id=manner.zone,
        storage_state=state,
        bypass_csp=False,
    )
    try:
        context.set_default_timeout(15_000)
        visitor = Visitor(page=await context.new_page(), base=base, manner=manner)
        context.on("console", visitor.heard)
        context.on("weberror", lambda error: visitor.troubles.append(f"script: {error.error}"))
        context.on("request", visitor.asked)
        context.on("requestfailed", visitor.failed)
        context.on("response", visitor.answered)
        yield visitor
        assert not visitor.troubles, visitor.troubles
    finally:
        await context.close()
