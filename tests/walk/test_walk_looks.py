"""A person's look at one alert in the console: both sides are asked through the daemon's gates, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from stage import Stage, staged, tell

from kuma_sync.app.console_source import Source
from kuma_sync.core.breaker import Ends
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.web.console.orders import NothingDone

LOOKS = ("live", "events", "requests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """A delivered alert, and the console's source in the daemon that delivered it."""

    stage: Stage
    runtime: Runtime
    source: Source
    alert_id: str

    async def looks(self, what: str) -> object:
        """Look, as the page of the alert does."""
        match what:
            case "live":
                return await self.source.live(self.alert_id)
            case "events":
                return await self.source.events(self.alert_id, 5)
            case _:
                return await self.source.requests(self.alert_id)

    @property
    def asked(self) -> int:
        """Count the requests that both sides had."""
        return len(self.stage.irp.requests) + len(self.stage.kuma.requests)


@asynccontextmanager
async def looking(folder: Path, url: str, *, limits: Limits | None = None) -> AsyncIterator[Looking]:
    async with staged(folder, url) as stage:
        alert_id = stage.kuma.raise_alert(events=7)
        async with stage.runtime(limits=limits) as runtime:
            await once(runtime)
            settings = stage.settings()

            async def nothing() -> None:
                """Store nothing: what was done is not counted here."""

            source = Source(runtime.store, settings=lambda: settings, runtime=lambda: runtime, note=nothing)
            yield Looking(stage=stage, runtime=runtime, source=source, alert_id=alert_id)


async def test_an_open_gate_lets_every_look_through(tmp_path: Path, sqlite_url: str) -> None:
    async with looking(tmp_path, sqlite_url) as here:
        live = await here.source.live(here.alert_id)
        events = await here.source.events(here.alert_id, 5)
        requests = await here.source.requests(here.alert_id)

    assert [one.incident.id for one in live.incidents] == [here.stage.incident(here.alert_id).id]
    assert (len(events.events), events.count) == (5, 7)
    assert {"create", "find"} <= {one.operation for one in requests}


@pytest.mark.parametrize(
    ("what", "part", "said"),
    [
        ("live", "irp", "Deliveries to irp wait until .*, so it is not asked now either: it asked to wait"),
        ("events", "kuma", "KUMA is asked nothing until .*, so not for this alert either: it asked to wait"),
        ("requests", "kuma", "KUMA is asked nothing until .*, so not for this alert either: it asked to wait"),
    ],
)
async def test_while_a_side_asked_to_wait_no_look_asks_it(
    tmp_path: Path, sqlite_url: str, what: str, part: str, said: str
) -> None:
    async with looking(tmp_path, sqlite_url) as here:
        here.runtime.gates[part].asked_to_wait(timedelta(minutes=1))
        before = here.asked
        with pytest.raises(NothingDone, match=said):
            await here.looks(what)

    assert here.asked == before


@pytest.mark.parametrize(("what", "part"), [("live", "irp"), ("events", "kuma"), ("requests", "kuma")])
async def test_what_an_operator_paused_no_look_asks(tmp_path: Path, sqlite_url: str, what: str, part: str) -> None:
    async with looking(tmp_path, sqlite_url) as here:
        await tell(here.runtime, lambda tx: tx.pauses.begin(part, until=None, by="operator:anna"))
        await here.runtime.maintenance.look()
        before = here.asked
        with pytest.raises(NothingDone, match=f"is not asked: an operator paused {part}"):
            await here.looks(what)

    assert here.asked == before


async def test_a_look_is_never_the_trial_that_ends_an_outage(tmp_path: Path, sqlite_url: str) -> None:
    async with looking(tmp_path, sqlite_url) as here:
        gate = here.runtime.gates["irp"]
        gate.stand_still("out of service: answered 503", ends=Ends.OUTAGE)
        gate.wake()  # a trial is due
        before = here.asked
        with pytest.raises(NothingDone, match="so it is not asked now either: out of service: answered 503"):
            await here.looks("live")

        assert here.asked == before
        assert gate.paused is not None
        assert gate.open_at() is None


async def test_a_wait_that_a_look_is_told_holds_for_deliveries(tmp_path: Path, sqlite_url: str) -> None:
    async with looking(tmp_path, sqlite_url) as here:
        here.stage.irp.faults.add("status", code=429, headers={"Retry-After": "60"})
        with pytest.raises(NothingDone, match=r"The IRP cannot be asked: .*429"):
            await here.looks("live")
        waits = here.runtime.gates["irp"].open_at()

    assert waits is not None
    assert here.runtime.gates["irp"].paused is None


@pytest.mark.parametrize("what", LOOKS)
async def test_a_look_waits_for_a_short_time_only(tmp_path: Path, sqlite_url: str, what: str) -> None:
    limits = replace(Limits(), look_within=timedelta(milliseconds=100))
    async with looking(tmp_path, sqlite_url, limits=limits) as here:
        for side in (here.stage.irp, here.stage.kuma):
            side.faults.add("hang")
        with pytest.raises(NothingDone, match=r"no answer within 0\.1 s; other requests may have their turn first"):
            await here.looks(what)


@pytest.mark.parametrize("what", LOOKS)
async def test_before_the_daemon_works_no_look_asks(tmp_path: Path, sqlite_url: str, what: str) -> None:
    async with looking(tmp_path, sqlite_url) as here:
        settings, before = here.stage.settings(), here.asked
        source = Source(here.runtime.store, settings=lambda: settings, runtime=lambda: None, note=here.source._note)
        with pytest.raises(NothingDone, match="The daemon is starting: neither KUMA nor an IRP can be asked yet"):
            await replace(here, source=source).looks(what)

    assert here.asked == before
