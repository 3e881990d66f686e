"""`backfill`: a period's alerts become incidents whatever their status, once, beside a daemon or without one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prompt import World, ask, daemon, until, world
from stores import opened


def days(number: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(days=number)


def old(w: World, alert_id: str, status: str, *, age: float = 200, **given: Any) -> None:
    """Raise an alert that is that many days old and has this status."""
    w.kuma.raise_alert(id=alert_id, seen=days(age), **given)
    if status == "closed":
        w.kuma.close(alert_id, "responded")
    else:
        w.kuma.edit(alert_id, status=status)


def status(w: World, alert_id: str) -> list[str]:
    """Return the statuses of an alert's incidents."""
    return [one.status for one in w.irp.by_key(f"kuma:kuma:{alert_id}")]


async def first_read(w: World) -> None:
    assert (await ask("run", "--once", *w.c)).code == 0


async def test_alerts_of_any_status_become_incidents_once_and_closed_ones_are_closed(
    tmp_path: Path, either_url: str
) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        w.kuma.raise_alert(id="known-1")
        await first_read(w)
        for number in range(20):
            old(w, f"closed-{number:02}", "closed")
        old(w, "assigned-1", "assigned")
        old(w, "too-old-1", "closed", age=500)
        before = len(w.irp.incidents)

        trial = await ask("backfill", "--since", "300d", "--dry-run", "--json", *w.c)
        untouched = len(w.irp.incidents)
        first = await ask("backfill", "--since", "300d", "--as", "anna", *w.c)
        passed = await ask("run", "--once", *w.c)
        again = await ask("backfill", "--since", "300d", "--json", *w.c)
        writes = len(w.irp.writes)
        await ask("run", "--once", *w.c)
        shown = await ask("show", "assigned-1", *w.c)

    assert (trial.code, trial.json["listed"], trial.json["taken"], untouched) == (0, 22, {"irp": 21}, before)
    assert trial.json["statuses"] == {"assigned": 1, "closed": 20}
    assert first.out.splitlines()[:2] == [
        "22 alerts in the period: 21 become incidents, 1 are known and left as they are",
        "  21 in the IRP",
    ]
    assert "20 closed in KUMA: created, then closed" in first.out
    assert passed.code == 0, passed
    assert [status(w, f"closed-{number:02}") for number in range(20)] == [["closed"]] * 20
    assert (status(w, "assigned-1"), status(w, "too-old-1"), status(w, "known-1")) == (["open"], [], ["open"])
    assert (again.json["taken"], again.json["known"]) == ({}, 22)
    assert len(w.irp.writes) == writes
    assert w.irp.doubled() == []
    assert "operator:anna" in shown.out
    assert len(w.irp.by_key("kuma:kuma:closed-00")[0].events) == len(w.kuma.alerts["closed-00"]["events"])


async def test_it_works_beside_a_daemon(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await first_read(w)
        for number in range(20):
            old(w, f"closed-{number:02}", "closed")
        async with daemon(w):
            answer = await ask("backfill", "--since", "300d", "--status", "closed", *w.c)
            await until(lambda: all(status(w, f"closed-{number:02}") == ["closed"] for number in range(20)))
        held = await ask("alerts", "--state", "held", "--json", *w.c)

    assert answer.code == 0, answer
    assert held.json == []
    assert w.irp.doubled() == []


async def test_what_was_ignored_for_its_age_is_taken_up_and_what_was_dropped_is_not(tmp_path: Path) -> None:
    async with world(tmp_path, poll={"ignore_before": "2026-11-01T00:00:00Z"}) as w:
        for name in ("ignored-1", "ignored-2", "dropped-1"):
            w.kuma.raise_alert(id=name, seen=days(200))
        w.kuma.raise_alert(id="unseen-1", seen=days(200))
        await first_read(w)
        await ask("drop", "dropped-1", "--yes", *w.c)
        w.kuma.close("ignored-2", "responded")
        await first_read(w)

        answer = await ask("backfill", "--since", "300d", "--json", *w.c)
        await first_read(w)

    assert (answer.json["taken"], answer.json["known"]) == ({"irp": 3}, 1)
    assert (status(w, "ignored-1"), status(w, "ignored-2"), status(w, "dropped-1")) == (["open"], ["closed"], [])
    assert status(w, "unseen-1") == ["open"]
    assert w.irp.by_key("kuma:kuma:ignored-1")[0].events


async def test_an_incident_that_is_there_already_is_found_and_not_doubled(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await first_read(w)
        old(w, "moved-1", "assigned")
        w.irp.create({"externalId": "kuma:kuma:moved-1", "title": "from an earlier store"})

        await ask("backfill", "--since", "300d", *w.c)
        await first_read(w)

    assert status(w, "moved-1") == ["open"]


async def test_the_brake_and_the_routes_hold(tmp_path: Path) -> None:
    async with world(tmp_path, brake={"max_new": 3}, route=[{"names": ["^R99"], "target": "ignore"}]) as w:
        await first_read(w)
        for number in range(70):
            old(w, f"closed-{number:02}", "closed")
        old(w, "noise-1", "closed", name="R99 noise")

        answer = await ask("backfill", "--since", "300d", "--json", *w.c)
        await ask("run", "--once", *w.c)
        made = len(w.irp.incidents)
        await ask("release", "--creates", "--yes", *w.c)
        await ask("run", "--once", *w.c)

    assert (answer.json["held"], answer.json["ignored"], answer.json["taken"]) == (67, 1, {"irp": 70})
    assert made == 3
    assert all(status(w, f"closed-{number:02}") == ["closed"] for number in range(70))
    assert status(w, "noise-1") == []


async def test_retention_does_not_prune_what_was_brought_and_bear_it_again(tmp_path: Path, sqlite_url: str) -> None:
    async with world(tmp_path, store={"url": sqlite_url, "retention": "90d"}) as w:
        await first_read(w)
        old(w, "closed-1", "closed")
        await ask("backfill", "--since", "300d", *w.c)
        await first_read(w)

        pruned = await ask("db", "prune", *w.c)
        again = await ask("backfill", "--since", "300d", "--json", *w.c)

    assert pruned.code == 0, pruned
    assert (again.json["taken"], again.json["known"]) == ({}, 1)


async def test_it_is_refused_before_the_first_read_and_while_kuma_is_paused(tmp_path: Path, sqlite_url: str) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w, opened(sqlite_url):
        unread = await ask("backfill", "--since", "300d", *w.c)
        await first_read(w)
        await ask("pause", "kuma", *w.c)
        paused = await ask("backfill", "--since", "300d", *w.c)
        backwards = await ask("backfill", "--since", "1d", "--until", "2d", *w.c)

    assert (unread.code, paused.code, backwards.code) == (1, 1, 2)
    assert "KUMA was never read into this store" in unread.sentence
    assert "an operator paused kuma" in paused.sentence


async def test_broken_off_and_run_again_it_brings_the_rest(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await first_read(w)
        for number in range(120):
            old(w, f"closed-{number:03}", "closed", events=1)
        w.kuma.faults.add("status", match="id=closed-060", code=403, body="{}")
        broken = await ask("backfill", "--since", "300d", *w.c)
        w.kuma.faults.clear()

        again = await ask("backfill", "--since", "300d", "--json", *w.c)
        await first_read(w)

    assert broken.code == 1
    assert again.code == 0
    assert 0 < again.json["known"] < 120
    assert all(status(w, f"closed-{number:03}") == ["closed"] for number in range(120))
    assert w.irp.doubled() == []
