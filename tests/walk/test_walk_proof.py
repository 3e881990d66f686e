"""Whether `find` shows what `create` made is asked once for each profile: a server may drop our key silently."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from stage import Stage, ask, change_profile, eventually, link_of, parked, staged, state_of, tell, until_rest, without
from structlog.testing import capture_logs

from kuma_sync.core.alert import AlertId
from kuma_sync.store import Tx
from kuma_sync.sync import operator
from kuma_sync.sync.delivery.proof import NOT_SHOWN
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.health import State

QUICKLY: dict[str, dict[str, Any]] = {"retry": {"base": "50ms", "max": "200ms"}}


def finds(stage: Stage) -> int:
    return sum("externalId=" in request.query for request in stage.irp.requests)


def creates(stage: Stage) -> int:
    return sum(request.method == "POST" and request.path.endswith("/incidents") for request in stage.irp.requests)


def another_profile(stage: Stage, number: int = 1) -> None:
    """Let the profile be another one, that does the same."""
    change_profile(stage, lambda text: text.replace('\ndescription = "', f'\ndescription = "{number} ', 1))


def without_the_key(stage: Stage) -> None:
    change_profile(stage, lambda text: text.replace('externalId = "{{ key }}"\nsource', "source"))


async def nothing_parked(runtime: Runtime) -> bool:
    return await parked(runtime) == []


async def shut(stage: Stage, runtime: Runtime) -> str:
    """Wait until creates stand still, and were tried some times; return the reason."""

    def paused() -> bool:
        return runtime.health.ready().parts["irp"].state is State.PAUSED

    await eventually(paused)
    before = finds(stage)
    await eventually(lambda: finds(stage) >= before + 3)
    return runtime.health.ready().parts["irp"].reason


async def test_a_key_that_is_not_stored_lets_one_create_out_and_no_more(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        old, closed = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        async with stage.working():
            await eventually(stage.agrees)
        another_profile(stage)
        stage.irp.knobs.drop_key = True
        made = creates(stage)
        news = [stage.kuma.raise_alert() for _ in range(20)]
        with capture_logs() as said:
            async with stage.working() as runtime:
                reason = await shut(stage, runtime)
                stage.kuma.grow(old)
                stage.irp.analyst_close(stage.incident(closed).id, "False positive")
                await eventually(lambda: stage.wrote("update") and stage.kuma.closes)
                calm, ready = await nothing_parked(runtime), runtime.health.ready().ready
                states = {await state_of(runtime, alert_id) for alert_id in news}

    assert creates(stage) == made + 1
    assert reason.startswith(NOT_SHOWN)
    assert (calm, ready) == (True, False)
    assert states == {"pending"}
    assert sum(line["event"] == "side_paused" for line in said) == 1


async def test_neither_trials_nor_restarts_nor_single_passes_make_one_incident_more(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        without_the_key(stage)
        for _ in range(5):
            stage.kuma.raise_alert()
        for _ in range(2):
            async with stage.working() as runtime:
                reason = await shut(stage, runtime)
        exit_code, before = await stage.run_once(), finds(stage)
        async with stage.runtime(single=True) as runtime:
            await once(runtime)
            calm = await nothing_parked(runtime)

    assert reason.startswith(NOT_SHOWN)
    assert (exit_code, creates(stage), calm) == (1, 1, True)
    assert finds(stage) > before, "a pass looks for the one that there is"


async def test_a_corrected_profile_lets_creates_go_on_without_a_double(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        right = Path(stage.tables["irp"]["profile"]).read_text()
        without_the_key(stage)
        ids = [stage.kuma.raise_alert() for _ in range(6)]
        async with stage.daemon() as child:
            await eventually(lambda: child.says("side_paused"))
            Path(stage.tables["irp"]["profile"]).write_text(right)
            child.process.send_signal(signal.SIGHUP)
            await eventually(lambda: len(stage.irp.incidents) == 6)
            await eventually(lambda: child.says("find_shows_what_create_made"))
        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)
            links, calm = [await link_of(runtime, alert_id) for alert_id in ids], await nothing_parked(runtime)

    assert calm
    assert {link.incident.id for link in links if link.incident} == set(stage.irp.incidents)
    assert [link.doubt for link in links] == [None] * 6
    assert sorted(len(stage.incidents(alert_id)) for alert_id in ids) == [0, 1, 1, 1, 1, 1]
    assert creates(stage) == 6


async def test_an_irp_that_keeps_the_key_by_now_is_tried_once_more_after_sighup(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        stage.irp.knobs.drop_key = True
        for _ in range(6):
            stage.kuma.raise_alert()
        async with stage.daemon() as child:
            await eventually(lambda: child.says("side_paused"))
            child.process.send_signal(signal.SIGHUP)
            await eventually(lambda: len(child.says("side_paused")) == 2)
            again = creates(stage)
            stage.irp.knobs.drop_key = False
            child.process.send_signal(signal.SIGHUP)
            await eventually(lambda: len(stage.irp.incidents) == 6)
            await eventually(lambda: child.says("find_shows_what_create_made"))

    assert again == 2, "one at a time, and only when a human asks for it"
    assert creates(stage) == 6


async def test_the_first_create_of_a_profile_goes_alone_and_is_looked_for_once(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.knobs.latency = 0.01
            for _ in range(20):
                stage.kuma.raise_alert()
            begun = len(stage.irp.requests)
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()
            asked = [(one.method, "externalId=" in one.query) for one in stage.irp.requests[begun:]]
        async with stage.runtime() as runtime:
            await once(runtime)
            later = finds(stage)
            stage.kuma.raise_alert()
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()

    assert asked == [("POST", False), ("GET", True), *[("POST", False)] * 19]
    assert finds(stage) == later == 1, "a restart asks nothing"
    assert stage.agrees(), stage.verdict()


async def test_another_profile_is_looked_at_once_more(tmp_path: Path, sqlite_url: str) -> None:
    counts = []
    async with staged(tmp_path, sqlite_url) as stage:
        for number in range(3):
            if number:
                another_profile(stage, number)
            async with stage.runtime() as runtime:
                await once(runtime)
                before = finds(stage)
                for _ in range(3):
                    stage.kuma.raise_alert()
                await runtime.poller.poll_once()
                await runtime.targets["irp"].deliveries.drain()
                counts.append(finds(stage) - before)

    assert counts == [1, 1, 1]
    assert stage.agrees(), stage.verdict()


async def test_an_irp_that_shows_a_fresh_incident_within_settle_pauses_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace('settle = "200ms"', 'settle = "1s"'))
        stage.irp.knobs.find_lag = 0.5
        for _ in range(10):
            stage.kuma.raise_alert()
        with capture_logs() as said:
            async with stage.working():
                await eventually(stage.agrees)

    assert [line for line in said if line["event"] == "side_paused"] == []
    assert creates(stage) == 10


async def test_an_irp_that_shows_a_fresh_incident_later_than_settle_goes_on_by_itself(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        stage.irp.knobs.find_lag = 3600
        for _ in range(10):
            stage.kuma.raise_alert()
        with capture_logs() as said:
            async with stage.working() as runtime:
                await shut(stage, runtime)
                stage.irp.knobs.find_lag = 0
                await eventually(stage.agrees)
                await eventually(lambda: runtime.health.ready().ready)

    assert sum(line["event"] == "side_paused" for line in said) == 1
    assert creates(stage) == 10


async def test_a_single_pass_waits_for_an_irp_that_shows_a_fresh_incident_late(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace('settle = "200ms"', 'settle = "1s"'))
        stage.irp.knobs.find_lag = 0.5
        for _ in range(20):
            stage.kuma.raise_alert()
        exit_code = await stage.run_once()

    assert exit_code == 0
    assert creates(stage) == 20
    assert stage.agrees(), stage.verdict()


async def test_without_find_nobody_asks_and_creates_go_out_together(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, without("find"))
        stage.irp.knobs.drop_key = True
        for _ in range(5):
            stage.kuma.raise_alert()
        exit_code = await stage.run_once()

    assert (exit_code, creates(stage), finds(stage)) == (0, 5, 0)


async def test_a_find_that_is_refused_shows_nothing_and_parks_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage, stage.runtime() as runtime:
        await once(runtime)
        refused = stage.irp.faults.add("status", code=400, match="externalId=")
        for _ in range(5):
            stage.kuma.raise_alert()
        await runtime.poller.poll_once()
        await runtime.targets["irp"].deliveries.drain()
        calm, reason, made = await nothing_parked(runtime), runtime.health.ready().parts["irp"].reason, creates(stage)
        stage.irp.faults.clear()
        await until_rest(runtime)

    assert refused.fired
    assert (calm, made) == (True, 1)
    assert reason == f"{NOT_SHOWN}: find answered 400 Bad Request"
    assert stage.agrees(), stage.verdict()


async def test_what_is_being_looked_for_outlives_the_process(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, **QUICKLY) as stage:
        async with stage.runtime() as runtime:
            await once(runtime)
            away = stage.irp.faults.add("status", code=503, match="externalId=")
            for _ in range(5):
                stage.kuma.raise_alert()
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()
            made = creates(stage)
        async with stage.working() as runtime:
            await eventually(lambda: away.fired >= 2)
            still = creates(stage)
            stage.irp.faults.clear()
            await eventually(stage.agrees)

    assert (made, still) == (1, 1)
    assert creates(stage) == 5


@pytest.mark.parametrize(
    "fault",
    [("status", {"code": 503}), ("unauthorized", {"code": 401}), ("reset_before", {}), ("status", {"code": 404})],
    ids=["503", "401", "reset", "404"],
)
async def test_creates_go_on_when_find_answers_again(
    tmp_path: Path, sqlite_url: str, fault: tuple[str, dict[str, Any]]
) -> None:
    kind, arguments = fault
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage, stage.working() as runtime:
        away = stage.irp.faults.add(kind, match="externalId=", **arguments)
        probe = stage.irp.faults.add("unauthorized", match="?limit=1") if kind == "unauthorized" else None
        await eventually(lambda: runtime.health.ready().ready or probe)
        for _ in range(5):
            stage.kuma.raise_alert()
        await eventually(lambda: away.fired >= 4)
        calm, made = await nothing_parked(runtime), creates(stage)
        stage.irp.faults.clear()
        await eventually(stage.agrees, within=40)
        await eventually(lambda: runtime.health.ready().ready)
        calm = calm and await nothing_parked(runtime)

    assert calm
    assert made <= 1
    assert creates(stage) == 5


async def test_a_create_whose_answer_was_lost_is_the_proof_when_it_is_found(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        await once(runtime)
        stage.irp.knobs.no_id = True
        for _ in range(5):
            stage.kuma.raise_alert()
        await runtime.poller.poll_once()
        await until_rest(runtime)
        known = await ask(runtime, lambda tx: tx.targets.profile("irp"))

    assert known.shown
    assert stage.agrees(), stage.verdict()
    assert creates(stage) == 5


async def test_an_operators_retry_makes_nothing_anew_that_is_only_being_looked_for(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage, stage.runtime() as runtime:
        stage.irp.knobs.drop_key = True
        await once(runtime)
        alert_id = stage.kuma.raise_alert()
        await runtime.poller.poll_once()
        await runtime.targets["irp"].deliveries.drain()

        def set_aside(tx: Tx) -> bool:
            for claim in (claims := tx.delivery.claim(1, owner="me", lease=runtime.poll_interval)):
                tx.delivery.park(claim, "by a bug")
            return bool(claims)

        await eventually(lambda: tell(runtime, set_aside))
        await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
        await runtime.targets["irp"].deliveries.drain()
        link = await link_of(runtime, alert_id)

    assert link.incident is not None
    assert creates(stage) == 1


async def test_creates_go_on_when_the_one_that_is_looked_for_is_given_up(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        stage.irp.knobs.drop_key = True
        first = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await shut(stage, runtime)
            stage.irp.knobs.drop_key = False
            ids = [stage.kuma.raise_alert() for _ in range(5)]
            await tell(runtime, lambda tx: operator.drop(tx, AlertId(first), by="cli"))
            await eventually(lambda: all(stage.incidents(alert_id) for alert_id in ids), within=40)
            await eventually(lambda: runtime.health.ready().ready)

    assert creates(stage) == 6


async def test_what_create_made_is_known_by_its_id_in_another_case_and_not_sent_again(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        stage.irp.knobs.id_case = "upper"
        alert_id = stage.kuma.raise_alert(events=2)
        async with stage.runtime(single=True) as runtime:
            await once(runtime)
            await until_rest(runtime)
            link = await link_of(runtime, alert_id)

    assert link.incident is not None
    assert link.doubt is None
    assert [deed for deed, _, _ in stage.irp.writes] == ["create"]
    assert len(stage.incident(alert_id).events) == 2


async def test_the_look_for_what_create_made_waits_for_a_resolution_as_every_look_does(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False, "watch_interval": "1s"}) as stage:
        stage.irp.knobs.find_lag = 3600
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()
            stage.irp.analyst_close(stage.incident(alert_id).id, "")
            stage.irp.knobs.find_lag = 0

            async def seen_closed() -> bool:
                await runtime.targets["irp"].deliveries.drain()
                return (await link_of(runtime, alert_id)).unresolved_at is not None

            await eventually(seen_closed)
            stage.irp.resolve(stage.incident(alert_id).id, "False positive")
            await until_rest(runtime)
            link = await link_of(runtime, alert_id)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert (link.incident_closed, link.alert_closed, link.unresolved_at) == (True, True, None)


async def test_of_two_copies_one_proof_serves_both(tmp_path: Path, postgres_url: str) -> None:
    async with staged(tmp_path, postgres_url, **QUICKLY) as stage:
        stage.irp.knobs.drop_key = True
        async with stage.working() as first, stage.working() as second:
            for _ in range(20):
                stage.kuma.raise_alert(events=1)
            await eventually(lambda: not (first.health.ready().ready and second.health.ready().ready))
            before = finds(stage)
            await eventually(lambda: finds(stage) >= before + 3)
            made = creates(stage)
            stage.irp.knobs.drop_key = False
            shut_out = [stage.irp.incidents[one] for one in stage.irp.incidents]
            for incident, (_id, body) in zip(shut_out, stage.wrote("create"), strict=True):
                incident.external_id = body["externalId"]  # an administrator repairs what there is
            await eventually(stage.agrees, within=60)
            await eventually(lambda: first.health.ready().ready and second.health.ready().ready, within=40)

    assert made <= 2
    assert creates(stage) == 20
