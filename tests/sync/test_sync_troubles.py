"""Troubles in the log: told when they begin, and with their count when they are over."""

from __future__ import annotations

from datetime import timedelta

from kuma_sync.sync.troubles import Lasting, Spell


def test_a_trouble_that_lasts_is_told_once_for_each_change_of_its_reason() -> None:
    trouble = Lasting()

    assert [trouble.begins(reason) for reason in ("503", "503", "no connection", "no connection")] == [
        True,
        False,
        True,
        False,
    ]
    assert (trouble.ends(), trouble.ends()) == (4, 0)
    assert trouble.begins("503")


def test_a_spell_of_failures_tells_each_reason_once_though_some_attempts_succeed() -> None:
    now = 0.0
    spell = Spell(quiet=timedelta(seconds=60), monotonic=lambda: now)

    told = []
    for second in range(0, 600, 10):
        now = float(second)
        told += [spell.begins("503" if second % 20 else "no answer"), spell.ends()]

    assert told.count(True) == 2
    assert not any(told[4:])
    now += 60
    assert (spell.ends(), spell.ends()) == (60, 0)
    assert spell.begins("503")
