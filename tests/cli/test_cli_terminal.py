"""What commands show on a real terminal: tables and lines that fit, colour for states only, nothing that is obeyed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prompt import World, ask, world
from terminal import COLOUR, CTRL_C, Observation, at_terminal

NAMES = (
    "R058. Вход под служебной учётной записью вне рабочего времени на контроллер домена DC-03.corp.example.com",
    "不正ログインの試行を検知しました（ドメインコントローラー）",
    "[red]markup[/red] :smile: 😀 brute force",
    "Подбор пароля",
    "e\u0301" * 30,
)


@asynccontextmanager
async def with_trouble(folder: Path) -> AsyncIterator[World]:
    """Alerts with all kinds of names, one of them parked."""
    async with world(folder) as w:
        for name in NAMES * 3:
            w.kuma.raise_alert(name=name)
        w.irp.faults.add("status", code=400, times=1, method="POST")
        assert (await ask("run", "--once", *w.c)).code == 1
        yield w


def widest(seen: Observation) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, seen.lines))


AGE = re.compile(r"\d+ s ago")


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
async def test_what_is_shown_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    async with with_trouble(tmp_path) as w:
        parked = (await ask("alerts", "--json", "--state", "parked", *w.c)).json[0]["alert_id"]
        seen = [
            await at_terminal(*words, *w.c, columns=columns)
            for words in (("alerts",), ("status",), ("check",), ("show", parked), ("alerts", "--state", "parked"))
        ]

    assert [widest(one) for one in seen if widest(one) > columns] == []
    assert [one.code for one in seen] == [0] * 5
    assert "[red]ma" in seen[0].text


async def test_only_states_are_coloured(tmp_path: Path) -> None:
    async with with_trouble(tmp_path) as w:
        alerts, status, check = [await at_terminal(words, *w.c) for words in ("alerts", "status", "check")]

    assert set(alerts.coloured) == {"open", "parked"}
    assert set(status.coloured) == {"NOT RUNNING", "parked"}
    assert set(check.coloured) >= {"ok"}
    assert set(check.coloured) <= {"ok", "warning"}


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
async def test_colour_can_be_switched_off(tmp_path: Path, env: dict[str, str]) -> None:
    async with with_trouble(tmp_path) as w:
        plain, coloured = await at_terminal("alerts", *w.c, env=env), await at_terminal("alerts", *w.c)

    assert COLOUR.search(plain.raw) is None
    assert COLOUR.search(coloured.raw)
    assert AGE.sub("", plain.text) == AGE.sub("", coloured.text)


async def test_a_daemon_on_a_terminal_logs_for_people(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert()

        seen = await at_terminal("run", *w.c, keys=[(r"incident_created.*\n", CTRL_C)])

    assert seen.code == 0
    created = next(line for line in seen.lines if "incident_created" in line)
    assert re.match(
        r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d info     incident_created +alert_id=\S+ incident_id=\S+$", created
    )
    assert "info    " in seen.coloured
    assert "kuma_sync." not in seen.text


async def test_status_is_refreshed_in_place_until_ctrl_c(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert()
        assert (await ask("run", "--once", *w.c)).code == 0

        seen = await at_terminal(
            "status", "--watch", "0.5", *w.c, rows=40, keys=[("alerts ", b""), ("alerts ", b""), ("alerts ", CTRL_C)]
        )

    assert seen.code == 0
    assert seen.raw.count("\x1b[H\x1b[2J") == 1
    assert seen.raw.count("\x1b[H") >= 3
    assert "Ctrl-C ends it" in seen.text
    assert "Traceback" not in seen.text


async def test_a_screen_that_is_longer_than_the_terminal_is_cut_and_says_so(tmp_path: Path) -> None:
    async with with_trouble(tmp_path) as w:
        seen = await at_terminal("status", "--watch", *w.c, rows=8, keys=[("more lines: `kuma-sync status`", CTRL_C)])

    assert seen.code == 0
    assert len(seen.lines) <= 9
    assert re.search(r"… and \d+ more lines: `kuma-sync status`", seen.text)


async def test_a_watched_store_that_is_away_is_told_and_looked_at_again(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert()
        assert (await ask("run", "--once", *w.c)).code == 0
        config = w.config.read_text()
        steps = iter([config.replace("store.db", "gone.db"), config])

        async def another_store() -> None:
            if (text := next(steps, None)) is not None:
                w.config.write_text(text)

        seen = await at_terminal(
            "status",
            "--watch",
            "0.5",
            *w.c,
            rows=40,
            keys=[("last read", b""), ("not readable", b""), (r"ends it\x1b\[K\r\n\x1b\[K\r\n", CTRL_C)],
            meanwhile=another_store,
        )

    assert seen.code == 0
    assert "gone.db" in seen.text
    assert "this is what stood here before" in seen.text


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--watch",), "needs a terminal"), (("--watch", "2", "--json"), "not both"), (("--watch", "0"), "0")],
)
async def test_what_cannot_be_watched_is_wrong_usage(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    async with world(tmp_path) as w:
        answer = await ask("status", *words, *w.c)

    assert answer.code == 2
    assert said in answer.sentence


async def test_a_long_pass_says_how_far_it_is_and_the_log_does_not_tear_it(tmp_path: Path) -> None:
    async with world(tmp_path, irp={"concurrency": 1}, log={"level": "debug"}) as w:
        for _ in range(60):
            w.kuma.raise_alert(events=1)
        w.irp.faults.add("delay", seconds=0.05)

        seen = await at_terminal("run", "--once", *w.c, columns=120)

    assert seen.code == 0
    told = [int(done) for done in re.findall(r"delivered (\d+) of 60, \d+ s", seen.text)]
    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1] > told[0]
    assert all(
        "delivered" not in line.split("\x1b[K")[-1] for line in seen.raw.splitlines() if "incident_created" in line
    )
    assert seen.raw.endswith("\r\x1b[K60 open; jobs: 0 waiting, 0 held, 0 parked\n")


async def test_beside_its_progress_a_pass_logs_what_goes_wrong_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert()
        w.irp.faults.add("status", code=400, times=1, method="POST")

        seen = await at_terminal("run", "--once", *w.c)

    assert seen.code == 1
    assert "job_parked" in seen.text
    assert " info " not in seen.text


async def test_without_a_terminal_nobody_is_told_how_far_it_is(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert()
        w.irp.faults.add("delay", seconds=1.5, times=3)

        answer = await ask("run", "--once", *w.c)

    assert answer.code == 0
    assert "delivered" not in answer.err
    assert "\x1b" not in answer.out + answer.err


async def test_checking_a_slow_side_says_what_it_waits_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.irp.faults.add("delay", seconds=2)

        seen = await at_terminal("check", *w.c)

    assert seen.code == 0
    assert re.search(r"\x1b\[Kasking the IRP, \d s", seen.raw)
    assert "ok       IRP probe" in seen.text


async def test_a_dumb_terminal_is_not_written_over(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.irp.faults.add("delay", seconds=1.5, times=1)
        checked = await at_terminal("check", *w.c, env={"TERM": "dumb"})
        watched = await at_terminal("status", "--watch", *w.c, env={"TERM": "dumb"})

    assert "\x1b" not in checked.raw
    assert watched.code == 2
    assert "needs a terminal" in watched.text
