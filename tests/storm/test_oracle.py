"""The judge itself: what it takes for a second closing, and what it excuses."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from ledger import Ledger
from oracle import Oracle

from kuma_sync.sim.irp import Incident

NOW = datetime(2026, 1, 15, tzinfo=UTC)


def verdict(*, deeds: list[tuple[str, float]], heard: list[float], spells: list[tuple[float, float]]) -> list[str]:
    """Judge an incident whose alert was closed in KUMA; every deed comes with its time."""
    incident = Incident(id="i", number="1", external_id="kuma:kuma:a", created_at=NOW, updated_at=NOW)
    incident.history = [(deed, {"reason": "responded"}) for deed, _ in deeds]
    irp = SimpleNamespace(
        ever={"i": incident},
        deleted=[],
        stamps={"i": [(place, at) for place, (_, at) in enumerate(deeds)]},
        heard={"i": heard},
        writes=[(deed, "i", {"reason": "responded"}) for deed, _ in deeds if deed == "close"],
    )
    ground: Any = SimpleNamespace(irp=irp, kuma=SimpleNamespace(closes=[], close_calls=[]))
    oracle = Oracle(ground=ground, ledger=Ledger(by_kuma={"a": "responded"}), spells=spells)
    return list(oracle._wrong_closings())  # the rule alone


TWICE = [("close", 100.0), ("reopen", 105.0), ("close", 110.0)]


@pytest.mark.parametrize(
    ("deeds", "heard", "spells", "wrong"),
    [
        pytest.param(TWICE, [], [], False, id="the answer was lost"),
        pytest.param(TWICE, [110.1], [], False, id="the answer came when it was reopened already"),
        pytest.param(TWICE, [100.1], [(90.0, 101.0)], False, id="the daemon died over the answer"),
        pytest.param(TWICE, [100.1], [], True, id="the answer came"),
        pytest.param(TWICE, [104.0], [(10.0, 20.0)], True, id="told at the second try, no trouble near"),
        pytest.param([("close", 100.0), ("close", 110.0)], [], [], True, id="never reopened"),
        pytest.param([*TWICE, ("reopen", 120.0), ("close", 9000.0)], [110.1], [], True, id="known by then"),
        pytest.param(TWICE[:2], [100.1], [], False, id="closed once"),
    ],
)
def test_what_was_known_to_be_closed_must_not_be_closed_again(
    deeds: list[tuple[str, float]], heard: list[float], spells: list[tuple[float, float]], wrong: bool
) -> None:
    found = verdict(deeds=deeds, heard=heard, spells=spells)

    assert bool(found) is wrong
    assert all("closed more than once" in line for line in found)
