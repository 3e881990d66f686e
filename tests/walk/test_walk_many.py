"""Hundreds of alerts over several pages, by `run --once` and then by the daemon."""

from __future__ import annotations

from pathlib import Path

from stage import Child, Stage, eventually, staged

ALERTS = 300
SWEEP = "status=new&timestampField=firstSeen&page=1"


def raise_alerts(stage: Stage, number: int = ALERTS) -> None:
    for _ in range(number):
        stage.kuma.raise_alert(events=1)


def things_happen(stage: Stage, ids: list[str]) -> dict[str, str]:
    """Let growth, an edit, closings on both sides and vanishing happen to 17 alerts; return which had what."""
    for alert_id in ids[:10]:
        stage.kuma.grow(alert_id, 2)
    stage.kuma.edit(ids[11], priority="critical" if stage.kuma.alerts[ids[11]]["priority"] != "critical" else "low")
    stage.kuma.assign(ids[12], "i.petrova")
    stage.kuma.close(ids[13], "incorrect data")
    stage.kuma.delete(ids[14])
    stage.irp.analyst_close(stage.incident(ids[15]).id, "False positive")
    stage.irp.analyst_close(stage.incident(ids[16]).id, "Resolved")
    return {"closed in kuma": ids[13], "vanished": ids[14], "false positive": ids[15], "resolved": ids[16]}


def assert_carried(stage: Stage, *happenings: dict[str, str]) -> None:
    assert stage.agrees(), stage.verdict()
    assert len(stage.irp.incidents) == len(stage.wrote("create"))
    for what in happenings:
        assert stage.incident(what["vanished"]).status == "open"
        assert stage.incident(what["closed in kuma"]).resolution == "incorrect data"
    closed = {(what["false positive"], "incorrect data") for what in happenings}
    closed |= {(what["resolved"], "responded") for what in happenings}
    assert sorted(stage.kuma.closes) == sorted(closed)
    assert len(stage.kuma.close_calls) == len(closed), "nothing is closed twice, nothing is echoed"
    assert len(stage.wrote("close")) == len(happenings)


async def the_daemon_carries_what_happens(stage: Stage, daemon: Child, ids: list[str]) -> dict[str, str]:
    closes = len(stage.kuma.closes)
    what = things_happen(stage, ids)
    raise_alerts(stage, 3)
    await eventually(lambda: len(stage.kuma.closes) == closes + 2 and stage.agrees(), within=20)
    swept = stage.queries().count(SWEEP)
    await eventually(lambda: stage.queries().count(SWEEP) > swept + 1)
    assert daemon.says("loop_failed") == []
    return what


async def complete_passes_carry_what_happens(stage: Stage, ids: list[str]) -> dict[str, str]:
    before = len(stage.irp.writes)
    assert await stage.run_once() == 0
    assert len(stage.irp.writes) == before, "a pass over an unchanged KUMA writes nothing"
    what = things_happen(stage, ids)
    assert await stage.run_once() == 0
    assert stage.agrees(), stage.verdict()
    return what


async def test_hundreds_of_alerts_are_carried_by_complete_passes_and_then_by_the_daemon(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        raise_alerts(stage)
        ids = list(stage.kuma.alerts)

        assert await stage.run_once() == 0
        happenings = [await complete_passes_carry_what_happens(stage, ids[:17])]
        async with stage.daemon() as daemon:
            happenings.append(await the_daemon_carries_what_happens(stage, daemon, ids[260:277]))

    listed = [query for query in stage.queries() if query.startswith("withEvents&withAffected&status=new&page=")]
    assert [query[-1] for query in listed] == ["1", "2", "3"], "the first read of a store, and only that, is full"
    assert_carried(stage, *happenings)
