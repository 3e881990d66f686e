"""Several targets: routes, one target's trouble that is no other's, closings, routes added and targets removed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from addresses import somewhere
from plain_http import plain_client
from stage import Child, Stage, ask, eventually, leases_run_out, link_of, until_rest
from structlog.testing import capture_logs
from two_targets import BY_TENANT, target_of, two

from kuma_sync.app.identity import served
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.link import Ignored
from kuma_sync.core.routing import IGNORE, NO_ROUTE
from kuma_sync.sim.server import SimServer


async def test_each_alert_goes_to_the_target_that_the_routes_name(tmp_path: Path, either_url: str) -> None:
    async with two(tmp_path, either_url) as w:
        w.alert("a-north")
        w.alert("a-main", tenant="Main")
        assert await w.stage.run_once() == 0
        w.stage.kuma.grow("a-north", 2)
        assert await w.stage.run_once() == 0

        assert w.stage.incidents("a-north") == w.north.by_key("kuma:kuma:a-main") == []
        assert len(w.in_north("a-north").events) == 5
        assert w.stage.incident("a-main")


async def test_a_dead_target_keeps_its_own_alerts_waiting_and_no_others(tmp_path: Path, either_url: str) -> None:
    async with two(tmp_path, either_url) as w, w.stage.working():
        listen = w.server.url.removeprefix("http://")
        await w.server.stop()
        for number in range(3):
            w.alert(f"n{number}")
            w.alert(f"m{number}", tenant="Main")
        await eventually(lambda: all(w.stage.incidents(f"m{number}") for number in range(3)))
        assert not w.north.incidents

        async with SimServer(w.north.app, listen=listen):
            await eventually(lambda: all(w.north.by_key(f"kuma:kuma:n{number}") for number in range(3)))

    assert w.north.doubled() == w.stage.irp.doubled() == []


async def test_a_target_that_refuses_our_token_pauses_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w, w.stage.door() as door:
        w.north.token = "another"
        w.alert("a-north")
        w.alert("a-main", tenant="Main")
        await eventually(lambda: w.stage.incidents("a-main"))
        ready = await eventually(lambda: _unwell(door, "irp:north"))

    assert ready["parts"]["irp:north"]["state"] == "paused"
    assert ready["parts"]["irp"]["state"] == "ok"
    assert not w.north.incidents


async def _unwell(door: Any, part: str) -> dict[str, Any] | None:
    answer = await door.get("/readyz")
    return answer.json() if answer.json()["parts"].get(part, {}).get("state") not in ("ok", "starting") else None


async def test_closings_go_to_the_target_that_has_the_incident(tmp_path: Path, either_url: str) -> None:
    async with two(tmp_path, either_url, close={"to_kuma": True}) as w:
        for number in range(2):
            w.alert(f"n{number}")
            w.alert(f"m{number}", tenant="Main")
        await w.stage.passes(2)
        w.stage.kuma.close("n0", "responded")
        w.north.analyst_close(w.in_north("n1").id, "False positive")
        w.stage.irp.analyst_close(w.stage.incident("m1").id, "False positive")
        await w.stage.passes(3)

        assert (w.in_north("n0").status, w.stage.incident("m0").status) == ("closed", "open")
        assert dict(w.stage.kuma.closes) == {"n1": "incorrect data", "m1": "incorrect data"}


async def test_the_same_incident_id_in_two_targets_means_two_incidents(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        w.alert("n")
        w.alert("m", tenant="Main")
        await w.stage.passes(2)
        same = w.stage.incident("m").id
        w.north.move(w.in_north("n").id, to=same)
        w.stage.kuma.grow("n")
        await w.stage.passes(2)
        assert w.in_north("n").id == same

        w.north.analyst_close(same, "False positive")
        await w.stage.passes(3)

    assert [alert_id for alert_id, _reason in w.stage.kuma.closes] == ["n"]
    assert w.stage.incident("m").status == "open"


async def test_an_alert_without_a_route_is_held_until_a_route_takes_it(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        del w.stage.tables["irp"]
        w.stage.configure()
        w.alert("a-north")
        w.alert("a-main", tenant="Main")
        await w.stage.passes(2)
        async with w.stage.runtime() as runtime:
            assert await target_of(runtime, "a-main") == NO_ROUTE
            held = await ask(runtime, lambda tx: [(row.alert_id, row.state, row.reason) for row in tx.overview.rows()])
        assert ("a-main", "held", "no route") in held
        w.stage.kuma.grow("a-main", 4)
        await w.stage.passes()

        w.stage.tables["route"].append({"target": "north"})
        w.stage.configure()
        await w.stage.passes(2)

        assert len(w.in_north("a-main").events) == 7
        assert w.in_north("a-north")


async def test_an_ignored_alert_makes_no_incident_until_a_change_leads_it_elsewhere(
    tmp_path: Path, sqlite_url: str
) -> None:
    ignore = {"priorities": ["low"], "target": "ignore"}
    async with two(tmp_path, sqlite_url, ignore, BY_TENANT) as w:
        w.alert("a", priority="low")
        await w.stage.passes(2)
        async with w.stage.runtime() as runtime:
            link = await link_of(runtime, "a")
        assert (link.target, isinstance(link.state, Ignored)) == (IGNORE, True)
        assert not w.north.incidents

        w.stage.kuma.edit("a", priority="high")
        await w.stage.passes(2)

        assert w.in_north("a").fields["severity"] == "High"


async def test_a_broken_profile_stops_its_target_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        whole = w.stage.tables["targets"]["north"]["profile"]
        broken = tmp_path / "broken.toml"
        broken.write_text("[profile]\nname = 1\n")
        w.stage.tables["targets"]["north"]["profile"] = str(broken)
        w.stage.configure()
        w.alert("a-north")
        w.alert("a-main", tenant="Main")
        with capture_logs() as logs:
            troubles = await w.stage.passes()
        assert w.stage.incident("a-main")
        assert any(trouble.startswith("irp:north: ") and "broken.toml" in trouble for trouble in troubles)
        assert [line["target"] for line in logs if line["event"] == "target_stopped"] == ["north"]

        w.stage.tables["targets"]["north"]["profile"] = whole
        w.stage.configure()
        await w.stage.passes(2)

        assert w.in_north("a-north")
        assert len(w.north.incidents) == 1


async def test_a_target_with_open_links_cannot_be_removed_from_the_configuration(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with two(tmp_path, sqlite_url) as w:
        w.alert("a-north")
        await w.stage.passes(2)
        del w.stage.tables["targets"], w.stage.tables["route"]
        w.stage.configure()
        with pytest.raises(ConfigError, match="is missing, and has 1 open link; give it back; or stop") as refused:
            await w.stage.passes()
        assert refused.value.key == "targets.north"

        w.north.analyst_close(w.in_north("a-north").id, "False positive")


async def test_the_end_of_one_process_loses_and_doubles_nothing_in_two_targets(
    tmp_path: Path, database_url: str
) -> None:
    async with two(tmp_path, database_url) as w:
        async with w.stage.daemon() as child:
            for number in range(10):
                w.alert(f"n{number}")
                w.alert(f"m{number}", tenant="Main")
            await eventually(lambda: len(w.north.incidents) + len(w.stage.irp.incidents) >= 5)
            child.process.kill()
            await child.ended()
        await leases_run_out(w.stage)
        async with w.stage.working() as runtime:
            await eventually(lambda: len(w.north.incidents) == len(w.stage.irp.incidents) == 10, within=90)
            await until_rest(runtime, within=90)

        assert w.north.doubled() == w.stage.irp.doubled() == []


async def test_a_target_keeps_its_alerts_when_the_routes_change(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        w.alert("a")
        await w.stage.passes(2)
        w.stage.tables["route"] = [{"target": "irp"}]
        w.stage.configure()
        w.stage.kuma.grow("a", 1)
        await w.stage.passes(2)

        assert len(w.in_north("a").events) == 4
        assert not w.stage.irp.incidents


async def test_metrics_and_log_lines_name_the_target_where_there_are_several(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        w.alert("a")
        async with w.stage.door() as door:
            await eventually(lambda: w.north.incidents)
            text = (await door.get("/metrics")).text

    assert 'kuma_sync_deliveries_total{operation="create",result="ok",target="north"}' in text
    assert 'kuma_sync_breaker_open{remote="irp",target="irp"} 0.0' in text
    assert 'kuma_sync_polls_total{kind="full",result="complete"}' in text


async def test_metrics_count_what_no_route_takes_as_held(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        del w.stage.tables["irp"]
        w.stage.configure()
        w.alert("a-main", tenant="Main")
        async with w.stage.door() as door:
            nowhere = 'kuma_sync_queue_depth{queue="delivery",state="held",target="no route"} 1.0'
            text = await eventually(lambda: _shown(door, nowhere))
            ready = (await door.get("/readyz")).json()

    names = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(names) == len(set(names))
    assert "kuma_sync_brake_held 1.0" in text
    assert ready["held"] == 1
    assert 'target="irp"' not in text


async def _shown(door: Any, line: str) -> str:
    text = str((await door.get("/metrics")).text)
    return text if line in text else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The daemon in a process of its own, and a client at its door."""

    child: Child
    door: httpx.AsyncClient

    async def ready(self) -> dict[str, Any]:
        """Ask `/readyz`."""
        told = (await self.door.get("/readyz")).json()
        assert isinstance(told, dict)
        return told

    async def part(self, name: str, *states: str) -> dict[str, Any] | None:
        """Ask `/readyz`; None while a part is in none of these states."""
        told = await self.ready()
        return told if told["parts"].get(name, {}).get("state") in states else None

    async def reloads(self) -> dict[str, Any]:
        """Send SIGHUP, wait until the configuration was taken or refused, and ask `/readyz`."""

        def ends() -> int:
            return len(self.child.says("configuration_reloaded") + self.child.says("configuration_refused"))

        before = ends()
        self.child.process.send_signal(signal.SIGHUP)
        await eventually(lambda: ends() > before)
        return await self.ready()


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Running]:
    """Start the daemon with a door."""
    listen = somewhere()
    stage.configure(web={"listen": listen})
    async with stage.daemon() as child, plain_client(f"http://{listen}") as door:
        yield Running(child=child, door=door)


async def _taken(daemon: Running) -> dict[str, Any] | None:
    told = await daemon.reloads()
    return None if "configuration_refused" in told else told


async def test_the_plain_irp_comes_and_goes_by_sighup_as_other_targets_do(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        plain = w.stage.tables.pop("irp")
        w.alert("a-main", tenant="Main")
        async with running(w.stage) as daemon:
            await eventually(lambda: _held(daemon))
            w.stage.tables["irp"] = plain
            w.stage.configure()
            added = await daemon.reloads()
            await eventually(lambda: w.stage.incidents("a-main"))

            del w.stage.tables["irp"]
            w.stage.configure()
            refused = await daemon.reloads()
            w.stage.irp.analyst_close(w.stage.incident("a-main").id, "False positive")
            await eventually(lambda: w.stage.kuma.closes)
            removed = await eventually(lambda: _taken(daemon))  # refused until the closing is written down, too
            w.alert("a-north")
            await eventually(lambda: w.north.incidents)

    assert "configuration_refused" not in added
    assert refused["configuration_refused"].startswith("irp: is missing, and has 1 open link")
    assert set(removed["parts"]) & {"irp", "irp:north"} == {"irp:north"}


async def _held(daemon: Running) -> bool:
    return bool((await daemon.ready())["held"] == 1)


async def test_the_address_of_a_plain_irp_that_stays_cannot_change_by_sighup(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w, running(w.stage) as daemon:
        w.stage.configure(irp={"url": "http://127.0.0.1:9"})
        refused = await daemon.reloads()

    assert refused["configuration_refused"] == "irp.url: cannot change while the daemon runs; restart it"


async def test_a_broken_target_says_to_mend_it_and_reload_and_then_works(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        mended = Path(w.stage.tables["irp"]["profile"]).read_text()
        profile = tmp_path / "north.toml"
        profile.write_text("[profile]\nname = 1\n")
        w.stage.tables["targets"]["north"]["profile"] = str(profile)
        w.stage.configure()
        w.alert("a-north")
        async with running(w.stage) as daemon:
            said = await eventually(lambda: daemon.part("irp:north", "failing"))
            profile.write_text(mended)
            told = await daemon.reloads()
            await eventually(lambda: w.north.incidents)
            await eventually(lambda: daemon.part("irp:north", "ok"))

    reason = said["parts"]["irp:north"]["reason"]
    assert reason.startswith(f"targets.north.profile: {profile}: profile.name: expected ")
    assert reason.endswith("; mend it, then reload (SIGHUP)")
    assert told["serves"] == said["serves"]


async def test_the_door_tells_whom_it_serves_after_a_reload_too(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        both = w.stage.tables.pop("targets"), w.stage.tables.pop("route")
        w.stage.configure()
        async with running(w.stage) as daemon:
            before = (await daemon.ready())["serves"]
            w.stage.tables["targets"], w.stage.tables["route"] = both
            w.stage.configure()
            after = (await daemon.reloads())["serves"]

    assert before != after == served(w.stage.settings())


CLOSED = "status=closed"


async def test_a_single_pass_asks_every_target_at_once_what_was_closed(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url, irp={"read_timeout": "60s"}) as w:
        hanging = w.stage.irp.faults.add("hang", match=CLOSED)
        passing = asyncio.create_task(w.stage.passes())
        await eventually(lambda: hanging.waiting)
        await eventually(lambda: any(CLOSED in request.query for request in w.north.requests))
        w.stage.irp.faults.clear()
        troubles = await passing

    assert troubles == []


async def test_a_target_that_cannot_say_what_was_closed_is_told_of_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        w.alert("a-north")
        w.alert("a-main", tenant="Main")
        await w.stage.passes(2)
        w.north.analyst_close(w.in_north("a-north").id, "False positive")
        w.stage.irp.faults.add("status", code=400, match=CLOSED)
        troubles = await w.stage.passes()

    assert len(troubles) == 1
    assert troubles[0].startswith("irp list_closed: ")
    assert [alert_id for alert_id, _reason in w.stage.kuma.closes] == ["a-north"]


async def test_a_single_pass_takes_each_targets_second_look_by_itself(tmp_path: Path, sqlite_url: str) -> None:
    """One shows late, the other in an hour: the first is waited for, the second waits for the next pass."""
    async with two(tmp_path, sqlite_url) as w:
        text = Path(w.stage.tables["irp"]["profile"]).read_text()
        for name, settle in (("irp", "500ms"), ("north", "1h")):
            profile = tmp_path / f"{name}.toml"
            profile.write_text(text.replace('settle = "200ms"', f'settle = "{settle}"'))
            named = w.stage.tables["irp"] if name == "irp" else w.stage.tables["targets"]["north"]
            named["profile"] = str(profile)
        w.stage.configure()
        w.stage.irp.knobs.find_lag, w.north.knobs.find_lag = 0.2, 3600
        for number in range(3):
            w.alert(f"n{number}")
            w.alert(f"m{number}", tenant="Main")
        await w.stage.passes()

    assert len(w.stage.irp.incidents) == 3
    assert len(w.north.incidents) == 1


async def test_a_single_pass_closes_in_kuma_while_a_target_hangs(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url, irp={"read_timeout": "60s"}) as w:
        w.alert("a-main", tenant="Main")
        w.alert("a-north")
        await w.stage.passes(2)
        w.north.analyst_close(w.in_north("a-north").id, "False positive")
        w.stage.kuma.grow("a-main", 2)
        hanging = w.stage.irp.faults.add("hang", method="PATCH")
        passing = asyncio.create_task(w.stage.passes())
        await eventually(lambda: hanging.waiting)
        await eventually(lambda: w.stage.kuma.closes)
        w.stage.irp.faults.clear()
        await passing

    assert [alert_id for alert_id, _reason in w.stage.kuma.closes] == ["a-north"]
