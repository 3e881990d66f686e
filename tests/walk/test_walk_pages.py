"""Pages of any size: what ends a read, and what a page that is short does not prove."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from stage import Stage, ago, ask, metric, polled, staged, state_of

from kuma_sync.telemetry.metrics import Metrics

SWEEPLESS = {"sweep_interval": "1h"}


def appear(stage: Stage, number: int, *, minutes: float = 60) -> list[str]:
    return [stage.kuma.raise_alert(seen=ago(minutes=minutes + one / 60), events=0) for one in range(number)]


async def test_every_alert_arrives_though_kumas_pages_hold_fewer_than_250(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.knobs.page_size = 60
        ids = appear(stage, 150)
        code = await stage.run_once()

    assert code == 0
    assert {incident.external_id for incident in stage.irp.incidents.values()} == {f"kuma:kuma:{id_}" for id_ in ids}


@pytest.mark.parametrize("past_end_null", [False, True])
async def test_a_page_that_is_short_because_a_row_was_hidden_ends_no_first_read(
    tmp_path: Path, sqlite_url: str, past_end_null: bool
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.knobs.past_end_null = past_end_null
        ids = appear(stage, 260)
        hidden = ids[17]
        stage.kuma.knobs.hidden = {hidden}
        await stage.passes()

    assert len(stage.irp.incidents) == 259
    assert stage.incidents(hidden) == []


async def test_a_sweep_reads_on_behind_a_page_that_is_short_and_finds_what_left(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll={**SWEEPLESS, "overlap": "1m"}) as stage, stage.runtime() as runtime:
        ids = appear(stage, 30, minutes=300)
        stage.kuma.knobs.page_size = 10
        await polled(runtime)
        stage.kuma.knobs.hidden = {ids[0]}
        stage.kuma.close(ids[29])
        late = stage.kuma.raise_alert(seen=ago(hours=9), events=0)
        before = len(stage.queries())
        await polled(runtime, sweep=True)
        sweeps = [query for query in stage.queries()[before:] if "firstSeen" in query]
        (read,) = [one for one in await ask(runtime, lambda tx: tx.audit.last_passes(9)) if one.kind == "sweep"]

    assert [query.rpartition("page=")[2] for query in sweeps] == ["1", "2", "3", "4"]
    assert (read.complete, read.seen) == (True, 29)
    assert stage.incident(ids[29]).status == "closed"
    assert stage.incident(late)


async def test_after_an_outage_a_window_in_small_pages_is_read_to_its_end(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        stage.kuma.knobs.page_size = 20
        appear(stage, 1, minutes=500)
        await stage.passes()
        ids = appear(stage, 70, minutes=10)
        hidden = ids[3]
        stage.kuma.knobs.hidden = {hidden}
        async with stage.runtime() as runtime:
            # The sweep fails, so that it is the window that must have shown them.
            stage.kuma.faults.add("status", code=500, match="firstSeen")
            with pytest.raises(Exception, match="500"):
                await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()

    assert len(stage.irp.incidents) == 70


async def test_what_left_unread_behind_a_page_with_many_hidden_rows_becomes_an_incident(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage:
        stage.kuma.knobs.page_size = 20
        now = stage.kuma.clock()
        stage.kuma.clock = lambda: now - timedelta(hours=9)
        for _ in range(25):
            stage.kuma.raise_alert()
        await stage.passes()
        stage.kuma.clock = lambda: now
        ids = [stage.kuma.raise_alert(seen=now - timedelta(minutes=4 * one)) for one in range(60)]
        for alert_id in ids:
            stage.kuma.assign(alert_id)
        stage.kuma.knobs.hidden = set(ids[:5])
        assert await stage.passes() == []

    assert all(stage.incidents(alert_id) for alert_id in ids[5:])


async def test_the_size_of_pages_may_shrink_while_the_daemon_runs(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime() as runtime:
        appear(stage, 100, minutes=600)
        await polled(runtime)
        stage.kuma.knobs.page_size = 20
        await polled(runtime, sweep=True)
        appear(stage, 50, minutes=1)
        await runtime.poller.poll_once()
        await runtime.targets["irp"].deliveries.drain()

    assert len(stage.irp.incidents) == 150


async def test_a_page_that_cannot_hold_all_ids_asked_for_makes_no_alert_gone(tmp_path: Path, sqlite_url: str) -> None:
    metrics = Metrics()
    async with (
        staged(tmp_path, sqlite_url, poll={**SWEEPLESS, "overlap": "1m"}, close={"watch": False}) as stage,
        stage.runtime(metrics) as runtime,
    ):
        ids = appear(stage, 45, minutes=300)
        appear(stage, 1, minutes=60)  # so that no late listing shows the others
        stage.kuma.knobs.page_size = 20
        await polled(runtime)
        for alert_id in ids[:40]:
            stage.kuma.assign(alert_id)
        stage.kuma.delete(ids[44])
        await polled(runtime, sweep=True)
        states = [await state_of(runtime, alert_id) for alert_id in ids]
        told = [stage.incident(alert_id).fields["alertStatus"] for alert_id in ids[:40]]

    assert states == ["open"] * 44 + ["gone"]
    assert told == ["assigned"] * 40
    assert metric(metrics, "alerts_total", change="left") == 1


async def test_where_page_is_ignored_what_one_answer_left_out_is_asked_for_alone(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime() as runtime:
        appear(stage, 1, minutes=120)
        await polled(runtime)
        ids = [stage.kuma.raise_alert(seen=ago(minutes=125), events=2) for _ in range(6)]
        stage.kuma.knobs.page_size = 4

        def from_then_on(page: int) -> None:
            stage.kuma.knobs.clamp_page = page == 3  # the late listing's last one

        stage.kuma.knobs.after_page = from_then_on
        await runtime.poller.poll_once()
        await runtime.targets["irp"].deliveries.drain()
        clamped = stage.kuma.knobs.clamp_page
        found = [len(incident.events) for alert_id in ids for incident in stage.incidents(alert_id)]

    assert clamped
    assert found == [2] * 6


async def test_a_quiet_poll_costs_two_requests_and_a_sweep_one_more_than_its_pages(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime() as runtime:
        appear(stage, 30, minutes=45)
        appear(stage, 3, minutes=1)
        stage.kuma.knobs.page_size = 10
        costs = []
        for sweep in (False, False, False, True, False):
            before = len(stage.queries())
            await polled(runtime, sweep=sweep)
            costs.append(len(stage.queries()) - before)

    assert costs == [5, 3, 2, 2 + 5, 2]


async def test_a_quiet_poll_costs_two_requests_though_all_alerts_fit_on_one_page(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll=SWEEPLESS) as stage, stage.runtime() as runtime:
        appear(stage, 5, minutes=1)
        for _ in range(2):
            await polled(runtime)
        costs = []
        for sweep in (False, False, True, False):
            before = len(stage.queries())
            await polled(runtime, sweep=sweep)
            costs.append(len(stage.queries()) - before)
        stage.kuma.grow(stage.kuma.raise_alert(seen=ago(seconds=2)))
        await polled(runtime)
        await polled(runtime)
        before = len(stage.queries())
        await polled(runtime)
        costs.append(len(stage.queries()) - before)

    assert costs == [2, 2, 2 + 2, 2, 2]
