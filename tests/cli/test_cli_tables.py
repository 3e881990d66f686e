"""Tables fit the terminal, and everything is there where nobody looks at one."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt import ask, world
from terminal import at_terminal

from kuma_sync.cli.tables import Column, cut, fitted

COLUMNS = [
    Column("id", least=6),
    Column("state"),
    Column("note", spared=True),
    Column("when", brief=","),
    Column("name", least=8),
]
CELLS = [
    [column.title for column in COLUMNS],
    ["0123456789abcdef", "open", "remarkable", "3 min ago, 2026-01-31 00:00:00Z", "Вход под служебной учётной записью"],
]


def test_a_table_that_fits_is_whole() -> None:
    assert fitted(COLUMNS, CELLS, None) == fitted(COLUMNS, CELLS, 200)
    assert "2026-01-31 00:00:00Z  Вход под служебной учётной записью" in fitted(COLUMNS, CELLS, None)[1]


def test_first_a_cell_says_less_then_the_widest_column_is_cut() -> None:
    _head, line = fitted(COLUMNS, CELLS, 80)

    assert "3 min ago  " in line
    assert "2026" not in line
    assert line.startswith("0123456789abcdef  open   remarkable")
    assert line.endswith("учётной запи…")
    assert len(line) == 80


@pytest.mark.parametrize("room", range(36, 100))
def test_no_line_is_longer_than_the_terminal(room: int) -> None:
    lines = fitted(COLUMNS, CELLS, room)

    assert max(map(len, lines)) <= room


def test_what_is_least_needed_is_left_out_where_cutting_does_not_do() -> None:
    head, line = fitted(COLUMNS, CELLS, 40)

    assert "note" not in head
    assert line == "012345678…  open   3 min ago  Вход под …"


def test_the_last_cell_may_go_on_below_itself() -> None:
    lines = fitted([Column("who"), Column("detail", wraps=True)], [["who", "detail"], ["me", "a b " * 10]], 26)

    assert lines[1:] == ["me   a b a b a b a b a b a", "     b a b a b a b a b    "]


def test_a_text_that_was_cut_ends_in_an_ellipsis() -> None:
    assert (cut("abc", 3), cut("abcd", 3), cut("abc", 0)) == ("abc", "ab…", "…")


async def test_long_names_are_cut_to_the_terminal_and_whole_without_one(tmp_path: Path) -> None:
    name = "R058. " + "очень длинное имя " * 12
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert(name=name.strip())
        assert (await ask("run", "--once", *w.c)).code == 0

        seen = {columns: await at_terminal("alerts", *w.c, columns=columns) for columns in (80, 120)}
        shown, status = [await at_terminal(*words, *w.c, columns=80) for words in (("show", alert), ("status",))]
        piped = await ask("alerts", *w.c)

    for columns, one in seen.items():
        assert max(map(len, one.lines)) <= columns
        assert f"{alert[:8]}" in one.text
        assert "очень" in one.text
        assert "ago" in one.text
    assert max(map(len, status.lines)) <= 80
    assert name.strip() in " ".join(shown.text.split())
    assert name.strip() in piped.out
    assert alert in piped.out


async def test_an_id_as_a_narrow_terminal_shows_it_is_understood(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert()
        assert (await ask("run", "--once", *w.c)).code == 0

        shown = await ask("show", f"{alert[:10]}…", *w.c)

    assert shown.out.startswith(f"{alert}  open\n")
