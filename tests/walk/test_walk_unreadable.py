"""Alerts that KUMA cannot show, or refuses when asked for by id: what is known is told, and no other waits for them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stage import Stage, ago, ask, eventually, parked, polled, staged, state_of, tell, until_rest
from structlog.testing import capture_logs

from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import Permanent, Transient
from kuma_sync.kuma.client import NOBODY
from kuma_sync.sim.faults import Rule
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.single_pass import once

CREATE = "/api/v1/incidents$"


async def test_a_late_alert_of_unreadable_contents_is_not_lost_when_closed_meanwhile(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert()
        await once(runtime)
        late = [stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(4)]
        stage.kuma.faults.add("status", code=500, match="&id=")
        with pytest.raises(Transient):
            await polled(runtime)
        before = [len(stage.incidents(alert_id)) for alert_id in late]
        stage.kuma.faults.clear()
        stage.kuma.close(late[0], "incorrect data")

        for _ in range(2):
            await once(runtime)
            await until_rest(runtime)
        states = [await state_of(runtime, alert_id) for alert_id in late]

    assert before == [0, 0, 0, 0]
    assert states == ["closed", "open", "open", "open"]
    assert [stage.incident(alert_id).status for alert_id in late] == states
    assert [len(stage.incident(alert_id).events) for alert_id in late] == [3, 3, 3, 3]
    assert stage.agrees(), stage.verdict()


async def test_an_alert_that_kuma_cannot_show_stops_nothing_else(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        closed = stage.kuma.raise_alert()
        stage.kuma.raise_alert()
        await once(runtime)
        bad, neighbour = (stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(2))
        rule = stage.kuma.faults.add("status", code=500, match=f"id={bad}")
        stage.kuma.close(closed, "incorrect data")

        troubles = [trouble for _ in range(2) for trouble in await once(runtime)]
        await until_rest(runtime)
        bare = [len(stage.incident(alert_id).events) for alert_id in (bad, neighbour)]
        status = stage.incident(closed).status
        swept = await ask(runtime, lambda tx: tx.audit.last_passes(40))
        stage.kuma.faults.remove(rule)
        await polled(runtime)

    assert troubles == [f"kuma: {bad} cannot be had by its id"] * 2
    assert bare == [0, 3], "delivered without its events; its neighbour has all"
    assert status == "closed"
    assert [read.complete for read in swept if read.kind == "sweep"] == [True] * 2
    assert len(stage.incident(bad).events) == 3, "they follow when KUMA can show it again"
    assert stage.agrees(), stage.verdict()


async def test_an_incident_is_not_closed_before_the_events_that_kuma_could_not_show(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert()
        await once(runtime)
        bad = stage.kuma.raise_alert(seen=ago(minutes=5))
        rule = stage.kuma.faults.add("status", code=500, match=f"id={bad}")
        await polled(runtime)
        await until_rest(runtime)
        stage.kuma.close(bad, "incorrect data")
        await polled(runtime)
        await until_rest(runtime)
        bare = stage.incident(bad)
        before = (bare.status, len(bare.events))
        stage.kuma.faults.remove(rule)
        await polled(runtime)
        await until_rest(runtime)

    assert before == ("open", 0)
    assert stage.incident(bad).status == "closed"
    assert len(stage.incident(bad).events) == 3
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize("for_good", [False, True])
async def test_a_closing_waits_a_while_for_growth_that_kuma_fails_to_show(
    tmp_path: Path, sqlite_url: str, for_good: bool
) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "10ms", "max": "20ms"}) as stage, stage.runtime() as runtime:
        grown = stage.kuma.raise_alert(events=1)
        await once(runtime)
        stage.kuma.grow(grown, events=1)
        stage.kuma.close(grown, "incorrect data")
        asked = f"withAffected&id={grown}"
        # The poll is told that there is nothing to show, and whoever asks then gets an error.
        stage.kuma.faults.add("status", code=200, body="[]", match=asked, times=1)
        failing = stage.kuma.faults.add("status", code=500, match=asked, times=None if for_good else 6)

        await polled(runtime)
        await until_rest(runtime)

        tried, incident = failing.fired, stage.incident(grown)

    assert incident.status == "closed"
    assert len(incident.events) == (1 if for_good else 2)
    assert tried == (18 if for_good else 6), "each try asks three times"


def refuse(stage: Stage, about: str) -> Rule:
    """Let KUMA answer 400 to questions by id about one alert, or (an empty id) about any."""
    body = '{"message":"invalid query parameter value","details":"id"}'
    return stage.kuma.faults.add("status", code=400, match=f"id={about}", body=body)


async def test_alerts_that_kuma_refuses_by_id_are_delivered_as_listed(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        closed, known = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        await once(runtime)
        *odd, neighbour = (stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(5))
        stage.kuma.edit(known, priority="critical")
        rules = [refuse(stage, alert_id) for alert_id in (known, *odd)]
        stage.kuma.close(closed, "incorrect data")

        troubles = [trouble for _ in range(2) for trouble in await once(runtime)]
        await until_rest(runtime)
        bare = [len(stage.incident(alert_id).events) for alert_id in (*odd, neighbour)]
        status, severity = stage.incident(closed).status, stage.incident(known).fields["severity"]
        left = await parked(runtime)
        for rule in rules:
            stage.kuma.faults.remove(rule)
        await polled(runtime)

    assert set(troubles) == {f"kuma: {alert_id} cannot be had by its id" for alert_id in odd}
    assert left == []
    assert bare == [0, 0, 0, 0, 3]
    assert (status, severity) == ("closed", "Critical")
    assert [len(stage.incident(alert_id).events) for alert_id in odd] == [3, 3, 3, 3]
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize("code", [400, 500])
async def test_a_refused_create_of_an_unreadable_alert_is_not_tried_at_every_poll(
    tmp_path: Path, sqlite_url: str, code: int
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert()
        await once(runtime)
        odd = stage.kuma.raise_alert(seen=ago(minutes=5))
        refuse(stage, odd).args["code"] = code
        creates = stage.irp.faults.add("status", code=422, method="POST", match=CREATE)
        for sweep in (False, False, True):
            await polled(runtime, sweep=sweep)
        tries, left = creates.fired, await parked(runtime)
        stage.irp.faults.remove(creates)
        stage.kuma.edit(odd, priority="critical")
        await polled(runtime)

    assert (tries, len(left)) == (1, 1)
    assert stage.incident(odd).fields["severity"] == "Critical", "a change is tried once more"


async def test_what_kuma_refuses_a_second_time_is_told_a_second_time(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert()
        await once(runtime)
        odd, _neighbour = (stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(2))
        with capture_logs() as logs:
            rule = refuse(stage, odd)
            await runtime.poller.poll_once()
            await runtime.poller.poll_once()
            stage.kuma.faults.remove(rule)
            stage.kuma.raise_alert(seen=ago(minutes=5))  # both are asked for at once, and both are had
            await runtime.poller.poll_once()
            refuse(stage, odd)
            stage.kuma.edit(odd, priority="critical")
            await runtime.poller.poll_once()

    told = [line["alert_ids"] for line in logs if line["event"] == "contents_unreadable"]
    assert told == [[odd], [odd]]


@pytest.mark.parametrize("code", [400, 500])
async def test_an_alert_whose_status_kuma_does_not_tell_is_not_gone_and_hides_no_other(
    tmp_path: Path, sqlite_url: str, code: int
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        odd, closed, gone = sorted(stage.kuma.raise_alert() for _ in range(3))
        await once(runtime)
        rule = refuse(stage, odd)
        rule.args["code"] = code
        stage.kuma.assign(odd)
        stage.kuma.close(closed, "responded")
        stage.kuma.delete(gone)

        troubles = await once(runtime)
        await until_rest(runtime)
        before = [await state_of(runtime, alert_id) for alert_id in (odd, closed, gone)]
        stage.kuma.faults.remove(rule)
        stage.kuma.close(odd, "responded")
        await once(runtime)
        await until_rest(runtime)

    assert troubles == [f"kuma: {odd} cannot be had by its id"]
    assert before == ["open", "closed", "gone"]
    assert stage.incident(odd).status == stage.incident(closed).status == "closed"


@pytest.mark.parametrize("code", [400, 500])
async def test_an_alert_too_large_to_take_and_refused_by_id_is_delivered_as_listed(
    tmp_path: Path, sqlite_url: str, code: int
) -> None:
    poll = {"max_alert_size": "20KB", "strategy": "full"}
    async with staged(tmp_path, sqlite_url, poll=poll) as stage, stage.runtime() as runtime:
        await once(runtime)
        large, neighbour = stage.kuma.raise_alert(events=60), stage.kuma.raise_alert()
        refuse(stage, large).args["code"] = code
        await once(runtime)
        await until_rest(runtime)

    assert "events" not in stage.incident(large).fields
    assert len(stage.incident(neighbour).events) == 3


async def test_a_resync_is_parked_while_kuma_refuses_every_question_by_id(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(events=5)
        await once(runtime)
        rule = refuse(stage, "")
        await tell(runtime, lambda tx: operator.resync(tx, [alert_id], by="cli"))
        await until_rest(runtime)
        left = await parked(runtime)
        stage.kuma.faults.remove(rule)
        await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
        await until_rest(runtime)

    assert len(left) == 1, "not done, with nothing to tell of the events"
    assert [len(body["events"]) for _, body in stage.wrote("update")] == [5]
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize("sweep", [False, True])
async def test_a_kuma_that_refuses_whatever_is_asked_by_id_fails_the_poll(
    tmp_path: Path, sqlite_url: str, sweep: bool
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        first = stage.kuma.raise_alert()
        await once(runtime)
        refuse(stage, "")
        if sweep:
            stage.kuma.assign(first)
        else:
            stage.kuma.raise_alert(seen=ago(minutes=5))
        swept = (await ask(runtime, lambda tx: tx.cursor.read())).sweep

        with pytest.raises(Permanent, match="invalid query parameter value"):
            await runtime.poller.poll_once(sweep=sweep)

        assert (await ask(runtime, lambda tx: tx.cursor.read())).sweep == swept
        assert await state_of(runtime, first) == "open"


def unshown(stage: Stage, *alert_ids: str, code: int) -> list[Rule]:
    """Let KUMA answer so when asked for the contents of one of these alone, or together with others."""
    return [
        stage.kuma.faults.add("status", code=code, match=f"id={alert_id}", body='{"message":"no"}')
        for alert_id in alert_ids
    ]


@pytest.mark.parametrize("code", [400, 403, 404, 406, 500])
async def test_an_alert_whose_contents_are_no_longer_shown_is_updated_and_closed(
    tmp_path: Path, sqlite_url: str, code: int
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        stage.kuma.edit(alert_id, priority="critical")
        stage.kuma.close(alert_id, "responded")
        stage.kuma.faults.add("status", code=code, match=f"withEvents&withAffected&id={alert_id}")
        await once(runtime)
        await until_rest(runtime)
        left = await parked(runtime)

    assert stage.incident(alert_id).status == "closed"
    assert stage.incident(alert_id).fields["severity"] == "Critical"
    assert len(stage.incident(alert_id).events) == 3
    assert left == []


async def test_a_resync_waits_for_contents_that_kuma_fails_to_show(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "1s", "max": "1s"}) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(events=5)
        await once(runtime)
        (rule,) = unshown(stage, alert_id, code=500)
        await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))
        await runtime.targets["irp"].deliveries.drain(datetime.now(UTC))
        written = stage.wrote("update")
        stage.kuma.faults.remove(rule)
        await until_rest(runtime)

    assert written == []
    assert [len(body["events"]) for _, body in stage.wrote("update")] == [5]


def let_time_pass(stage: Stage) -> None:
    """Have every lastSeen so far leave the overlap, by KUMA's own clock."""
    stage.kuma.knobs.clock_skew += 3600


@pytest.mark.parametrize("code", [400, 404, 500])
async def test_growth_that_kuma_refuses_to_show_once_is_told_when_it_shows_it(
    tmp_path: Path, sqlite_url: str, code: int
) -> None:
    """No listing shows it again: its lastSeen stands where it was."""
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id, _newest = stage.kuma.raise_alert(seen=ago(seconds=5)), stage.kuma.raise_alert()
        await once(runtime)
        stage.kuma.grow(alert_id, 2, move_last_seen=False)
        (rule,) = unshown(stage, alert_id, code=code)
        let_time_pass(stage)
        await polled(runtime)
        refused = rule.fired
        stage.kuma.faults.remove(rule)
        await polled(runtime, sweep=True)

    assert refused
    assert len(stage.incident(alert_id).events) == 5
    assert stage.agrees(), stage.verdict()


async def test_what_kuma_refused_is_asked_for_with_sweeps_only(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id, _newest = stage.kuma.raise_alert(seen=ago(seconds=5)), stage.kuma.raise_alert()
        await once(runtime)
        (rule,) = unshown(stage, alert_id, code=404)
        let_time_pass(stage)

        async def quiet() -> bool:
            before = rule.fired
            await polled(runtime)
            return 0 < rule.fired == before

        await eventually(quiet)
        asked = rule.fired
        await polled(runtime, sweep=True)

    assert rule.fired > asked


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        (("status", {"code": 400}), 7),
        (("status", {"code": 500}), 7),
        (("status", {"code": 200, "body": '{"message":"cannot be shown"}'}), 3),
        (("html", {}), 3),
        (("cut", {"after": 10}), 3),
        (("reset_before", {}), 3),
    ],
    ids=["400", "500", "object", "html", "cut", "reset"],
)
async def test_however_many_alerts_kuma_cannot_show_the_others_go_on(
    tmp_path: Path, sqlite_url: str, fault: tuple[str, dict[str, Any]], number: int
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        closed = stage.kuma.raise_alert()
        stage.kuma.raise_alert()
        await once(runtime)
        odd = [stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(number)]
        neighbours = [stage.kuma.raise_alert(seen=ago(minutes=6)) for _ in range(3)]
        kind, how = fault
        rules = [stage.kuma.faults.add(kind, match=f"id={alert_id}", **how) for alert_id in odd]
        stage.kuma.close(closed, "responded")
        troubles = await once(runtime)
        await until_rest(runtime)
        bare = {len(stage.incident(alert_id).events) for alert_id in odd}
        whole = {len(stage.incident(alert_id).events) for alert_id in neighbours}
        status = stage.incident(closed).status
        for rule in rules:
            stage.kuma.faults.remove(rule)
        await polled(runtime)

    assert sorted(troubles) == sorted(f"kuma: {alert_id} cannot be had by its id" for alert_id in odd)
    assert (bare, whole, status) == ({0}, {3}, "closed")
    assert stage.agrees(), stage.verdict()


async def test_a_kuma_that_goes_down_amid_questions_about_single_alerts_fails_the_poll(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert()
        await once(runtime)
        odd, *_others = sorted(stage.kuma.raise_alert(seen=ago(minutes=5)) for _ in range(9))
        unshown(stage, odd, code=500)
        polling = asyncio.ensure_future(runtime.poller.poll_once())
        await eventually(lambda: any(NOBODY in query for query in stage.queries()))
        stage.kuma.faults.add("status", code=500, match="id=")
        with pytest.raises(Transient):
            await polling
        await until_rest(runtime)

    events = [len(incident.events) for incident in stage.irp.incidents.values()]
    assert set(events) == {3}, "an outage is no reason to deliver alerts without their events"
    assert len(events) < 10
