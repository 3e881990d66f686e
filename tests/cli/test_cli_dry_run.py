"""`run --once --dry-run`: it says what a pass would do, and neither sends nor stores anything."""

from __future__ import annotations

import json
from pathlib import Path

from prompt import World, ask, daemon, until, world


def irp_state(w: World) -> str:
    return json.dumps([(key, one.status, one.fields, one.history) for key, one in w.irp.incidents.items()], default=str)


def kuma_state(w: World) -> str:
    return json.dumps([w.kuma.alerts, w.kuma.closes])


async def trial(w: World, *words: str) -> dict[str, object]:
    answer = await ask("run", "--once", "--dry-run", "--json", *words, *w.c)
    assert answer.code == 0, answer.err
    return answer.json


def deeds(found: dict[str, object], deed: str) -> set[str]:
    targets = found["targets"]
    assert isinstance(targets, dict)
    return {one["alert_id"] for one in targets["irp"]["planned"] if one["would"][deed]}


async def test_an_absent_store_is_neither_needed_nor_made(tmp_path: Path) -> None:
    async with world(tmp_path, made=False) as w:
        alerts = [w.kuma.raise_alert(name=f"R{number:03}") for number in range(12)]
        before = kuma_state(w)

        answer, found = await ask("run", "--once", "--dry-run", *w.c), await trial(w)

        assert answer.code == 0
        assert "  12 created" in answer.out
        assert "… and 2 more (--json has all)" in answer.out
        assert deeds(found, "created") == set(alerts)
        assert not list(tmp_path.glob("store.db*"))
        assert not w.irp.requests
        assert kuma_state(w) == before


async def test_the_trial_says_what_the_pass_then_does(either_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        grown, closed, assigned, quiet = (w.kuma.raise_alert() for _ in range(4))
        assert (await ask("run", "--once", *w.c)).code == 0
        w.kuma.grow(grown, 2)
        w.kuma.close(closed)
        w.kuma.assign(assigned)
        new, gone_at_once = w.kuma.raise_alert(), w.kuma.raise_alert()
        incident = next(one for one in w.irp.incidents.values() if one.external_id.endswith(quiet))
        assert (await ask("close", quiet, "--reason", "incorrect data", *w.c)).code == 0
        sides = (irp_state(w), kuma_state(w), len(w.irp.requests))

        found = await trial(w)

        assert (irp_state(w), kuma_state(w), len(w.irp.requests)) == sides
        assert deeds(found, "created") == {new, gone_at_once}
        assert deeds(found, "updated") >= {grown, assigned, closed}
        assert deeds(found, "closed") == {closed, quiet}
        assert [(one["alert_id"], one["reason"]) for one in found["kuma"]] == [(quiet, "incorrect data")]  # type: ignore[attr-defined]
        assert (await ask("run", "--once", *w.c)).code == 0
        assert incident.status == "closed"
        assert w.kuma.alerts[quiet]["closingReason"] == "incorrect data"
        wrote = {(deed, w.irp.incidents[id_].external_id.rpartition(":")[2]) for deed, id_, _ in w.irp.writes}
        assert {("create", new), ("update", grown), ("close", closed), ("close", quiet)} <= wrote
        assert (await trial(w))["targets"]["irp"]["planned"] == []  # type: ignore[index]


async def test_not_a_byte_of_the_file_changes(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert()
        assert (await ask("run", "--once", *w.c)).code == 0
        w.kuma.raise_alert()
        before = {path.name: path.read_bytes() for path in tmp_path.glob("store.db*")}

        found = await trial(w)

        assert len(deeds(found, "created")) == 1
        assert {path.name: path.read_bytes() for path in tmp_path.glob("store.db*")} == before


async def test_it_works_beside_a_running_daemon(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert()
        async with daemon(w):
            await until(lambda: w.irp.incidents)

            found = await trial(w)

        assert not deeds(found, "created")
        assert len(w.irp.incidents) == 1


async def test_what_the_brake_would_hold_is_said(tmp_path: Path) -> None:
    async with world(tmp_path, brake={"max_new": 2}) as w:
        for _ in range(5):
            w.kuma.raise_alert()

        answer, found = await ask("run", "--once", "--dry-run", *w.c), await trial(w)

    assert len(deeds(found, "created")) == 2
    assert "3 would be held by the brake: 3 to create in the IRP" in answer.out


async def test_a_kuma_that_is_away_ends_it_with_a_sentence(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.knobs.expired = True

        answer = await ask("run", "--once", "--dry-run", *w.c)

    assert answer.code == 1
    assert "token refused" in answer.err


async def test_what_is_paused_is_said(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        await ask("pause", "irp", *w.c)
        w.kuma.raise_alert(id="alert-1")
        told = await ask("run", "--once", "--dry-run", *w.c)

    assert told.lines("an operator paused irp until `kuma-sync resume irp`: until then a pass leaves it alone")
    assert told.lines("  1 created")


async def test_dry_run_needs_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alone, table = await ask("run", "--dry-run", *w.c), await ask("run", "--once", "--json", *w.c)

    assert (alone.code, table.code) == (2, 2)
    assert "--dry-run needs --once" in alone.sentence
