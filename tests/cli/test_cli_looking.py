"""Looking: a page at a time, why and in which direction something waits, and what a human calls an alert."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prompt import World, ask, world

from kuma_sync.cli.look import PAGE
from kuma_sync.core.plan import CLOSING_HELD, CREATE_HELD


async def passed(w: World) -> int:
    return (await ask("run", "--once", *w.c)).code


async def test_alerts_are_shown_a_page_at_a_time_with_how_many_more(tmp_path: Path, sqlite_url: str) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        for _ in range(PAGE + 7):
            w.kuma.raise_alert(events=0)
        w.kuma.knobs.strays = ["no alert"]
        assert await passed(w) == 1

        page, all_of_them = await ask("alerts", *w.c), await ask("alerts", "--limit", "100", *w.c)
        by_state = await ask("alerts", "--state", "open", *w.c)
        as_json = (await ask("alerts", "--json", *w.c)).json

    assert len(page.out.splitlines()) == 1 + PAGE + 1
    assert page.out.splitlines()[-1] == f"… and 8 more: `kuma-sync alerts --limit {PAGE + 8}`"
    assert len(all_of_them.out.splitlines()) == 1 + PAGE + 8
    assert by_state.out.splitlines()[-1] == f"… and 7 more: `kuma-sync alerts --state open --limit {PAGE + 7}`"
    assert len(as_json) == PAGE + 8


async def test_held_rows_say_why_and_in_which_direction_in_every_list(tmp_path: Path, either_url: str) -> None:
    brake = {"max_new": 4, "max_closed_percent": 1, "min_alerts": 1}
    async with world(tmp_path, brake=brake, store={"url": either_url}) as w:
        to_irp, to_kuma, *_ = [w.kuma.raise_alert() for _ in range(4)]
        assert await passed(w) == 0
        w.kuma.close(to_irp)
        incident = next(one for one in w.irp.incidents.values() if one.external_id.endswith(to_kuma))
        w.irp.analyst_close(incident.id, "False positive")
        for _ in range(5):
            w.kuma.raise_alert()
        await passed(w)

        rows = {row["alert_id"]: row for row in (await ask("alerts", "--state", "held", "--json", *w.c)).json}
        (created,) = [name for name, row in rows.items() if not row["incident_id"]]
        table, status = await ask("alerts", "--state", "held", *w.c), await ask("status", *w.c)
        found = (await ask("status", "--json", *w.c)).json["held"]
        shown = [(await ask("show", one, *w.c)).out for one in (to_irp, to_kuma, created)]

    assert {name: (row["towards"], row["reason"]) for name, row in rows.items()} == {
        to_irp: ("irp", CLOSING_HELD),
        to_kuma: ("kuma", CLOSING_HELD),
        created: ("irp", CREATE_HELD),
    }
    for text in (table.out, status.out):
        assert re.search(f"{to_irp} .*the IRP .*{re.escape(CLOSING_HELD)}", text)
        assert re.search(f"{to_kuma} .*KUMA .*{re.escape(CLOSING_HELD)}", text)
        assert re.search(f"{created} .*the IRP .*{re.escape(CREATE_HELD)}", text)
    assert sorted((one["id"], one["what"], one["towards"]) for one in found) == sorted(
        [(to_irp, "close", "irp"), (to_kuma, "close", "kuma"), (created, "create", "irp")]
    )
    assert f"held towards the IRP  {CLOSING_HELD}" in shown[0]
    assert f"held towards KUMA  {CLOSING_HELD}" in shown[1]
    assert f"held towards the IRP  {CREATE_HELD}" in shown[2]


async def test_parked_rows_say_why_and_in_which_direction_in_every_list(tmp_path: Path, either_url: str) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        to_kuma, refused = w.kuma.raise_alert(), w.kuma.raise_alert(name="refused")
        w.irp.knobs.reject_titles = "refused"
        assert await passed(w) == 1
        w.kuma.knobs.disabled_tenants = {w.kuma.alerts[to_kuma]["tenantID"]}
        assert (await ask("close", to_kuma, "--reason", "responded", *w.c)).code == 0
        await passed(w)

        rows = {row["alert_id"]: row for row in (await ask("alerts", "--state", "parked", "--json", *w.c)).json}
        table, status = await ask("alerts", "--state", "parked", *w.c), await ask("status", *w.c)
        shown = [(await ask("show", one, *w.c)).out for one in (to_kuma, refused)]

    assert rows[to_kuma]["towards"] == "kuma"
    assert rows[refused]["towards"] == "irp"
    for text in (table.out, status.out):
        assert re.search(f"{to_kuma} .*KUMA .*tenant disabled", text)
        assert re.search(f"{refused} .*the IRP .*422", text)
    assert "on the close queue, towards KUMA: parked, 1 failed attempts: tenant disabled" in shown[0]
    assert "on the delivery queue, towards the IRP: parked" in shown[1]


@pytest.mark.parametrize("said", ["INC-000002", "inc-000002", "the incident's id", "exfiltration", "Вход", "ВХОД ПОД"])
async def test_show_finds_by_the_incident_and_by_name(tmp_path: Path, sqlite_url: str, said: str) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        w.kuma.raise_alert(name="R001. Подбор пароля", seen="2026-01-01T00:00:00Z")
        assert await passed(w) == 0
        wanted = w.kuma.raise_alert(name="R002. Вход под учётной записью, data Exfiltration")
        assert await passed(w) == 0
        incident = next(one for one in w.irp.incidents.values() if one.external_id.endswith(wanted))

        shown = await ask("show", incident.id if said == "the incident's id" else said, *w.c)

    assert shown.code == 0
    assert shown.out.startswith(f"{wanted}  open\n")


async def test_a_name_of_several_alerts_lists_them(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        ids = [w.kuma.raise_alert(name=f"Brute \x1b[31m force {number}") for number in range(7)]
        assert await passed(w) == 0

        several, none = await ask("show", "brute", *w.c), await ask("show", "no such name", *w.c)
        exact = await ask("show", "brute \x1b[31m FORCE 3", *w.c)

    assert several.code == none.code == 1
    assert several.sentence.startswith("kuma-sync: 7 alerts have 'brute' in their name, say which: ")
    assert several.sentence.endswith("; and 2 more")
    assert "\x1b" not in several.sentence
    assert "there is no alert 'no such name' here" in none.sentence
    assert exact.out.startswith(ids[3])


async def test_an_order_takes_an_incident_but_never_a_part_of_a_name(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert(name="Brute force")
        assert await passed(w) == 0

        by_name = await ask("close", "Brute force", "--reason", "responded", *w.c)
        by_incident = await ask("close", "INC-000001", "--reason", "responded", *w.c)

    assert by_name.code == 1
    assert by_incident.out.startswith(f"{alert} will be closed in KUMA and in the IRP")


async def test_times_are_said_as_they_lie_before_now_beside_the_exact_ones(tmp_path: Path) -> None:
    exact_and_ago = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \(\d+ (s|min|h|d) ago\)"
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert()
        assert await passed(w) == 0

        table, shown, status = [await ask(*words, *w.c) for words in (["alerts"], ["show", alert], ["status"])]

    assert re.search(r"\d+ (s|min) ago, \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", table.out)
    assert re.search(f"last seen +{exact_and_ago}", shown.out)
    assert re.search(rf"{exact_and_ago} +kuma-sync +created", shown.out)
    assert re.search(f"last complete sweep {exact_and_ago}", status.out)


async def test_while_the_configuration_is_refused_the_store_can_be_looked_at(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert_id = w.kuma.raise_alert()
        assert await passed(w) == 0
        w.config.write_text(w.config.read_text() + "\n[brake]\nmax_newest = 5\n")

        listed, shown = await ask("alerts", *w.c), await ask("show", alert_id, *w.c)
        live = await ask("show", "--live", alert_id, *w.c)

    assert (listed.code, shown.code, live.code) == (2, 2, 2)
    assert alert_id in listed.out
    assert alert_id in shown.out
    for answer in (listed, shown):
        assert "the configuration on disk is refused: brake.max_newest: " in answer.sentence
