"""The judge itself: what it takes for a second closing or a lost alert, and what it excuses."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from ledger import Edit, Ledger
from oracle import Oracle, Verdict
from routes import WANDERER, Routes, Spell

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
    environment: Any = SimpleNamespace(irps=irp, kuma=SimpleNamespace(closes=[], close_calls=[]))
    oracle = Oracle(environment=environment, ledger=Ledger(by_kuma={"a": "responded"}), spells=spells)
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


def without_incident(
    *,
    status: str,
    state: tuple[str, str] | None = None,
    seen: datetime = NOW,
    shown: float | None = None,
    late: bool = False,
    all_statuses: bool = True,
) -> Verdict:
    """Judge an alert that left `new` at 102 and has no incident; the daemon was dead from 99 to 101."""
    alert = {"id": "a", "status": status, "firstSeen": seen.isoformat()}
    witness = SimpleNamespace(
        first_shown={} if shown is None else {"a": shown}, shown_as_new=set(), first_sweep=NOW - timedelta(minutes=5)
    )
    kuma = SimpleNamespace(
        alerts={"a": alert} if status else {}, closes=[], close_calls=[], knobs=SimpleNamespace(hidden=set())
    )
    irp = SimpleNamespace(targets={}, incidents={}, ever={}, deleted=[], stamps={}, heard={}, writes=[])
    environment: Any = SimpleNamespace(
        irps=irp, kuma=kuma, witness=witness, database=SimpleNamespace(sqlite="store.db")
    )
    ledger = Ledger(unread={"a"}, left_new={"a": 102.0}, late={"a"} if late else set())
    oracle = Oracle(environment=environment, ledger=ledger, spells=[(99.0, 101.0)], all_statuses=all_statuses)
    return asyncio.run(oracle.judge({} if state is None else {"a": state}))


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        pytest.param({"status": "assigned"}, "lost", id="taken over unread, and nobody knows it"),
        pytest.param({"status": "closed"}, "lost", id="closed unread, and nobody knows it"),
        pytest.param({"status": "closed", "state": ("missed", "")}, "missed", id="recorded"),
        pytest.param({"status": "", "state": ("missed", "")}, "missed", id="recorded, removed since"),
        pytest.param({"status": "assigned", "state": ("missed", "")}, "lost", id="still open, so owed an incident"),
        pytest.param({"status": "assigned", "state": ("parked", "refused")}, "", id="parked"),
        pytest.param({"status": "assigned", "state": ("parked", "")}, "lost", id="parked without a reason"),
        pytest.param(
            {"status": "closed", "seen": NOW - timedelta(minutes=6)}, "left_alone", id="before the first read"
        ),
        pytest.param({"status": "new", "seen": NOW - timedelta(minutes=6)}, "lost", id="before it, and asked for"),
        pytest.param({"status": "assigned", "shown": 100.0}, "lost", id="died with the reader, and can be read again"),
        pytest.param({"status": "", "shown": 100.0}, "excused", id="died with the reader, and KUMA removed it"),
        pytest.param({"status": ""}, "excused", id="removed by KUMA before any answer showed it"),
        pytest.param({"status": "assigned", "shown": 100.0, "late": True}, "excused", id="published late"),
        pytest.param({"status": "assigned", "shown": 100.0, "all_statuses": False}, "excused", id="only new is read"),
    ],
)
def test_an_alert_without_an_incident_is_lost_unless_something_says_why(case: dict[str, Any], kind: str) -> None:
    found = without_incident(**case)

    assert found.good is (kind != "lost")
    kinds = ("lost", "missed", "left_alone", "excused")
    assert [name for name in kinds if getattr(found, name)] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("sent_after", "changed", "wrong"),
    [
        pytest.param({"assignee": None}, [], True, id="set back, and KUMA changed nothing"),
        pytest.param({"assignee": None}, [150.0], False, id="KUMA changed it meanwhile, and changed it back"),
        pytest.param({"assignee": None}, [210.0], True, id="KUMA changed it after that only"),
        pytest.param({"assignee": "a"}, [], False, id="something else was sent"),
        pytest.param({"severity": "Low"}, [], False, id="another field was sent"),
    ],
)
def test_an_edit_must_stay_unless_kuma_changed_the_field(
    sent_after: dict[str, Any], changed: list[float], wrong: bool
) -> None:
    incident = Incident(id="i", number="1", external_id="kuma:kuma:a", created_at=NOW, updated_at=NOW)
    incident.history = [("create", {"assignee": None}), ("analyst_edit", {"assignee": "x"}), ("update", sent_after)]
    irp = SimpleNamespace(ever={"i": incident}, stamps={"i": [(0, 10.0), (2, 200.0)]})
    ledger = Ledger(edits=[Edit(incident="i", field="assignee", value="x", place=1, at=100.0)])
    ledger.changed["a", "assignee"] += changed
    environment: Any = SimpleNamespace(irps=irp, database=SimpleNamespace(sqlite="store.db"))

    assert bool(list(Oracle(environment=environment, ledger=ledger, spells=[])._overwritten())) is wrong


CHANGED = [Spell(target="irp", begin=-math.inf, end=60.0), Spell(target="north", begin=50.0)]


@pytest.mark.parametrize(
    ("title", "tenant", "at", "created", "wrong"),
    [
        pytest.param("any", "Main", "irp", 10.0, False, id="where its tenant leads"),
        pytest.param("any", "Main", "robot", 10.0, True, id="another tenant's target"),
        pytest.param(WANDERER, "Main", "irp", 45.0, False, id="before the route changed"),
        pytest.param(WANDERER, "Main", "north", 45.0, True, id="before the route changed, where it leads later"),
        pytest.param(WANDERER, "Main", "north", 70.0, False, id="read just before, made after"),
        pytest.param(WANDERER, "Main", "robot", 70.0, True, id="where it never led"),
    ],
)
def test_an_incident_is_right_only_where_a_route_led_meanwhile(
    title: str, tenant: str, at: str, created: float, wrong: bool
) -> None:
    incident = Incident(id="i", number="1", external_id="kuma:kuma:a", created_at=NOW, updated_at=NOW)
    incident.fields = {"title": title, "tenant": tenant}
    irps = SimpleNamespace(
        targets={at: SimpleNamespace(incidents={"i": incident}, deleted=[])}, stamps={"i": [(0, created)]}
    )
    environment: Any = SimpleNamespace(
        irps=irps, witness=SimpleNamespace(first_shown={"a": 40.0}), routes=Routes(spells=CHANGED)
    )

    assert bool(list(Oracle(environment=environment, ledger=Ledger(), spells=[])._misrouted())) is wrong
