"""Alerts that left the asked-for statuses before they were ever read: none is passed over in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import Stage, ago, ask, eventually, leases_run_out, link_of, metric, polled, staged, state_of, tell

from kuma_sync.telemetry.metrics import Metrics

SWEEPLESS = {"sweep_interval": "1h"}


async def begun(stage: Stage) -> None:
    """Let the store have had its first read nine hours ago, and the daemon be off since."""
    stage.kuma.raise_alert(seen=ago(hours=10))
    async with stage.crew() as crew:
        await polled(crew)
        await tell(crew, lambda tx: tx.records.move_cursor(first_read_at=ago(hours=9)))
    await leases_run_out(stage)


@pytest.mark.parametrize("status", ["assigned", "escalated"])
@pytest.mark.parametrize("strategy", ["incremental", "full"])
async def test_what_was_raised_and_taken_up_while_the_daemon_was_off_has_an_incident(
    status: str, strategy: str, tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url, poll=SWEEPLESS | {"strategy": strategy}) as stage:
        await begun(stage)
        alert_id = stage.kuma.raise_alert(seen=ago(hours=8), events=2)
        stage.kuma.assign(alert_id) if status == "assigned" else stage.kuma.escalate(alert_id)

        assert await stage.run_once() == 0

        assert stage.incident(alert_id).fields["alertStatus"] == status
        assert len(stage.incident(alert_id).events) == 2
        stage.kuma.close(alert_id)
        async with stage.crew() as crew:
            await polled(crew, sweep=True)
    assert stage.incident(alert_id).status == "closed", "it stays under watch"
    assert stage.agrees(), stage.verdict()


async def test_what_was_raised_and_taken_up_between_two_polls_has_an_incident(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.crew() as crew:
        stage.kuma.raise_alert()
        await polled(crew)
        alert_id = stage.kuma.raise_alert()
        stage.kuma.assign(alert_id)
        await polled(crew)

    assert stage.incident(alert_id).fields["alertStatus"] == "assigned"


async def test_an_empty_kuma_s_first_alert_is_seen_although_it_was_taken_up_at_once(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll={"sweep_interval": "1s"}) as stage, stage.crew() as crew:
        await polled(crew)
        alert_id = stage.kuma.raise_alert()
        stage.kuma.assign(alert_id)

        async def seen() -> bool:
            await polled(crew)
            return bool(stage.incidents(alert_id))

        await eventually(seen)


async def test_what_was_raised_and_closed_while_the_daemon_was_off_is_listed_as_missed(
    tmp_path: Path, database_url: str
) -> None:
    metrics = Metrics()
    async with staged(tmp_path, database_url, poll=SWEEPLESS) as stage:
        await begun(stage)
        alert_id = stage.kuma.raise_alert(seen=ago(hours=8))
        stage.kuma.close(alert_id)
        async with stage.crew(metrics) as crew:
            await polled(crew)
            await polled(crew)
            rows = await ask(crew, lambda tx: tx.overview.rows(state="missed"))
            history = await ask(crew, lambda tx: tx.records.history(alert_id))

    assert [row.alert_id for row in rows] == [alert_id]
    assert [(entry.action, entry.detail) for entry in history] == [("missed", "was closed before it was read")]
    assert metric(metrics, "alerts_total", change="missed") == 1
    assert not stage.incidents(alert_id)


async def test_with_unseen_all_a_closed_one_is_created_and_closed(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SWEEPLESS | {"unseen": "all"}) as stage:
        await begun(stage)
        alert_id = stage.kuma.raise_alert(seen=ago(hours=8))
        stage.kuma.close(alert_id, "incorrect data")
        async with stage.crew() as crew:
            await polled(crew)

    assert (stage.incident(alert_id).status, len(stage.wrote("create"))) == ("closed", 2)
    assert not [request for request in stage.kuma.requests if request.path.endswith("/close")], "no echo"


async def test_with_unseen_none_only_what_is_in_the_asked_for_statuses_becomes_an_incident(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS | {"unseen": "none"}) as stage:
        await begun(stage)
        alert_id = stage.kuma.raise_alert(seen=ago(minutes=5))
        stage.kuma.escalate(alert_id)
        async with stage.crew() as crew:
            await polled(crew)
            assert (await state_of(crew, alert_id), stage.incidents(alert_id)) == ("missed", [])
            stage.kuma.unescalate(alert_id)
            await polled(crew, sweep=True)

    assert stage.incident(alert_id).fields["alertStatus"] == "new"


async def test_what_kuma_held_before_the_first_read_is_left_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        before = stage.kuma.raise_alert(seen=ago(minutes=20))
        stage.kuma.assign(before)
        stage.kuma.raise_alert(seen=ago(minutes=10))
        async with stage.crew() as crew:
            for _ in range(3):
                await polled(crew, sweep=True)
            asked = [query for query in stage.queries() if before in query]
            stage.kuma.grow(before)
            await polled(crew)
            assert await state_of(crew, before) is None
            stage.kuma.edit(before, status="new")
            await polled(crew)

    assert asked == []
    assert stage.incident(before).fields["alertStatus"] == "new", "its status is asked for now"


async def test_asking_for_another_status_brings_those_that_were_left_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        before = stage.kuma.raise_alert(seen=ago(hours=20))
        stage.kuma.assign(before)
        await begun(stage)
        stage.configure(kuma={"statuses": ["new", "assigned"]})
        async with stage.crew() as crew:
            await polled(crew)

    assert stage.incident(before).fields["alertStatus"] == "assigned"


async def test_asking_for_fewer_statuses_loses_none_that_left_them_unread(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, kuma={"statuses": ["new", "assigned"]}, poll=SWEEPLESS) as stage:
        await begun(stage)
        stage.configure(kuma={"statuses": ["new"]})
        alert_id = stage.kuma.raise_alert(seen=ago(hours=1))
        stage.kuma.assign(alert_id)
        async with stage.crew() as crew:
            await polled(crew)

    assert stage.incident(alert_id).fields["alertStatus"] == "assigned"


async def test_one_that_is_too_old_by_ignore_before_is_ignored_until_it_changes(
    tmp_path: Path, sqlite_url: str
) -> None:
    limit = ago(minutes=30).isoformat()
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS | {"ignore_before": limit}) as stage:
        await begun(stage)
        alert_id = stage.kuma.raise_alert(seen=ago(hours=2))
        stage.kuma.assign(alert_id)
        async with stage.crew() as crew:
            await polled(crew)
            assert (await state_of(crew, alert_id), stage.incidents(alert_id)) == ("ignored", [])
            stage.kuma.grow(alert_id)
            await polled(crew)

    assert stage.incident(alert_id).fields["alertStatus"] == "assigned"


async def test_a_flood_of_unseen_alerts_is_held_by_the_brake(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS, brake={"max_new": 2}) as stage:
        await begun(stage)
        for _ in range(5):
            stage.kuma.assign(stage.kuma.raise_alert(seen=ago(hours=1)))
        async with stage.crew() as crew:
            await polled(crew)
            counts = await ask(crew, lambda tx: tx.overview.counts())

    assert (counts["open"], counts["held"]) == (3, 3)


async def test_a_missed_alert_is_no_open_link_and_costs_nothing_at_later_polls(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        await begun(stage)
        alert_id = stage.kuma.raise_alert(seen=ago(minutes=5))
        stage.kuma.close(alert_id)
        async with stage.crew() as crew:
            await polled(crew)
            before = len(stage.queries())
            for _ in range(3):
                await polled(crew, sweep=True)
            assert (await link_of(crew, alert_id)).missed

    assert not [query for query in stage.queries()[before:] if "id=" in query.replace("tenantID=", "")]


async def test_an_alert_that_may_have_been_pruned_is_not_born_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS, store={"retention": "1h"}) as stage:
        await begun(stage)
        stage.kuma.raise_alert()
        async with stage.crew() as crew:
            await polled(crew)
            old = stage.kuma.raise_alert(seen=ago(hours=3))
            stage.kuma.assign(old)
            stage.kuma.grow(old)
            await polled(crew)
            assert await state_of(crew, old) is None

    assert not stage.incidents(old)
