"""What waits for a person, closings and orders, as their pages tell them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import a_link, an_alert
from console_stage import console_at, text_of

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents
from kuma_sync.store import Lane, Put, Shape, Shown, Tx
from kuma_sync.telemetry.health import PartState, State
from kuma_sync.web.console.pages.closings import unknown
from kuma_sync.web.console.pages.orders import away
from kuma_sync.web.console.words import Preferences, Words


def keep(tx: Tx, *ids: str, **marks: object) -> None:
    for alert_id in ids:
        alert = an_alert(id=AlertId(alert_id), name=f"rule {alert_id}", priority="critical", tenant_name="Kazan")
        shown = Shown(snapshot=AlertSnapshot(alert=alert), shape=Shape.LISTING, digest=None, contents=Contents())
        tx.alerts.save([shown], now=tx.now, sweep=0)
        tx.links.add([a_link(alert_id=AlertId(alert_id), **marks)], now=tx.now)


def group_on(page: str) -> str:
    return page.split('aria-labelledby="group-', 1)[1].split('"', 1)[0]


async def test_a_group_shows_priority_and_tenant_and_says_its_reason_once(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        await console.store.write(lambda tx: keep(tx, "a", "b", held_create=True))
        waiting = await anna.sees("/waiting")
        group = await anna.sees(f"/waiting/{group_on(waiting.text)}")

    assert [waiting.text.count(f"/orders/{verb}?") for verb in ("release", "drop")] == [1, 1]
    assert "Give all 2 up" in text_of(waiting)
    assert "rule a a · critical rule b b · critical" in text_of(waiting)
    assert text_of(group).count("more new at once than brake.max_new allows") == 1
    assert text_of(group).count("critical Kazan") == 2
    for page in (waiting, group):
        assert "The brake holds 2 new incidents; by now it has no limit for them (brake.max_new)." in text_of(page)
    assert "It concerns the IRP (sv.example.com)." in text_of(group)


async def test_who_did_it_is_said_in_words_and_a_person_by_name(tmp_path: Path, sqlite_url: str) -> None:
    def closed(tx: Tx) -> None:
        keep(tx, "a")
        for who, deed in (("kuma", "alert_closed"), ("irp", "incident_closed"), ("anna", "close_refused")):
            tx.audit.note(who, deed, "a")
        tx.audit.note("watch", "close_ordered", "a")
        tx.audit.note("kuma-sync", "closed_in_kuma", "a")
        keep(tx, "b")
        tx.closes.put([Put(subject="b", lane=Lane.CLOSE, payload={"by": "watch", "reason": "responded"})])

    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        await console.store.write(closed)
        pages = [
            text_of(await anna.sees(path, **{"Accept-Language": language}))
            for language in ("en", "ru")
            for path in ("/closings", "/alerts/a")
        ]

    for page, somebody in zip(pages, ["somebody in the IRP"] * 2 + ["кто-то в IRP"] * 2, strict=True):
        assert page.count(somebody) == (3 if "rule b b" in page else 2)
        assert not re.search(r"(rule a a|·) (kuma|irp|watch) ", page)
        assert re.search(r"(rule a a|·) anna\b", page)


async def test_alerts_without_a_route_offer_nothing_to_press(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        await console.store.write(lambda tx: keep(tx, "a", target=""))
        pages = [await anna.sees(path) for path in ("/", "/waiting", "/alerts/a")]
        waiting = text_of(pages[1])

    for page in pages[:2]:
        assert "Tell the administrator: a route is needed for these alerts." in text_of(page)
    assert "brake" not in waiting
    assert "/orders/resync" not in pages[2].text


@pytest.mark.parametrize(("filters", "offered"), [("", True), ("?sort=name&order=up", True), ("?q=rule", False)])
async def test_all_alerts_are_sent_anew_whatever_their_order(
    tmp_path: Path, sqlite_url: str, filters: str, offered: bool
) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in() as anna:
        await console.store.write(lambda tx: keep(tx, "a"))
        page = await anna.sees(f"/alerts{filters}")

    assert ("/orders/resync?" in page.text) == offered


def test_while_an_irp_cannot_be_asked_its_closings_are_not_known_and_orders_wait() -> None:
    parts = {
        "kuma": PartState(state=State.OK),
        "irp": PartState(state=State.PAUSED, age_seconds=120, reason="answered 503"),
        "irp:north": PartState(state=State.PAUSED, reason="an operator paused north", maintenance=True),
        "delivery": PartState(state=State.FAILING),
    }

    assert [str(one) for one in unknown(parts)] == [
        "What was closed in the IRP is not known for 2 min: answered 503",
        "What was closed in north is not known: an operator paused it",
    ]
    russian = Words(Preferences(language="ru", zone="UTC", theme="auto"), datetime.now(UTC))
    assert "IRP: ответ 503" in russian.sentence(unknown(parts)[0])
    assert str(away(parts)[0]).startswith("the IRP is out of reach now: answered 503. What you order waits")
