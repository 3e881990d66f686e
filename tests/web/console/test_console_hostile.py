"""What KUMA, an IRP or a visitor may write where a word of ours or a plain id is expected: it is text, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from builders import a_link, an_alert
from console_stage import console_at, text_of

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents
from kuma_sync.store import Shape, Shown, Tx
from kuma_sync.web.console.rendering import _HERE

ODD = "<img src=x onerror=alert(1)> 100% %(x)s \u202e"
ALERT = "a1"


def keep(tx: Tx, **fields: Any) -> None:
    snapshot = AlertSnapshot(alert=an_alert(id=AlertId(ALERT), **fields))
    tx.alerts.save(
        [Shown(snapshot=snapshot, shape=Shape.CONTENTS, digest=None, contents=Contents())], now=tx.now, sweep=0
    )
    tx.links.add([a_link(alert_id=AlertId(ALERT))], now=tx.now)


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_what_stands_in_place_of_a_known_word_is_text(tmp_path: Path, sqlite_url: str, language: str) -> None:
    odd = dict.fromkeys(("priority", "status", "closing_reason", "assignee", "tenant_name"), ODD)
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in(**{"Accept-Language": language}) as anna:
        await console.store.write(lambda tx: keep(tx, **odd))
        answers = [await anna.sees(path) for path in ("/alerts", f"/alerts/{ALERT}")]

    assert [answer.status_code for answer in answers] == [200, 200]
    for answer in answers:
        assert "<img src=x" not in answer.text
        assert "<img src=x onerror=alert(1)> 100% %(x)s \\u202e" in text_of(answer)


async def test_an_empty_word_is_shown_empty_in_russian_too(tmp_path: Path, sqlite_url: str) -> None:
    async with console_at(tmp_path, sqlite_url) as console, console.signed_in(**{"Accept-Language": "ru"}) as anna:
        await console.store.write(lambda tx: keep(tx, priority="", status=""))
        answers = [await anna.sees(path) for path in ("/alerts", f"/alerts/{ALERT}")]

    assert [answer for answer in answers if "Content-Type" in answer.text] == []


@pytest.mark.parametrize("path", sorted((_HERE / "templates").iterdir()), ids=lambda path: path.name)
def test_templates_translate_as_html_only_what_stands_in_them(path: Path) -> None:
    assert re.findall(r"""(?<![\w.])(?:_|gettext)\(\s*[^"'\s][^)]*\)""", path.read_text()) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/alerts/%00", 404),
        ("/alerts/a%00b?show=events", 404),
        ("/alerts?tenant=%00&q=%00", 200),
        ("/waiting/%00?after=%00", 404),
        *((f"/orders/{verb}?alert=%00", 409) for verb in ("retry", "drop", "release", "resync", "close")),
    ],
)
async def test_an_address_that_no_store_can_look_for_is_simply_not_there(
    tmp_path: Path, database_url: str, path: str, status: int
) -> None:
    async with console_at(tmp_path, database_url) as console, console.signed_in() as anna:
        answer = await anna.sees(path)

    assert answer.status_code == status, text_of(answer)


async def test_a_form_that_no_store_can_look_for_orders_nothing(tmp_path: Path, database_url: str) -> None:
    async with console_at(tmp_path, database_url) as console, console.signed_in() as anna:
        await console.store.write(keep)
        token = await anna.token(f"/orders/drop?alert={ALERT}", "/orders/drop")
        answer = await anna.sends("/orders/drop", {"token": token, "alert": "a\0b"})

    assert answer.status_code == 409, text_of(answer)
