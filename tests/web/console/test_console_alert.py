"""The page of one alert: what an IRP that polls us was given, and looks at very many or very long events."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from builders import a_link, an_alert
from console_stage import console_at, text_of
from httpx import Response

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents
from kuma_sync.core.handout import Asked
from kuma_sync.core.link import DeliveredState, Link, Offered
from kuma_sync.store import Shape, Shown, Tx
from kuma_sync.store.handouts import Handout, Text, as_json
from kuma_sync.web.console.pages.alert import MOST_EVENTS

ALERT = AlertId("a1")


def keep(tx: Tx, link: Link | None = None, events: Sequence[dict[str, Any]] = ()) -> None:
    """Store an alert with its link and its events."""
    snapshot = AlertSnapshot(alert=an_alert(id=ALERT), event_ids=frozenset({b"e" * 16}))
    contents = Contents(events=tuple(events))
    shown = Shown(snapshot=snapshot, shape=Shape.CONTENTS, digest=None, contents=contents)
    tx.alerts.save([shown], now=tx.now, sweep=0)
    tx.links.add([link or a_link(alert_id=ALERT)], now=tx.now)


def put_out(tx: Tx, text: str) -> None:
    tx.handouts.put([Handout(alert=an_alert(id=ALERT), target="irp", head=Text.of(as_json({"name": text})))])


def take(tx: Tx) -> None:
    """Let the IRP have taken what is put out."""
    tx.handouts.delivered(tx.handouts.by_id("irp", Asked(), [ALERT]))


async def test_for_an_irp_that_polls_us_it_says_what_was_taken(tmp_path: Path, database_url: str) -> None:
    offered = Offered(sent=DeliveredState(events=frozenset({b"e" * 16})))
    async with console_at(tmp_path, database_url) as console, console.signed_in() as anna:
        await console.store.write(lambda tx: keep(tx, replace(a_link(alert_id=ALERT), state=offered)))
        pages = list[str]()
        for change in (lambda tx: put_out(tx, "first"), take, lambda tx: put_out(tx, "second"), take):
            await console.store.write(change)
            pages.append(text_of(await anna.sees(f"/alerts/{ALERT}")))

    assert [bool(re.search("Handed out nothing yet: this IRP asks us", page)) for page in pages] == [True, *[False] * 3]
    assert ["yes, all was taken" in page for page in pages] == [False, True, False, True]
    assert ["a change was not taken yet" in page for page in pages] == [True, False, True, False]
    assert ["Events handed out 0 of 1" in page for page in pages] == [True, *[False] * 3]
    assert not [page for page in pages if "Events sent" in page or "There is no incident yet" in page]


async def test_the_newest_of_very_many_events_are_shown_and_each_value_in_part(
    tmp_path: Path, database_url: str
) -> None:
    many = [
        {"ID": f"e{number}", "Timestamp": 1_796_000_000_000 + number, "Name": f"n{number:04}." + "x" * 9_000}
        for number in range(MOST_EVENTS + 50)
    ]
    async with console_at(tmp_path, database_url) as console, console.signed_in() as anna:
        await console.store.write(lambda tx: keep(tx, events=many))
        page = await anna.sees(f"/alerts/{ALERT}?show=events")

    assert f"{len(many)} events · the newest {MOST_EVENTS} are shown" in text_of(page)
    shown = re.findall(r"n(\d{4})\.x+…", page.text)
    assert shown == [f"{number:04}" for number in reversed(range(50, len(many)))]
    assert len(page.text) < MOST_EVENTS * 2_000


async def test_a_look_at_a_large_alert_leaves_the_loop_to_other_work(tmp_path: Path, sqlite_url: str) -> None:
    events = [
        {"ID": f"e{number}", "Timestamp": number, **{f"Field{column:04}": "v" * 28 for column in range(1_000)}}
        for number in range(300)
    ]
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        await console.store.write(lambda tx: keep(tx, events=events))
        shares = [await _share_blocked(anna.sees(f"/alerts/{ALERT}?show=events")) for _ in range(3)]

    assert min(shares) < 0.5, "of the time that it takes, the event loop stands still for so much at a stretch"


async def _share_blocked(look: Awaitable[Response]) -> float:
    """Return which part of the time that a look takes is the longest in which the loop did not turn."""
    longest, last, began = 0.0, time.monotonic(), time.monotonic()
    looking = asyncio.ensure_future(look)
    while not looking.done():
        await asyncio.wait({looking}, timeout=0.002)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert (await looking).status_code == 200
    return longest / (last - began)
