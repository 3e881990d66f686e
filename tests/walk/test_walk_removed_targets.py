"""Targets that go, break and come back: nothing of theirs is forgotten, doubled, or sent to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from stage import Stage, ask, eventually, link_of, staged, state_of, tell, until_rest
from structlog.testing import capture_logs
from two_targets import BY_TENANT, NORTH, Two, target_of, two

from kuma_sync.app.lifecycle import Daemon
from kuma_sync.app.shared_state import SharedState
from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.link import Link, NotMade, Sought, State
from kuma_sync.core.routing import NO_ROUTE
from kuma_sync.settings import Settings
from kuma_sync.store import Lane, Put, Tx
from kuma_sync.sync.runtime.monitor import condition, look
from kuma_sync.sync.runtime.runner import Runtime

LOUD = {"max_closed_percent": 30, "min_alerts": 10}


class Hurried(Daemon):
    """A daemon to which something happens when it has looked at a new configuration, and its old one still works."""

    meanwhile: Callable[[SharedState], Awaitable[None]] | None = None

    async def _reloaded(self, old: Runtime) -> tuple[Runtime, object, Settings]:  # type: ignore[override]
        found = await super()._reloaded(old)
        if self.meanwhile is not None:
            await self.meanwhile(self._shared)
        return found

    def reads_again(self) -> None:
        """Read the configuration again, as SIGHUP has it do."""
        self._hup.set()


@asynccontextmanager
async def living(stage: Stage) -> AsyncIterator[Hurried]:
    """Let a whole daemon live in this process while the block runs."""
    daemon = Hurried(stage.settings(), reload=stage.settings, env={})
    running = asyncio.create_task(daemon.run())
    try:
        await eventually(lambda: daemon._runtime is not None or running.done())
        yield daemon
    finally:
        daemon.stop()
        await running


def says(logs: list[dict[str, object]], event: str) -> list[dict[str, object]]:
    return [line for line in logs if line["event"] == event]


async def test_a_target_is_not_removed_while_a_closed_alert_waits_for_its_incident(
    tmp_path: Path, either_url: str
) -> None:
    async with two(tmp_path, either_url) as w:
        await w.server.stop()
        w.alert("a")
        await w.stage.passes()
        w.stage.kuma.close("a", "responded")
        await w.stage.passes()
        w.without_north()

        with pytest.raises(ConfigError, match="is missing, and has 1 job; give it back; or stop the daemon") as refused:
            await w.stage.passes()

    assert refused.value.key == "targets.north"


async def test_a_target_that_never_worked_is_not_removed_while_alerts_wait_for_it(
    tmp_path: Path, either_url: str
) -> None:
    async with two(tmp_path, either_url) as w:
        w.break_north()
        w.alert("a")
        await w.stage.passes()
        w.without_north()

        with pytest.raises(ConfigError, match="is missing, and has 1 open link and 1 job"):
            await w.stage.passes()


async def test_a_target_with_nothing_left_is_removed_and_its_closed_alerts_stay(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with two(tmp_path, sqlite_url, close={"to_kuma": False}) as w:
        w.alert("a")
        await w.stage.passes(2)
        w.north.analyst_close(w.in_north("a").id, "False positive")
        await w.stage.passes(2)
        w.without_north()
        w.stage.kuma.grow("a", 2)
        await w.stage.passes(2)

        async with w.stage.runtime() as runtime:
            assert (await target_of(runtime, "a"), await state_of(runtime, "a")) == ("north", "closed")
            jobs = await ask(runtime, lambda tx: [*tx.delivery.jobs(), *tx.closes.jobs()])

    assert (jobs, dict(w.stage.irp.incidents)) == ([], {})


async def test_alerts_that_the_old_configuration_still_takes_keep_their_target_in_it(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with two(tmp_path, sqlite_url) as w, living(w.stage) as daemon:
        await w.server.stop()

        async def meanwhile(shared: SharedState) -> None:
            w.alert("a")
            await eventually(lambda: _known(shared, "a"))

        daemon.meanwhile = meanwhile
        w.without_north()
        with capture_logs() as logs:
            daemon.reads_again()
            refused = await eventually(lambda: says(logs, "configuration_refused"))
            daemon.meanwhile = None
            w.alert("b", tenant="Main")
            await eventually(lambda: w.stage.incidents("b"))

        assert refused[0]["key"] == "targets.north"
        assert set(daemon._runtime.targets if daemon._runtime else ()) == {"irp", "north"}
        assert not says(logs, "configuration_reloaded")


async def _known(shared: SharedState, alert_id: str) -> Link | None:
    return await shared.store.read(lambda tx: tx.links.get(AlertId(alert_id)))


async def test_a_route_that_comes_while_an_alert_is_read_takes_it(tmp_path: Path, sqlite_url: str) -> None:
    quiet = {"interval": "200ms", "sweep_interval": "1h"}
    async with two(tmp_path, sqlite_url, poll=quiet) as w:
        del w.stage.tables["irp"]
        w.stage.configure()
        async with living(w.stage) as daemon:

            async def meanwhile(shared: SharedState) -> None:
                w.alert("a", tenant="Main")
                await eventually(lambda: _known(shared, "a"))

            daemon.meanwhile = meanwhile
            w.stage.tables["route"].append({"target": "north"})
            w.stage.configure()
            daemon.reads_again()
            await eventually(lambda: w.north.incidents)

        assert w.in_north("a")


async def test_a_complete_sweep_sends_alerts_to_the_routes_that_take_them_by_now(
    tmp_path: Path, either_url: str
) -> None:
    async with two(tmp_path, either_url) as w, w.stage.runtime() as runtime:
        w.alert("a")
        runtime.health.expect_targets(runtime.targets)
        await runtime.poller.poll_once(sweep=True)

        def lose(tx: Tx) -> None:
            tx.links.change(AlertId("a"), lambda link: replace(link, target=NO_ROUTE), now=tx.now)
            tx.delivery.clear("a")

        await tell(runtime, lose)
        await runtime.poller.poll_once(sweep=True)
        await until_rest(runtime)

        assert w.in_north("a")


async def test_a_mended_target_is_asked_for_incidents_that_the_store_does_not_know(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with two(tmp_path, sqlite_url) as w:
        await _in_a_backup(w, "a", target="north")
        whole = w.break_north()
        async with living(w.stage) as daemon:
            w.profile.write_text(whole)
            before = daemon._runtime
            daemon.reads_again()
            await eventually(lambda: daemon._runtime is not before)
            w.alert("b")
            await eventually(lambda: w.north.by_key("kuma:kuma:b"))
            await eventually(lambda: _is_bound(daemon, "a"))

        assert w.in_north("a")


async def test_a_route_that_comes_is_followed_by_find_for_the_store_may_be_old(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w:
        await _in_a_backup(w, "a", target=NO_ROUTE)
        del w.stage.tables["irp"]
        w.stage.tables["route"] = [{"tenants": ["another"], "target": "north"}]
        w.stage.configure()
        async with living(w.stage) as daemon:
            w.stage.tables["route"].append(BY_TENANT)
            w.stage.configure()
            daemon.reads_again()
            await eventually(lambda: _is_bound(daemon, "a"))

        assert w.in_north("a")


async def test_find_first_that_is_switched_on_by_a_reload_covers_what_waits(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w, living(w.stage) as daemon:
        w.alert("first", tenant="Main")
        await eventually(lambda: w.stage.incidents("first"))
        await eventually(lambda: _is_swept(daemon))
        await w.server.stop()
        w.alert("a")
        await eventually(lambda: _stands(daemon, "a", NotMade))

        w.stage.configure(targets={"north": {**w.stage.tables["targets"]["north"], "find_first": "always"}})
        daemon.reads_again()
        await eventually(lambda: _stands(daemon, "a", Sought))


async def _is_swept(daemon: Hurried) -> bool:
    return (await daemon._shared.store.read(lambda tx: tx.cursor.read())).watermark is not None


async def _stands(daemon: Hurried, alert_id: str, state: type[State]) -> bool:
    link = await _known(daemon._shared, alert_id)
    return link is not None and isinstance(link.state, state)


async def _in_a_backup(w: Two, alert_id: str, *, target: str) -> None:
    """Let an alert have an incident of which a restored store knows nothing."""
    w.alert(alert_id)
    await w.stage.passes(2)

    def restore(tx: Tx) -> None:
        tx.links.change(AlertId(alert_id), lambda link: replace(link, target=target, state=NotMade()), now=tx.now)
        if target != NO_ROUTE:
            tx.delivery.put([Put(subject=alert_id, lane=Lane.CREATE, target=target)])

    # The stage's runtime makes ready before, as a start does.
    async with w.stage.runtime() as runtime:
        await tell(runtime, restore)
    assert w.in_north(alert_id)


async def _is_bound(daemon: Hurried, alert_id: str) -> bool:
    link = await _known(daemon._shared, alert_id)
    return link is not None and link.incident is not None


async def test_a_reload_that_breaks_a_working_target_is_refused_with_the_key(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as w, living(w.stage) as daemon:
        whole = w.break_north()
        with capture_logs() as logs:
            daemon.reads_again()
            (profile,) = await eventually(lambda: says(logs, "configuration_refused"))
        w.profile.write_text(whole)
        named = w.stage.tables["targets"]["north"]
        token = named.pop("token")
        w.stage.configure(targets={"north": {**named, "token_file": str(tmp_path / "none")}})
        with capture_logs() as later:
            daemon.reads_again()
            (secret,) = await eventually(lambda: says(later, "configuration_refused"))
        w.stage.configure(targets={"north": {**named, "token": token}})
        broken = tmp_path / "broken.toml"
        broken.write_text("[profile]\nname = 1\n")
        w.stage.configure(targets={"south": {"url": w.server.url, "token": token, "profile": str(broken)}})
        with capture_logs() as again:
            daemon.reads_again()
            (fresh,) = await eventually(lambda: says(again, "configuration_refused"))
        del w.stage.tables["targets"]["south"]
        w.stage.configure()
        w.alert("a")
        await eventually(lambda: w.north.incidents)

        assert "north" in (daemon._runtime.targets if daemon._runtime else ())
    assert str(profile["key"]).startswith("targets.north.profile")
    assert secret["key"] == "targets.north.token_file"
    assert fresh["key"] == "targets.south.profile"
    assert not says([*logs, *later, *again], "target_stopped")


async def test_the_brake_holds_closings_of_a_target_that_does_not_work(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url, brake=LOUD) as w:
        names = [f"n{number}" for number in range(12)]
        for name in names:
            w.alert(name)
        await w.stage.passes(2)
        whole = w.break_north()
        for name in names:
            w.stage.kuma.close(name, "responded")
        await w.stage.passes()
        w.profile.write_text(whole)
        await w.stage.passes(2)

        async with w.stage.runtime() as runtime:
            links = [await link_of(runtime, name) for name in names]

    assert all(link.held_close for link in links)
    assert {w.in_north(name).status for name in names} == {"open"}


async def test_the_brake_measures_a_targets_list_of_closed_incidents_by_its_own_links(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with two(tmp_path, sqlite_url, brake=LOUD) as w:
        names = [f"n{number}" for number in range(12)]
        for number in range(60):
            w.alert(f"m{number}", tenant="Main")
        for name in names:
            w.alert(name)
        await w.stage.passes(3)
        for name in names:
            w.north.analyst_close(w.in_north(name).id, "False positive")
        await w.stage.passes(2)

        async with w.stage.runtime() as runtime:
            held = await ask(runtime, lambda tx: {one.id for one in tx.waiting.held()})

    assert held == set(names)
    assert w.stage.kuma.closes == []


async def test_a_job_of_another_target_is_never_sent_and_goes_to_its_own(tmp_path: Path, database_url: str) -> None:
    async with two(tmp_path, database_url) as w, w.stage.runtime() as runtime:
        w.alert("a")
        runtime.health.expect_targets(runtime.targets)
        await runtime.poller.poll_once(sweep=True)
        await tell(runtime, lambda tx: tx.delivery.put([Put(subject="a", lane=Lane.CREATE, target="irp")]))
        with capture_logs() as logs:
            await until_rest(runtime)

        assert w.in_north("a")
        assert w.stage.irp.writes == []
        assert [line["target"] for line in says(logs, "job_of_another_target")] == ["north"]


async def test_jobs_of_a_target_that_nobody_serves_are_told_of(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        await tell(runtime, lambda tx: tx.delivery.put([Put(subject="a", lane=Lane.CREATE, target="north")]))
        with capture_logs() as logs:
            for _ in range(2):
                await look(runtime.store, health=runtime.health, metrics=runtime.metrics)
        unwell = runtime.health.ready().parts["delivery:north"]
        told = {trouble.part for trouble in condition(runtime.health, datetime.now(UTC))}
        await tell(runtime, lambda tx: tx.delivery.clear("a"))
        await look(runtime.store, health=runtime.health, metrics=runtime.metrics)

    assert "delivery:north" in told
    assert (unwell.state, unwell.reason) == ("failing", "1 wait, and north is not configured")
    assert [(line["target"], line["jobs"]) for line in says(logs, "target_unserved")] == [("north", 1)]
    assert "delivery:north" not in runtime.health.ready().parts


async def test_an_alert_without_a_route_is_looked_at_anew_when_it_changes(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url, {"tenants": [NORTH], "priorities": ["high"], "target": "north"}) as w:
        del w.stage.tables["irp"]
        w.stage.configure()
        w.alert("a", priority="low")
        await w.stage.passes(2)
        assert not w.north.incidents
        async with w.stage.runtime() as runtime:
            runtime.health.expect_targets(runtime.targets)
            w.stage.kuma.edit("a", priority="high")
            await runtime.poller.poll_once(sweep=True)
            await until_rest(runtime)

        assert w.in_north("a").fields["severity"] == "High"
