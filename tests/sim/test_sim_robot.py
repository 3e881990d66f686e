"""The simulated Security Vision that asks KUMA by itself, as its stock connector does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import respx

from kuma_sync.sim.comparison import compare
from kuma_sync.sim.irp import Incident
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.robot import RobotOptions, RobotSim
from kuma_sync.sim.server import SimServer

Until = Callable[[Callable[[], object]], Awaitable[None]]


@asynccontextmanager
async def asking(kuma: KumaSim, **options: object) -> AsyncIterator[RobotSim]:
    """Give a robot that may ask this KUMA; it does nothing by itself."""
    async with SimServer(kuma.app) as server:
        yield RobotSim(server.url, kuma_token=kuma.token, options=RobotOptions(**options))


@asynccontextmanager
async def at_work(robot: RobotSim) -> AsyncIterator[None]:
    working = asyncio.create_task(robot.run())
    try:
        yield
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


def card(robot: RobotSim, alert_id: str) -> Incident:
    found = robot.card(alert_id)
    assert found is not None
    return found


@pytest.mark.parametrize("address", ["kuma.example.com:7223", "https://kuma.example.com:7223/"])
async def test_it_asks_as_the_stock_connector_does(address: str):
    with respx.mock() as kuma:
        asked = kuma.get(url="https://kuma.example.com:7223/api/v1/alerts/?withEvents&status=new").respond(json=[])
        robot = RobotSim(address, kuma_token="t")
        await robot.ask()

    request = asked.calls.last.request
    assert request.url.query == b"withEvents&status=new"
    assert (b"authorization", b"Bearer t") in request.headers.raw
    assert robot.failures == []


async def test_each_alert_gets_one_card_and_a_repeat_changes_nothing():
    kuma = KumaSim()
    ids = [kuma.raise_alert(events=2) for _ in range(3)]
    async with asking(kuma) as robot:
        for _ in range(3):
            await robot.ask()

    assert sorted(one.external_id for one in robot.incidents.values()) == sorted(f"kuma:kuma:{id_}" for id_ in ids)
    assert (len(robot.writes), robot.repeats) == (3, 6)
    assert compare(kuma, robot).agrees


async def test_a_grown_alert_adds_what_is_new_to_its_card():
    kuma = KumaSim()
    id_ = kuma.raise_alert(events=2)
    async with asking(kuma) as robot:
        await robot.ask()
        kuma.grow(id_, events=3)
        kuma.edit(id_, priority="critical")
        await robot.ask()

    assert [operation for operation, _ in card(robot, id_).history] == ["create", "update"]
    assert len(card(robot, id_).events) == 5
    assert card(robot, id_).fields["severity"] == "Critical"
    assert compare(kuma, robot).agrees


async def test_a_card_that_an_analyst_closes_closes_its_alert(until: Until):
    kuma = KumaSim()
    false, solved = kuma.raise_alert(), kuma.raise_alert()
    async with asking(kuma, every=0.02) as robot, at_work(robot):
        await until(lambda: len(robot.incidents) == 2)
        robot.analyst_close(card(robot, false).id, "False positive")
        robot.analyst_close(card(robot, solved).id, "Solved")
        await until(lambda: len(kuma.closes) == 2)
        await until(lambda: len(robot.closings) == 2)

    assert kuma.closes == [(false, "incorrect data"), (solved, "responded")]
    assert [closing.status for closing in robot.closings] == [204, 204]
    assert compare(kuma, robot).agrees


@pytest.mark.parametrize(("tries", "status", "closed"), [(1, 503, []), (3, 204, ["responded"])])
async def test_a_closing_that_fails_is_forgotten_unless_told_to_try_again(tries: int, status: int, closed: list[str]):
    kuma = KumaSim()
    id_ = kuma.raise_alert()
    async with asking(kuma, tries=tries, wait=0.01) as robot:
        await robot.ask()
        kuma.faults.add("status", match="close", code=503, times=2)
        robot.analyst_close(card(robot, id_).id, "Solved")
        await robot.send_closings()

    assert [(closing.status, closing.tries) for closing in robot.closings] == [(status, tries)]
    assert [reason for _, reason in kuma.closes] == closed


async def test_a_closing_refused_for_good_is_not_tried_again():
    kuma = KumaSim()
    id_ = kuma.raise_alert()
    async with asking(kuma, tries=5, wait=0.01) as robot:
        await robot.ask()
        kuma.close(id_)
        robot.analyst_close(card(robot, id_).id, "Solved")
        await robot.send_closings()

    assert [(closing.status, closing.tries) for closing in robot.closings] == [(406, 1)]


async def test_a_closing_names_the_card_only_where_it_is_told_to():
    bodies = []
    for tells_card in (False, True):
        with respx.mock(base_url="https://kuma.example.com:7223") as kuma:
            closing = kuma.post("/api/v1/alerts/close").respond(204)
            robot = RobotSim("kuma.example.com:7223", kuma_token="t", options=RobotOptions(tells_card=tells_card))
            robot.take({"id": "a1", "name": "R001", "status": "new"})
            robot.analyst_close(card(robot, "a1").id, "Solved")
            await robot.send_closings()
        bodies.append(json.loads(closing.calls.last.request.content))

    assert bodies == [
        {"id": "a1", "reason": "responded"},
        {"id": "a1", "reason": "responded", "incident": card(robot, "a1").id},
    ]


async def test_without_paging_it_sees_the_newest_page_only():
    kuma = KumaSim()
    for _ in range(260):
        kuma.raise_alert(events=0)
    async with asking(kuma) as robot:
        await robot.ask()

    assert len(robot.incidents) == 250


async def test_with_paging_it_asks_until_a_page_is_empty():
    kuma = KumaSim()
    for _ in range(510):
        kuma.raise_alert(events=0)
    async with asking(kuma, pages=True) as robot:
        await robot.ask()

    assert len(robot.incidents) == 510
    assert [request.query for request in kuma.requests] == [
        f"withEvents&status=new&page={page}" for page in (1, 2, 3, 4)
    ]


async def test_with_paging_it_leaves_a_server_that_always_shows_the_first_page():
    kuma = KumaSim()
    kuma.knobs.clamp_page = True
    kuma.raise_alert()
    async with asking(kuma, pages=True) as robot:
        await robot.ask()

    assert (len(robot.incidents), len(kuma.requests), robot.failures) == (1, 2, [])


@pytest.mark.parametrize(("kind", "arguments"), [("status", {"code": 500}), ("cut", {"after": 40})])
async def test_an_answer_that_failed_makes_no_card_and_the_next_one_does(kind: str, arguments: dict[str, int]):
    kuma = KumaSim()
    kuma.raise_alert(events=3)
    async with asking(kuma) as robot:
        kuma.faults.add(kind, times=1, **arguments)
        await robot.ask()
        before = len(robot.incidents)
        await robot.ask()

    assert (before, len(robot.failures), len(robot.incidents)) == (0, 1, 1)


async def test_what_is_no_alert_is_counted_and_left():
    kuma = KumaSim()
    kuma.knobs.strays = [None, 7, {"name": "without an id"}]
    kuma.raise_alert()
    async with asking(kuma) as robot:
        await robot.ask()

    assert (robot.unreadable, len(robot.incidents)) == (3, 1)


async def test_an_alert_shown_as_closed_closes_its_card():
    kuma = KumaSim()
    id_ = kuma.raise_alert()
    async with asking(kuma, query="withEvents&status=new&status=closed") as robot:
        await robot.ask()
        kuma.close(id_, "incorrect data")
        await robot.ask()

    assert (card(robot, id_).status, card(robot, id_).resolution) == ("closed", "incorrect data")
    assert robot.closings == []
    assert compare(kuma, robot).agrees


async def test_a_card_that_was_deleted_is_made_anew_when_its_alert_is_shown():
    kuma = KumaSim()
    id_ = kuma.raise_alert()
    async with asking(kuma) as robot:
        await robot.ask()
        first = card(robot, id_).id
        robot.delete(first)
        await robot.ask()

    assert card(robot, id_).id != first


async def test_analysts_close_cards_by_themselves_after_a_while(until: Until, clock):
    kuma = KumaSim()
    id_ = kuma.raise_alert()
    async with SimServer(kuma.app) as server:
        options = RobotOptions(every=0.02, closes_after=0.1)
        robot = RobotSim(server.url, kuma_token=kuma.token, options=options, clock=clock)
        async with at_work(robot):
            await until(lambda: robot.rounds >= 3)
            early = list(kuma.closes)
            clock.forward(1)
            await until(lambda: kuma.closes)

    assert (early, kuma.closes) == ([], [(id_, "responded")])


async def test_its_cards_are_shown_over_http_and_closed_by_order(reach, until: Until):
    kuma = KumaSim()
    id_ = kuma.raise_alert(events=2)
    async with asking(kuma) as robot, reach(robot) as client, at_work(robot):
        await until(lambda: robot.card(id_))
        (listed,) = (await client.get("/cards")).json()
        one = (await client.get(f"/cards/{id_}")).json()
        missing = await client.get("/cards/unknown")
        denied = await client.get("/cards", headers={"authorization": "Bearer wrong"})
        order = {"do": "analyst_close", "id": listed["id"], "resolution": "False positive"}
        ordered = await client.post("/_sim/act", json=order)
        await until(lambda: kuma.closes and robot.closings)
        state = (await client.get("/_sim/state")).json()

    assert listed == one
    assert (listed["externalId"], listed["status"], listed["history"]) == (f"kuma:kuma:{id_}", "open", ["create"])
    assert (listed["fields"]["title"], len(listed["events"])) == (kuma.alerts[id_]["name"], 2)
    assert (missing.status_code, denied.status_code, ordered.status_code) == (404, 403, 200)
    assert state["closings"] == [{"id": id_, "reason": "incorrect data", "status": 204}]
