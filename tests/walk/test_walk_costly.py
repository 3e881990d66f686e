"""What is costly to take in: alerts of very many values, pages of very many alerts, the same trouble with very many."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import ago, eventually, parked, polled, staged, until_rest
from structlog.testing import capture_logs
from test_walk_memory import peak

from kuma_sync.sync import failpoint
from kuma_sync.sync.polling.round import PORTION
from kuma_sync.sync.runtime.single_pass import once

COSTLY = 2_500_000
PEAK_MB = 220
LONG = {"interval": "1h", "sweep_interval": "1h"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
@pytest.mark.parametrize("kind", ["events", "affectedAssets"])
async def test_good_alerts_are_delivered_beside_one_of_millions_of_empty_objects(
    tmp_path: Path, sqlite_url: str, kind: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll=LONG, close={"watch_interval": "1h"}) as stage:
        good = [stage.kuma.raise_alert() for _ in range(2)]
        costly = stage.kuma.raise_alert()
        good += [stage.kuma.raise_alert() for _ in range(3)]
        stage.kuma.alerts[costly][kind] = [{}] * COSTLY
        async with stage.daemon() as daemon:
            await eventually(lambda: all(map(stage.incidents, [*good, costly])), within=90)
            most = peak(daemon)

    assert most < PEAK_MB, f"{most:.0f} MB"
    assert [len(stage.incident(alert_id).events) for alert_id in good] == [3] * 5
    incident = stage.incident(costly)
    assert (incident.events, "eventsTotal" in incident.fields) == ([], False)
    assert "larger than the size limit" in incident.fields["description"]
    assert len(stage.wrote("create")) == 6


async def test_what_holds_too_many_values_even_in_a_listing_is_parked_once(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.kuma.knobs.strays = [{"id": "5f0c2a3e", "name": "n", "events": [{}] * 300_000}]
        good = stage.kuma.raise_alert()
        with capture_logs() as logs:
            for _ in range(2):
                await polled(runtime, sweep=True)
        with runtime.store.reading() as tx:
            pieces = tx.rejects.waiting()
        jobs = await parked(runtime)

    assert [piece.reason.split(":")[0] for piece in pieces] == ["too many values even without events"]
    assert [line["count"] for line in logs if line["event"] == "alerts_rejected"] == [1]
    assert jobs == []
    assert len(stage.incident(good).events) == 3


async def test_a_page_of_very_many_small_alerts_is_written_in_portions(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        many = PORTION * 3 + 1
        stage.kuma.knobs.page_size = many + 1
        for _ in range(many):
            stage.kuma.raise_alert(events=0)
        committed: list[str] = []
        failpoint.at = committed.append
        try:
            round_ = await runtime.poller.poll_once()
        finally:
            failpoint.at = lambda _point: None

    assert [read.seen for read in round_.passes] == [many]
    assert committed.count("page_committed") >= 4


async def test_the_same_trouble_with_many_alerts_is_one_line_with_their_number(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, brake={"max_new": 20}) as stage, stage.runtime() as runtime:
        lost = [stage.kuma.raise_alert(events=1) for _ in range(20)]
        await once(runtime)
        for alert_id in lost:
            stage.kuma.delete(alert_id)
        odd = [stage.kuma.raise_alert(events=1) for _ in range(25)]
        for alert_id in odd:
            stage.kuma.alerts[alert_id]["priority"] = [7]
        stage.kuma.knobs.strays = ["one", "two", 3]
        with capture_logs() as logs:
            await runtime.poller.poll_once(sweep=True)
        stage.kuma.knobs.strays = []
        await until_rest(runtime)
        unread = [stage.kuma.raise_alert(events=1, seen=ago(minutes=5)) for _ in range(15)]
        body = '{"message":"invalid query parameter value","details":"id"}'
        for alert_id in unread:
            stage.kuma.faults.add("status", code=400, match=f"id={alert_id}", body=body)
        with capture_logs() as later:
            await runtime.poller.poll_once(sweep=True)

    told = {line["event"]: line for line in logs if line["log_level"] in ("warning", "error")}
    assert sorted(line["event"] for line in logs if line["log_level"] in ("warning", "error")) == sorted(told)
    assert told["alert_gone"]["count"] == 20
    assert len(told["alert_gone"]["alert_ids"]) == 10
    assert set(told["alert_gone"]["alert_ids"]) < set(lost)
    assert (told["fields_left_out"]["count"], told["fields_left_out"]["fields"]) == (25, ["priority"])
    assert (told["alerts_rejected"]["count"], told["alerts_rejected"]["reasons"]) == (3, ["not an object"])
    assert told["brake_holds_creates"]["held"] == 5
    (line,) = [line for line in later if line["event"] == "contents_unreadable"]
    assert (line["count"], set(line["alert_ids"]) < set(unread)) == (15, True)
