"""What cannot be undone says what it would do, asks at a terminal, and is refused where nobody can be asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from builders import a_link
from prompt import World, ask, world
from stores import opened
from terminal import at_terminal

from kuma_sync.store.read_models.waiting import Held


async def states(w: World) -> dict[str, str]:
    return {row["alert_id"]: row["state"] for row in (await ask("alerts", "--json", *w.c)).json}


async def passed(w: World) -> int:
    return (await ask("run", "--once", *w.c)).code


async def held_in(w: World) -> list[Held]:
    async with opened(w.tables["store"]["url"]) as store:
        with store.reading() as tx:
            return tx.waiting.held()


@asynccontextmanager
async def with_held(folder: Path) -> AsyncIterator[World]:
    """Three creates are held, and the closings of two incidents and of two alerts."""
    brake = {"max_new": 8, "max_closed_percent": 1, "min_alerts": 2}
    async with world(folder, brake=brake) as w:
        ids = [w.kuma.raise_alert(name=f"R{number:03}. Brute force") for number in range(8)]
        assert await passed(w) == 0
        for alert in ids[:2]:
            w.kuma.close(alert)
        for incident in [one for one in w.irp.incidents.values() if one.external_id.split(":")[-1] in ids[2:4]]:
            w.irp.analyst_close(incident.id, "False positive")
        for _ in range(11):
            w.kuma.raise_alert()
        await passed(w)
        assert len(await held_in(w)) == 7
        yield w


def kinds(held: list[Held]) -> list[tuple[str, str]]:
    return sorted((one.what, one.towards) for one in held)


HELD = [("close", "irp")] * 2 + [("close", "kuma")] * 2 + [("create", "irp")] * 3


async def test_drop_shows_the_alert_and_asks_and_a_no_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert(name="Подбор пароля")
        assert await passed(w) == 0

        refused = await at_terminal("drop", alert, *w.c, answers=["n"])
        before = await states(w)
        dropped = await at_terminal("drop", alert, *w.c, answers=["y"])

        assert refused.code == 1
        assert "'Подбор пароля' (open, incident INC-000001)" in " ".join(refused.text.split())
        assert refused.lines[-1] == "kuma-sync: nothing was done"
        assert before == {alert: "open"}
        assert dropped.code == 0
        assert await states(w) == {alert: "ignored"}


async def test_without_a_terminal_what_cannot_be_undone_needs_yes(tmp_path: Path) -> None:
    async with with_held(tmp_path) as w:
        alert = next(iter(w.kuma.alerts))
        before, writes = await states(w), len(w.irp.writes)

        for words in (f"drop {alert}", "release", "release --creates", "resync --all", "resync --since 2h"):
            answer = await ask(*words.split(), *w.c)

            assert answer.code == 2, words
            assert "--yes" in answer.sentence, words
            assert await states(w) == before, words
        await passed(w)
        assert len(w.irp.writes) == writes


DRY = {
    "drop R000": "It would be dropped.",
    "release": "7 held by the brake: 2 to close in the IRP, 2 to close in KUMA, 3 to create in the IRP",
    "resync --all": "19 alerts: each one's incident is looked for and gets all that we send",
    "resync --since 2h": "19 alerts: each one's incident",
    "resync R000": "1 alerts would be found and fully updated.",
}


async def test_a_dry_run_says_how_many_and_what_and_changes_nothing(tmp_path: Path) -> None:
    async with with_held(tmp_path) as w:
        alert = next(iter(w.kuma.alerts))
        before = await states(w)

        for words, said in DRY.items():
            answer = await ask(*(word.replace("R000", alert) for word in words.split()), "--dry-run", *w.c)

            assert answer.code == 0, words
            assert said in answer.out, words
            assert await states(w) == before, words


async def test_a_resync_of_all_names_the_fields_it_overwrites_and_asks(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alerts = [w.kuma.raise_alert() for _ in range(3)]
        assert await passed(w) == 0
        before = len(w.irp.writes)

        refused = await at_terminal("resync", "--all", *w.c, answers=["n"])
        agreed = await at_terminal("resync", "--all", *w.c, answers=["y"])
        assert await passed(w) == 0

        assert refused.code == 1
        said = " ".join(refused.text.split())
        assert said.startswith("3 alerts: each one's incident is looked for and gets all that we send, over what")
        assert "title, severity" in said
        assert agreed.code == 0
        assert len(w.irp.writes) == before + len(alerts)


@pytest.mark.parametrize(
    ("option", "left"),
    [
        ("--creates", [("close", "irp")] * 2 + [("close", "kuma")] * 2),
        ("--closings", [("create", "irp")] * 3),
        ("", []),
    ],
)
async def test_a_release_lets_go_of_creates_or_closings_alone(
    tmp_path: Path, option: str, left: list[tuple[str, str]]
) -> None:
    async with with_held(tmp_path) as w:
        assert kinds(await held_in(w)) == HELD

        answer = await ask("release", *option.split(), "--yes", *w.c)

        assert answer.code == 0
        assert kinds(await held_in(w)) == left


async def test_a_release_of_one_alert_leaves_the_others_held(tmp_path: Path) -> None:
    async with with_held(tmp_path) as w:
        first, *others = await held_in(w)
        open_one = next(name for name, state in (await states(w)).items() if state == "open")

        answer = await ask("release", first.id[:8], "--yes", *w.c)
        none = await ask("release", open_one, "--yes", *w.c)

        assert answer.code == 0
        assert answer.out.splitlines()[0] == f"{first.id}: released"
        assert await held_in(w) == others
        assert none.code == 1
        assert f"not held by the brake: {open_one}" in none.sentence


async def test_what_came_to_be_held_after_the_question_stays_held(tmp_path: Path) -> None:
    async with world(tmp_path, brake={"max_new": 1}) as w:
        for _ in range(3):
            w.kuma.raise_alert()
        assert await passed(w) == 1

        async def another() -> None:
            w.kuma.raise_alert(id="ffffffff-late")
            w.kuma.raise_alert(id="ffffffff-later")
            await passed(w)

        seen = await at_terminal("release", *w.c, answers=["y"], meanwhile=another)

        assert seen.code == 0
        assert "2 held by the brake: 2 to create in the IRP" in seen.text
        assert {one.id[:8] for one in await held_in(w)} == {"ffffffff"}


async def test_a_dropped_alert_is_taken_up_again_by_a_resync_that_asks(tmp_path: Path, sqlite_url: str) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        alert = w.kuma.raise_alert(name="refused", events=3)
        w.irp.knobs.reject_titles = "refused"
        assert await passed(w) == 1
        w.irp.knobs.reject_titles = ""
        assert (await ask("drop", "--yes", alert, *w.c)).code == 0
        again = await ask("drop", "--yes", alert, *w.c)

        nobody = await ask("resync", alert, *w.c)
        no = await at_terminal("resync", alert, *w.c, answers=["n"])
        dropped = await states(w)
        yes = await at_terminal("resync", alert, *w.c, answers=["y"])
        code = await passed(w)

        assert f"`kuma-sync resync {alert}` takes it up again" in again.sentence
        assert nobody.code == 2
        assert "was dropped" in nobody.out
        assert (no.code, dropped) == (1, {alert: "ignored"})
        assert "Take up again what was dropped?" in yes.text
        assert (yes.code, code) == (0, 0)
        (incident,) = w.irp.incidents.values()
        assert len(incident.events) == 3
        assert await states(w) == {alert: "open"}


async def test_an_alert_taken_up_again_is_closed_where_kuma_closed_it_meanwhile(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert()
        assert await passed(w) == 0
        assert (await ask("drop", "--yes", alert, *w.c)).code == 0
        w.kuma.close(alert)
        assert [await passed(w) for _ in range(2)] == [0, 0]
        dropped = [incident.status for incident in w.irp.incidents.values()]

        assert (await ask("resync", "--yes", alert, *w.c)).code == 0
        assert [await passed(w) for _ in range(2)] == [0, 0]

        assert dropped == ["open"]
        assert [incident.status for incident in w.irp.incidents.values()] == ["closed"]


async def test_a_closing_ordered_before_a_drop_is_not_carried_after_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert()
        assert await passed(w) == 0
        assert (await ask("close", alert, "--reason", "responded", *w.c)).code == 0
        assert (await ask("drop", "--yes", alert, *w.c)).code == 0

        assert (await ask("resync", "--yes", alert, *w.c)).code == 0
        assert await passed(w) == 0

        assert w.kuma.close_calls == []
        assert [incident.status for incident in w.irp.incidents.values()] == ["open"]


async def test_a_resync_of_all_leaves_what_was_dropped_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert, other = w.kuma.raise_alert(), w.kuma.raise_alert()
        assert await passed(w) == 0
        assert (await ask("drop", "--yes", alert, *w.c)).code == 0

        answer = await ask("resync", "--all", "--yes", *w.c)

        assert alert not in answer.out
        assert f"{other}: will be found and fully updated" in answer.out
        assert (await states(w))[alert] == "ignored"


async def test_a_released_mark_is_one_kind_alone() -> None:
    from kuma_sync.core.transitions import released

    both = a_link(held_create=True, alert_closed=True, held_close=True)

    creates, closings = released(both, closings=False), released(both, creates=False)

    assert (creates.held_create, creates.held_close) == (False, True)
    assert (closings.held_create, closings.held_close) == (True, False)
