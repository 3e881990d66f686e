"""What the first page of the console tells, and Parked and held beside it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from builders import a_link, an_alert
from console_stage import OpenConsole, console_at, text_of

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents
from kuma_sync.core.condition import Trouble
from kuma_sync.store import Process, Shape, Shown
from kuma_sync.store.activity import Counts
from kuma_sync.sync.runtime.runner import Runtime

BEGAN = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


def works(console: OpenConsole, *troubles: Trouble) -> None:
    """Let a daemon have said that it works, and what fails."""
    now = console.clock.now
    process = Process(owner="vm:1:x", host="vm", pid=1, version="1", started_at=now, single_pass=False)
    with console.store.writing() as tx:
        tx.heartbeats.beat(process, troubles)


def keep(console: OpenConsole, *names: str, **marks: object) -> None:
    """Store alerts."""
    with console.store.writing() as tx:
        for name in names:
            snapshot = AlertSnapshot(alert=an_alert(id=AlertId(name)))
            shown = Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None, contents=Contents())
            tx.alerts.save([shown], now=tx.now, sweep=0)
            tx.links.add([a_link(alert_id=AlertId(name), **marks)], now=tx.now)


def tone_of(page: str) -> str:
    """Return the tone of the first note on a page."""
    found = re.search(r'class="note (\w+)', page)
    return found[1] if found else ""


async def test_what_is_held_is_the_headline_and_not_green(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        works(console)
        keep(console, "a", "b", held_create=True)
        overview, waiting = await anna.sees("/"), await anna.sees("/waiting")

    for page in (overview, waiting):
        assert tone_of(page.text) == "warn"
        assert "2 of 2 open alerts wait for a person: 2 held by the brake since" in text_of(page)
    assert "more new at once than brake.max_new allows The brake holds 2 new incidents" in text_of(waiting)


async def test_a_refused_configuration_is_the_headline_with_a_link(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        works(
            console,
            Trouble(
                part="configuration", state="refused", reason="poll.x: is not a known key", since=console.clock.now
            ),
        )
        console.health.refused("poll.x: is not a known key")
        page, russian = await anna.sees("/"), await anna.sees("/", **{"Accept-Language": "ru"})

    assert tone_of(page.text) == "warn"
    assert "The configuration on disk is refused since" in text_of(page)
    assert "poll.x: нет такого ключа" in text_of(russian)
    assert 'href="/configuration">' in page.text.partition("<main")[2]


async def test_the_queues_have_both_sides_even_when_nothing_waits(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        works(console)
        keep(console, "a", held_create=True)
        page = text_of(await anna.sees("/"))

    assert "Queues Towards due held parked Oldest the IRP 0 1 0 – KUMA 0 0 0 –" in page


async def test_what_was_done_a_moment_ago_is_counted(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        works(console)
        console.metrics.alerts.labels(change="new").inc(3)
        page = text_of(await anna.sees("/"))
        with console.store.reading() as tx:
            stored = tx.happened.slots()[-1].kuma

    assert stored == Counts(arrived=3)
    assert "Alerts flow: 3 new in the last hour" in page


async def test_an_irp_out_of_reach_is_not_told_as_a_colleagues_pause(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        works(console)
        console.health.succeeded("delivery")
        console.health.paused("irp", "answered 503")
        console.health.trouble("close", "watch", "watch: answered 503")
        page = text_of(await anna.sees("/"))

    assert "IRP stopped" in page
    assert "delivery to the IRP waiting" in page
    assert "looking for closed incidents in the IRP failing –" in page
    assert "closing in KUMA failing" not in page
    assert "Pause: closing in KUMA" in page


async def test_what_fails_under_a_pause_is_in_the_headline_and_with_its_part(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        works(
            console,
            Trouble(part="irp", state="paused", reason="answered 503", since=console.clock.now, maintained=True),
        )
        with console.store.writing() as tx:
            tx.pauses.begin("irp", until=None, by="console:anna")
        console.health.paused("irp", "answered 503")
        console.health.maintained({"irp": "an operator paused irp"})
        page, russian = await anna.sees("/"), await anna.sees("/", **{"Accept-Language": "ru"})

    text = text_of(page)
    assert re.search(r"Кроме того, не работает с .*?: ответ 503", text_of(russian).partition("Части")[0])
    assert tone_of(page.text) == "warn"
    assert text.index("irp is paused (by console:anna") < text.index("It also fails since") < text.index("Parts")
    assert "IRP paused – an operator paused irp It also fails: answered 503" in text


async def test_it_says_when_an_irp_that_is_away_is_tried_next(tmp_path: Path, sqlite_url: str) -> None:
    away = Trouble(part="irp", state="paused", reason="answered 503", since=BEGAN)
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        console.clock.now = BEGAN
        works(console, away)
        console.health.paused("irp", "answered 503")
        console.runtime = cast("Runtime", SimpleNamespace(tries={"irp": BEGAN + timedelta(seconds=30)}))
        page, russian = await anna.sees("/"), await anna.sees("/", **{"Accept-Language": "ru"})
        console.health.succeeded("irp")
        well = await anna.sees("/")

    assert re.search(r"and are tried again at \d\d:00:30 UTC \(in 30 seconds\) : answered 503", text_of(page))
    assert re.search(r"IRP stopped – answered 503 Next try: \d\d:00:30 UTC \(in 30 seconds\) Pause", text_of(page))
    assert text_of(russian).count(":00:30 UTC (через 30 секунд)") == 2
    assert "Next try" not in text_of(well)


async def test_an_irp_that_never_asked_has_no_last_success(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        works(console)
        console.health.presumed("irp")
        page = text_of(await anna.sees("/"))

    assert "IRP well – Pause IRP" in page


async def test_nothing_parked_is_not_green_while_something_else_is_wrong(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        works(console, Trouble(part="irp", state="failing", reason="answered 503", since=console.clock.now))
        page = await anna.sees("/waiting")

    assert tone_of(page.text) == "bad"
    assert "Deliveries to irp stand still" in text_of(page)
    assert "Nothing is parked or held." in text_of(page)
