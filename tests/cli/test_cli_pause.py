"""`pause` and `resume`: what they say, what they refuse, and what status and the history have of them."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from prompt import ask, daemon, until, world
from stores import opened


async def test_a_pause_is_told_by_status_and_ended_by_resume(tmp_path: Path, either_url: str) -> None:
    async with world(tmp_path, store={"url": either_url}) as w, opened(either_url) as store:
        begun = await ask("pause", "kuma", "--for", "2h", "--as", "anna", "--json", *w.c)
        again = await ask("pause", "kuma", *w.c)
        status = await ask("status", *w.c)
        as_json = (await ask("status", "--json", *w.c)).json
        ended = await ask("resume", "kuma", *w.c)
        nothing = await ask("resume", "kuma", "--json", *w.c)
        with store.reading() as tx:
            history = [(line.action, line.actor.split(":")[0], line.detail) for line in tx.audit.history("")]

    since, end = (datetime.fromisoformat(begun.json[key]) for key in ("since", "until"))
    assert (begun.code, begun.json["part"], (end - since).total_seconds()) == (0, "kuma", 7200)
    assert begun.json["by"].startswith("operator:anna")
    assert again.out.startswith("kuma: paused until `kuma-sync resume kuma`. Nothing is lost")
    assert "No daemon is running: the next one obeys it." in again.out
    assert status.lines("kuma PAUSED by operator:")
    assert [one["part"] for one in as_json["paused"]] == ["kuma"]
    assert as_json["paused"][0]["since"] == begun.json["since"]
    assert ended.out.startswith("kuma: goes on. It was paused since")
    assert nothing.json == {"part": "kuma", "paused": False, "was_paused": False}
    assert [line[:2] for line in history] == [("pause", "operator"), ("pause", "operator"), ("resume", "operator")]
    assert history[-1][2] == "kuma"


async def test_a_part_that_there_is_not_is_refused_with_those_there_are(tmp_path: Path, sqlite_url: str) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w, opened(sqlite_url):
        wrong = await ask("pause", "north", *w.c)
        ended = await ask("resume", "north", *w.c)
        length = await ask("pause", "irp", "--for", "soon", *w.c)
        none = await ask("pause", "irp", "--for", "0s", *w.c)

    assert [one.code for one in (wrong, ended, length, none)] == [2] * 4
    assert "there is nothing called 'north' to pause: expected kuma, close, irp" in wrong.sentence
    assert "there is nothing called 'north' to resume" in ended.sentence
    assert 'expected a duration such as "500ms"' in length.sentence
    assert "must be longer than zero" in none.sentence


async def test_check_names_what_is_paused_and_asks_there_all_the_same(tmp_path: Path, either_url: str) -> None:
    async with world(tmp_path, store={"url": either_url}) as w, opened(either_url):
        await ask("pause", "kuma", *w.c)
        await ask("pause", "irp", "--for", "2h", *w.c)
        checked = await ask("check", *w.c)

    assert checked.code == 0
    irp, kuma = checked.lines("warning  paused")
    assert re.search(r"an operator paused irp until \S+T\d\d:\d\d:\d\dZ: a daemon leaves it alone", irp)
    assert (
        "an operator paused kuma until `kuma-sync resume kuma`: a daemon leaves it alone, this check does not" in kuma
    )
    assert checked.lines("ok       KUMA token")


async def test_a_running_daemon_obeys_within_seconds(tmp_path: Path) -> None:
    async with world(tmp_path) as w, daemon(w):
        w.kuma.raise_alert(id="a-before")
        await until(lambda: w.irp.incidents)
        await ask("pause", "irp", *w.c)
        log = w.folder / "daemon.log"
        await until(lambda: "maintenance_begun" in log.read_text())
        w.kuma.raise_alert(id="a-meanwhile")
        reads = len(w.kuma.requests)
        await until(lambda: len(w.kuma.requests) > reads + 6)
        made = len(w.irp.incidents)
        status = await ask("status", *w.c)
        await ask("resume", "irp", *w.c)
        await until(lambda: len(w.irp.incidents) == 2)

    assert made == 1
    assert status.code == 0, status
