"""Which kinds of weather are played."""

from __future__ import annotations

import pytest
from kinds import MINUTE, MINUTE_PLAYS_NEW_WEATHER, MOVED, NEW, REPLACED, SILENT, Kinds

WIRE = ("kuma: 500", "irp: 500", "irp: hang")


@pytest.mark.parametrize(
    ("kinds", "played"),
    [
        (Kinds(), {*NEW, *WIRE, "kill -9"}),
        (Kinds(only=("store file moved", "500")), {MOVED, "kuma: 500", "irp: 500"}),
        (Kinds(without=NEW), {*WIRE, "kill -9"}),
        (Kinds(only=("store file",), without=(REPLACED, "deleted")), {MOVED}),
    ],
)
def test_what_is_named_is_played_alone_and_what_is_left_out_is_not(kinds: Kinds, played: set[str]) -> None:
    assert {name for name in (*NEW, *WIRE, "kill -9") if name in kinds} == played


def test_a_word_that_fits_no_kind_is_found() -> None:
    assert Kinds(only=("silent", "sunshine"), without=("hang", "rain")).unknown(WIRE) == ["sunshine", "rain"]


def test_the_words_of_a_replay_choose_the_same_kinds() -> None:
    assert Kinds(only=(SILENT,), without=("kill -9",)).words == "--only 'silent connections' --without 'kill -9'"


def test_the_minutes_storm_plays_what_was_always_played() -> None:
    assert all(name in MINUTE for name in (*WIRE, "kill -9", "full disk"))
    assert all((name in MINUTE) is MINUTE_PLAYS_NEW_WEATHER for name in NEW)
