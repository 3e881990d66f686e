"""The pages after a busy day: many alerts, many pages of them, charts with something to show."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from playwright.async_api import Browser
from scene import OPERATOR, REFUSED, Scene, scene
from stage import ago
from visitor import Manner, visiting

from kuma_sync.app.build import open_store
from kuma_sync.store.activity import SLOT, Counts, slot_of

PAGES = {
    "overview": "/",
    "alerts": "/alerts",
    "alerts-of-one-state": "/alerts?state=parked",
    "alerts-by-name": "/alerts?q=lsass&sort=name",
    "waiting": "/waiting",
    "closings": "/closings",
    "passes": "/passes",
}


@pytest.mark.timeout(600)
async def test_after_a_busy_day_every_page_is_whole(browser: Browser, tmp_path: Path, pictures: Path | None) -> None:
    """Where pictures are wanted the day has 5,000 alerts, else 300."""
    number = 5_000 if pictures else 300
    async with scene(tmp_path, poll={"interval": "5s"}, irp={"concurrency": 16}) as here:
        await _busy_day(here, number)
        async with visiting(browser, here.base, Manner()) as visitor:
            await visitor.signs_in(*OPERATOR)
            for name, address in PAGES.items():
                answer = await visitor.goes(address)

                assert answer.status == 200, name
                assert await visitor.overflow() <= 0, f"{name}: {await visitor.too_wide()}"
                if pictures and name in ("overview", "alerts"):
                    await visitor.pictured(pictures / f"console-busy-{name}.{visitor.manner.language}.png")

            await visitor.goes("/alerts")
            seen, pages = set[str](), 0
            while True:
                pages += 1
                links = await visitor.page.locator("tbody th a").all()
                seen |= {str(await link.get_attribute("href")) for link in links}
                older = visitor.page.locator("a[rel=next]")
                if pages > number // 50 or not await older.count():
                    break
                await older.click()
                await visitor.page.wait_for_load_state()
            assert len(seen) == number
            assert pages == math.ceil(number / 50)


async def _busy_day(here: Scene, number: int) -> None:
    kuma, refused = here.stage.kuma, number // 100
    here.stage.irp.knobs.reject_titles = "R077"
    for place in range(number):
        name = REFUSED if place < refused else None if place % 3 else f"R041. Доступ к «lsass.exe» на ws-{place:04}"
        # None of the refused names by chance.
        name = name or f"R058. SSH brute force from 192.0.2.{place % 250}"
        kuma.raise_alert(name=name, events=1, seen=ago(seconds=86_000 * place / number))
    await here.until(within=400, parked=refused, open=number - refused)
    for incident in list(here.stage.irp.incidents.values())[:20]:
        here.stage.irp.analyst_close(incident.id, "Resolved")
    await here.until(within=60, closed=20)
    _remember_the_day(here)


def _remember_the_day(here: Scene) -> None:
    """Let the store remember a day of deliveries: this process has worked for a minute only."""
    store = open_store(here.stage.settings())
    try:
        with store.writing() as tx:
            for step in range(1, 288):
                busy = 20 + round(15 * math.sin(step / 40))
                kuma = Counts(arrived=busy, closed=busy // 6)
                irp = Counts(delivered=busy, waited=busy * 0.8, longest=0.5 + (step * 7 % 23) / 5, closed=busy // 8)
                tx.activity.add("yesterday", slot_of(tx.now) - step * SLOT, {"": kuma, "irp": irp})
    finally:
        store.close()
