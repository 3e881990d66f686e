"""Tables fit the terminal, and everything is there where nobody looks at one."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt import ask, world
from rich.cells import cell_len
from terminal import at_terminal

from kuma_sync.cli.tables import Column, Piece, State, uncut
from kuma_sync.cli.terminal import table_lines, wrapped
from kuma_sync.core.text import cut

COLUMNS = [
    Column("id", least=6),
    Column("state"),
    Column("note", spared=1),
    Column("when", brief=","),
    Column("name", least=8),
]
NAME = "Вход под служебной учётной записью"
CELLS: list[list[Piece]] = [
    [column.title for column in COLUMNS],
    ["0123456789abcdef", State("open"), "remarkable", "3 min ago, 2026-01-31 00:00:00Z", NAME],
]


def lines(room: int, columns: list[Column] = COLUMNS, cells: list[list[Piece]] = CELLS) -> list[str]:
    return list(table_lines(columns, cells, room, coloured=False))


def test_a_table_that_fits_is_whole() -> None:
    assert uncut(CELLS) == [line.ljust(len(uncut(CELLS)[0])) for line in lines(200)]
    assert f"2026-01-31 00:00:00Z  {NAME}" in lines(200)[1]


def test_first_a_cell_says_less_then_the_widest_column_is_cut() -> None:
    _head, line = lines(80)

    assert "3 min ago  " in line
    assert "2026" not in line
    assert line.startswith("0123456789abcdef  open   remarkable")
    assert line.endswith("учётной запи…")
    assert len(line) == 80


@pytest.mark.parametrize("room", range(36, 100))
def test_no_line_is_longer_than_the_terminal(room: int) -> None:
    assert max(map(len, lines(room))) <= room


def test_what_is_least_needed_is_left_out_where_cutting_does_not_do() -> None:
    head, line = lines(40)

    assert "note" not in head
    assert line == "012345678…  open   3 min ago  Вход под …"


def test_the_last_cell_may_go_on_below_itself() -> None:
    columns = [Column("who"), Column("detail", wraps=True)]

    assert lines(26, columns, [["who", "detail"], ["me", "a b " * 10]])[1:] == [
        "me   a b a b a b a b a b a",
        "     b a b a b a b a b",
    ]


@pytest.mark.parametrize(
    ("name", "width"),
    [("不正ログインの試行を検知しました", 32), ("e\u0301" * 20, 20), ("😀" * 20, 40), ("한국어 경보" * 6, 66)],
)
@pytest.mark.parametrize("room", range(14, 44, 3))
def test_wide_and_combining_letters_take_the_room_they_take(name: str, width: int, room: int) -> None:
    _head, line = lines(
        room, [Column("id"), Column("name", least=4), Column("end")], [["i", "n", "e"], ["1", name, "x"]]
    )

    shown = cell_len(line)

    assert shown == min(room, width + 6)
    assert line.endswith("  x")


def test_markup_in_a_name_is_shown_and_not_obeyed() -> None:
    name = "[red]alarm[/red] [link=http://x]y[/link] :smile: \\[b]"

    (line,) = table_lines([Column("name")], [[name]], 100, coloured=True)

    assert line == name
    assert wrapped([name], 100, indent=0, coloured=True) == [name]


def test_what_a_terminal_would_obey_is_escaped_before_it_is_coloured() -> None:
    (line,) = table_lines([Column("name"), Column("state")], [["a\x1b[31mb", State("open")]], 60, coloured=True)

    assert line == "a\\x1b[31mb  \x1b[32mopen\x1b[0m"


def test_a_long_line_is_wrapped_at_words_and_goes_on_under_its_beginning() -> None:
    text, word = "one two three four five six seven", "a" * 50

    assert wrapped([text], 26, indent=4, coloured=False) == ["one two three four", "    five six seven"]
    assert wrapped([f"it  {text}"], 26, indent=4, coloured=False) == ["it  one two three four", "    five six seven"]
    assert wrapped([f"see {word}"], 30, indent=2, coloured=False) == ["see", f"  {'a' * 28}", f"  {'a' * 22}"]


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
