"""A request is in flight when the process is killed by SIGKILL: before the other side did it, after, or long before."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from lives import Lives, lives
from scenarios import SCENARIOS, Expected, judge, repeated
from stage import Stage
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.faults import Exchange, Faults
from kuma_sync.sim.values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request by its method and the end of its path, and the work that makes it. `events`: it may repeat them."""

    method: str
    ending: str
    scenario: str
    to_kuma: bool = False
    events: bool = False


REQUESTS = {
    "create": Request(method="POST", ending="/incidents", scenario="create"),
    "update": Request(method="PATCH", ending="", scenario="update", events=True),
    "add_events": Request(method="POST", ending="/events", scenario="add_events", events=True),
    "close_to_irp": Request(method="POST", ending="/close", scenario="close_to_irp"),
    "close_to_kuma": Request(method="POST", ending="/alerts/close", scenario="close_to_kuma", to_kuma=True),
}

Deed = Callable[[int, Exchange], Awaitable[None]]


class Murder(Faults):
    """Does `deed` to the sender of the first request of one kind, once it is `armed` with the sender's number."""

    def __init__(self, request: Request, deed: Deed) -> None:
        super().__init__()
        self._request = request
        self._deed = deed
        self.victim = 0

    def armed(self, victim: int) -> None:
        self.victim = victim

    async def around(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = scope["method"] == self._request.method and scope["path"].endswith(self._request.ending)
        if not (self.victim and wanted):
            await app(scope, receive, send)
            return
        victim, self.victim = self.victim, 0
        await self._deed(victim, Exchange(app=app, scope=scope, receive=receive, send=send))


async def before(victim: int, exchange: Exchange) -> None:
    """Kill, and do nothing of what was asked."""
    await exchange.swallow_request()
    os.kill(victim, signal.SIGKILL)
    await exchange.gone()


async def after(victim: int, exchange: Exchange) -> None:
    """Do what was asked, and kill before the answer."""
    await exchange.app(exchange.scope, exchange.receive, _nowhere)
    os.kill(victim, signal.SIGKILL)
    await exchange.gone()


class Late(Faults):
    """An IRP slow enough to make the incident of a dead sender only when somebody asked for it and heard of none."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._irp = stage.irp
        self._body: Json = {}
        self.found_nothing = 0

    async def dead(self, victim: int, exchange: Exchange) -> None:
        """Kill the sender and keep what it asked for."""
        message = await exchange.receive()
        self._body = json.loads(message["body"])
        assert not message.get("more_body")
        os.kill(victim, signal.SIGKILL)
        await exchange.gone()

    async def around(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        asked = parse_qs(scope["query_string"].decode()).get("externalId")
        await app(scope, receive, send)
        if self._body and asked == [self._body["externalId"]]:
            self.found_nothing += 1
            self._irp.create(self._body)
            self._body = {}


@pytest.mark.parametrize("name", REQUESTS)
async def test_killed_with_a_request_in_flight_nothing_is_lost_or_doubled(
    tmp_path: Path, database_url: str, name: str
) -> None:
    request = REQUESTS[name]
    async with lives(tmp_path, database_url, concurrency=4) as life:
        for deed in (before, after):
            expected = await _killed(life, request, deed)
            await life.recover()

            judge(life.stage, expected, f"killed {deed.__name__} the effect")
            twice = repeated(life.stage, expected.alerts)
            assert set(twice.values()) <= {2}
            assert bool(twice) <= request.events, "events may be repeated, but a create is found"


async def test_a_create_that_takes_effect_during_the_next_search_is_not_doubled(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with lives(tmp_path, sqlite_url, concurrency=1) as life:
        late = Late(life.stage)
        expected = await _killed(life, REQUESTS["create"], late.dead)
        life.stage.irp.faults = late
        await life.recover()

    assert late.found_nothing == 1
    judge(life.stage, expected, "killed long before the effect")


async def _killed(life: Lives, request: Request, deed: Deed) -> Expected:
    """Have a process killed in the middle of its work; return what must come of it."""
    stage, scenario = life.stage, SCENARIOS[request.scenario]
    murder = Murder(request, deed)
    if request.to_kuma:
        stage.kuma.faults = murder
    else:
        stage.irp.faults = murder
    expected = scenario.change(stage, await life.delivered(scenario.delivered))
    code = await life.process(born=murder.armed)
    assert code == -signal.SIGKILL, "the request was never made"
    return expected


async def _nowhere(_message: Message) -> None:
    return
