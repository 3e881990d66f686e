"""`compare`: what is lost, doubled, different or half closed on real sockets, and what explains itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prompt import IRP_TOKEN, Answered, World, ask, daemon, shell, until, world

from kuma_sync.irp.load import profile_text
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.server import SimServer

Bent = Callable[[World], None]


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [one["alert_id"] for one in found]


async def compared(w: World, *words: str) -> Answered:
    """Compare as JSON, in a process's own words."""
    return await ask("compare", "--json", *words, *w.c)


async def with_alerts(w: World, *names: str) -> None:
    """Let these alerts have their incidents, and nothing wait."""
    for name in names:
        w.kuma.raise_alert(id=name)
    assert (await ask("run", "--once", *w.c)).code == 0


def incident(w: World, alert_id: str) -> Any:
    (found,) = w.irp.by_key(f"kuma:kuma:{alert_id}")
    return found


@asynccontextmanager
async def north(w: World) -> AsyncIterator[tuple[IrpSim, tuple[str, str]]]:
    """Start a second IRP, to which critical alerts go; yield it, and the option that names its configuration."""
    irp = IrpSim(token=IRP_TOKEN)
    async with SimServer(irp.app) as server:
        target = {"profile": "security-vision", "url": server.url, "token": IRP_TOKEN}
        yield irp, w.configured(targets={"north": target}, route=[{"priorities": ["critical"], "target": "north"}])


async def test_sides_that_agree_are_told_with_their_numbers(tmp_path: Path, either_url: str) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        await with_alerts(w, "alert-1", "alert-2", "alert-3")
        w.kuma.close("alert-3", "responded")
        assert (await ask("run", "--once", *w.c)).code == 0
        writes = len(w.irp.writes)

        answer = await ask("compare", *w.c)
        as_json = await compared(w, "--closed")

    assert answer.code == as_json.code == 0, answer
    assert answer.out.splitlines()[-1] == "both sides agree"
    assert answer.lines("alerts that KUMA lists") == ["alerts that KUMA lists   2"]
    assert (as_json.json["listed"], as_json.json["asked_by_id"], as_json.json["agreeing"]) == (2, 1, 3)
    assert as_json.json["incidents"] == 3
    assert len(w.irp.writes) == writes


async def test_each_kind_of_disagreement_is_named_with_its_ids(tmp_path: Path, either_url: str) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        names = ["alert-lost", "alert-twice", "alert-grown", "alert-half", "alert-other-half", "alert-well"]
        await with_alerts(w, *names)
        w.irp.delete(incident(w, "alert-lost").id)
        w.irp.create({"externalId": "kuma:kuma:alert-twice", "title": "again"})
        w.kuma.escalate("alert-grown")
        w.irp.analyst_close(incident(w, "alert-half").id, "False positive")
        w.kuma.close("alert-other-half", "responded")
        w.kuma.raise_alert(id="alert-unread")

        answer = await compared(w)
        text = await shell("compare", *w.c)

    found = answer.json
    assert answer.code == text.code == 1
    assert ids(found["lost"]) == ["alert-lost", "alert-unread"]
    assert [one["why"] for one in found["lost"]] == ["its incident is not found", "the store does not know the alert"]
    assert ids(found["doubled"]) == ["alert-twice"]
    assert len(found["doubled"][0]["incidents"]) == 2
    assert ids(found["differing"]) == ["alert-grown"]
    assert "priority" in found["differing"][0]["why"] or "status" in found["differing"][0]["why"]
    assert [(one["alert_id"], one["why"]) for one in found["half_closed"]] == [
        ("alert-half", "closed in the IRP, new in KUMA"),
        ("alert-other-half", "closed in KUMA, open in the IRP"),
    ]
    assert found["agreeing"] == 1
    assert text.out.splitlines()[-1] == "the sides DISAGREE"
    assert "2 lost:" in text.out


async def test_what_explains_itself_is_counted_and_is_not_lost(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await with_alerts(w, "alert-dropped", "alert-well")
        await ask("drop", "alert-dropped", "--yes", *w.c)
        w.irp.delete(incident(w, "alert-dropped").id)
        w.irp.faults.add("status", method="POST", code=422)
        w.kuma.raise_alert(id="alert-parked")
        assert (await ask("run", "--once", *w.c)).code == 1
        w.irp.faults.clear()
        w.kuma.raise_alert(id="alert-ignored", name="R99 noise")
        ignoring = w.configured(route=[{"names": ["^R99"], "target": "ignore"}])
        await ask("run", "--once", *ignoring)

        answer = await ask("compare", "--json", *ignoring)

    assert answer.code == 0, answer
    assert answer.json["explained"] == {"parked": 1, "dropped": 1, "ignored": 1}
    assert (answer.json["agrees"], answer.json["agreeing"]) == (True, 1)


async def test_an_alert_that_comes_while_it_is_compared_is_looked_at_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await with_alerts(w, "alert-1")
        async with daemon(w):
            await until(lambda: len(w.kuma.requests) > 8)
            w.kuma.raise_alert(id="alert-new")

            answer = await compared(w)

    assert answer.code == 0, answer
    assert answer.json["agreeing"] == 2


async def test_a_paused_kuma_is_not_asked(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await with_alerts(w, "alert-1")
        await ask("pause", "kuma", *w.c)
        asked = len(w.kuma.requests)

        answer = await compared(w)

    assert answer.code == 1
    assert "an operator paused kuma" in answer.sentence
    assert len(w.kuma.requests) == asked


@pytest.mark.parametrize("trouble", ["paused", "away", "refused"])
async def test_a_target_that_cannot_be_asked_is_named_and_the_others_are_compared(tmp_path: Path, trouble: str) -> None:
    async with world(tmp_path) as w, north(w) as (irp, config):
        w.kuma.raise_alert(id="alert-1", priority="low")
        w.kuma.raise_alert(id="alert-2", priority="low")
        w.kuma.raise_alert(id="alert-north", priority="critical")
        assert (await ask("run", "--once", *config)).code == 0
        w.irp.create({"externalId": "kuma:kuma:alert-2", "title": "again"})
        if trouble == "paused":
            await ask("pause", "north", *config)
        else:
            kind, code = ("unauthorized", {}) if trouble == "refused" else ("status", {"code": 503})
            irp.faults.add(kind, **code)
        asked = len(irp.requests)

        answer = await ask("compare", "--json", *config)
        text = await ask("compare", *config)

    assert answer.code == text.code == 1, answer
    assert ids(answer.json["doubled"]) == ["alert-2"]
    assert answer.json["agreeing"] == 1
    assert answer.json["explained"] == {"its incident could not be asked for": 1}
    assert list(answer.json["away"]) == ["north"]
    assert text.lines("north could not be compared: ")
    assert (len(irp.requests) == asked) == (trouble == "paused")


async def test_without_find_it_says_what_cannot_be_compared(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        own = tmp_path / "own.toml"
        own.write_text(re.sub(r"(?ms)^\[find(\.\w+)?\]\n.*?(?=^\[(?!find))", "", profile_text("security-vision")))
        config = w.configured(irp={"profile": str(own)})
        w.kuma.raise_alert(id="alert-1")
        await ask("run", "--once", *config)

        answer = await ask("compare", *config)

    assert answer.code == 0, answer
    assert "note: irp: profile security-vision has no find" in answer.out


async def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        answer = await ask("compare", "--target", "north", *w.c)

    assert (answer.code, answer.sentence.split(" (see")[0]) == (
        2,
        "kuma-sync compare: there is no target 'north': expected irp",
    )


async def test_where_the_irp_cannot_be_asked_at_all_nothing_was_compared(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert(id="alert-1")
        await ask("run", "--once", *w.c)
        w.irp.faults.add("status", code=503)

        answer = await ask("compare", *w.c)

    assert answer.code == 1
    assert answer.out.splitlines()[-1] == "NOTHING could be compared"
    assert answer.err == ""
