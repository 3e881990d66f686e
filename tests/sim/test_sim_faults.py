"""Every fault shown to strike over a real socket: an injection that silently does nothing is worse than none."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.values import SimError

PATH = "/api/v1/incidents"
ALERTS = "/api/v1/alerts/"


async def left(request: asyncio.Task[httpx.Response]) -> None:
    """Leave the server alone with a request, as a client that waits no longer does."""
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_a_delay_waits_and_then_serves(reach):
    irp = IrpSim()
    irp.faults.add("delay", seconds=0.2)

    async with reach(irp) as client:
        answer = await client.post(PATH, json={"externalId": "1"})

    assert answer.status_code == 201
    assert answer.elapsed.total_seconds() >= 0.2
    assert irp.faults.fired == {"delay": 1}


async def test_a_status_is_answered_with_headers_and_without_effect(reach):
    irp = IrpSim()
    irp.faults.add("status", code=503, headers={"Retry-After": "7"}, times=1)

    async with reach(irp) as client:
        struck = await client.post(PATH, json={"externalId": "1"})
        spared = await client.post(PATH, json={"externalId": "2"})

    assert (struck.status_code, struck.headers["retry-after"]) == (503, "7")
    assert "date" in struck.headers
    assert spared.status_code == 201
    assert [incident.external_id for incident in irp.incidents.values()] == ["2"]


async def test_a_status_can_carry_text_or_json(reach):
    kuma = KumaSim()
    kuma.faults.add("status", code=502, body="bad gateway", times=1)
    kuma.faults.add("status", code=406, body={"message": "service not paired"}, times=1)

    async with reach(kuma) as client:
        text, structured = await client.get(ALERTS), await client.get(ALERTS)

    assert (text.status_code, text.text) == (502, "bad gateway")
    assert (structured.status_code, structured.json()) == (406, {"message": "service not paired"})


@pytest.mark.parametrize("code", [200, 502])
async def test_html_takes_the_place_of_json(reach, code):
    kuma = KumaSim()
    kuma.faults.add("html", code=code)

    async with reach(kuma) as client:
        answer = await client.get(ALERTS)

    assert (answer.status_code, answer.headers["content-type"]) == (code, "text/html; charset=utf-8")
    assert answer.text.startswith("<html>")


async def test_html_comes_in_any_encoding_and_under_any_name(reach):
    kuma = KumaSim()
    kuma.faults.add("html", encoding="utf-16", content_type="text/plain", times=1)
    kuma.faults.add("html", content_type="", times=1)

    async with reach(kuma) as client:
        named, unnamed = await client.get(ALERTS), await client.get(ALERTS)

    assert (named.headers["content-type"], named.content[:4]) == ("text/plain", b"\xff\xfe<\0")
    assert "content-type" not in unnamed.headers
    with pytest.raises(SimError, match="the name of an encoding"):
        kuma.faults.add("html", encoding="rot13")


async def test_a_reset_before_has_no_effect(reach):
    irp = IrpSim()
    irp.faults.add("reset_before", method="POST")

    async with reach(irp) as client:
        with pytest.raises(httpx.ReadError):
            await client.post(PATH, json={"externalId": "1", "title": "x" * 200_000})
        listed = await client.get(PATH)

    assert listed.json()["total"] == 0
    assert irp.requests[0].status == 0


async def test_a_reset_after_has_its_effect_and_no_answer(reach):
    irp = IrpSim()
    irp.faults.add("reset_after", method="POST", match="/incidents$", times=1)

    async with reach(irp) as client:
        with pytest.raises(httpx.ReadError):
            await client.post(PATH, json={"externalId": "1"})

    assert len(irp.by_key("1")) == 1
    assert irp.faults.fired == {"reset_after": 1}


async def test_a_reset_after_a_close_makes_the_retry_see_406(reach):
    kuma = KumaSim()
    body = {"id": kuma.raise_alert(), "reason": "responded"}
    kuma.faults.add("reset_after", match="alerts/close", times=1)

    async with reach(kuma) as client:
        with pytest.raises(httpx.ReadError):
            await client.post("/api/v1/alerts/close", json=body)
        retry = await client.post("/api/v1/alerts/close", json=body)

    assert retry.status_code == 406
    assert len(kuma.closes) == 1


@pytest.mark.parametrize("after", [10, 4096, 10_000_000])
async def test_a_cut_ends_the_body_in_the_middle_whatever_its_length(reach, after):
    kuma = KumaSim()
    kuma.raise_alert(events=50)
    kuma.faults.add("cut", after=after)
    got = b""

    async with reach(kuma) as client, client.stream("GET", ALERTS + "?withEvents") as answer:
        chunks = answer.aiter_raw()
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012  # what came before the break counts
            while True:
                got += await anext(chunks)

    assert answer.status_code == 200
    assert got.startswith(b"[{")
    assert len(got) == after or (after == 10_000_000 and len(got) > 1000)


async def test_a_cut_strikes_answers_of_known_length_too(reach):
    irp = IrpSim()
    irp.faults.add("cut")

    async with reach(irp) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(PATH)

    assert irp.faults.fired["cut"] == 1


async def test_a_drip_sends_the_whole_body_slowly(reach):
    kuma = KumaSim()
    kuma.raise_alert(events=0)
    kuma.faults.add("drip", seconds=0.02, piece=50)

    async with reach(kuma) as client:
        start = time.monotonic()
        answer = await client.get(ALERTS)

    assert len(answer.json()) == 1
    assert time.monotonic() - start >= 0.02 * (len(answer.content) // 50 - 2)


async def test_a_drip_ends_when_the_client_leaves(reach, until):
    irp = IrpSim()
    irp.faults.add("drip", seconds=0.05, piece=1)

    async with reach(irp) as client:
        task = asyncio.create_task(client.get(PATH))
        await until(lambda: irp.requests and irp.requests[0].size)
        await left(task)
        await asyncio.sleep(0.2)  # in this same loop the server sees that, and pieces would go out, however late it is
        sent = irp.requests[0].size
        await asyncio.sleep(0.2)

    assert irp.requests[0].size == sent
    assert not irp.requests[0].complete


async def test_a_hang_lasts_until_cleared_and_then_serves_with_its_body(reach, until):
    irp = IrpSim()
    rule = irp.faults.add("hang")

    async with reach(irp) as client, asyncio.TaskGroup() as group:
        task = group.create_task(client.post(PATH, json={"externalId": "1", "title": "x" * 100_000}))
        await until(lambda: rule.waiting)
        await asyncio.sleep(0.2)  # a hang is what outlasts this
        hanging = not task.done() and not irp.incidents
        irp.faults.clear()
        answer = await task

    assert hanging
    assert answer.status_code == 201
    assert len(irp.by_key("1")) == 1


async def test_a_hang_ends_when_the_client_leaves_and_has_no_effect(reach, until):
    irp = IrpSim()
    rule = irp.faults.add("hang")

    async with reach(irp) as client:
        task = asyncio.create_task(client.post(PATH, json={"externalId": "1"}))
        await until(lambda: rule.waiting)
        await left(task)
        await until(lambda: not rule.waiting)

    assert irp.incidents == {}


@pytest.mark.parametrize("code", [401, 403])
async def test_a_good_token_can_be_refused(reach, code):
    kuma = KumaSim()
    kuma.faults.add("unauthorized", code=code)

    async with reach(kuma) as client:
        answer = await client.get(ALERTS)

    assert (answer.status_code, answer.json()["message"]) == (code, "access denied")


async def test_rules_choose_by_method_match_count_and_rhythm(reach):
    kuma = KumaSim()
    kuma.faults.add("status", code=500, match="status=new", every=3)
    kuma.faults.add("status", code=501, method="post")
    kuma.faults.add("status", code=504, match="whoami$", times=2)

    async with reach(kuma) as client:
        listed = [(await client.get(ALERTS + "?status=new")).status_code for _ in range(6)]
        spared = (await client.get(ALERTS)).status_code
        posted = (await client.post("/api/v1/alerts/close", json={})).status_code
        asked = [(await client.get("/api/v1/users/whoami")).status_code for _ in range(3)]

    assert listed == [200, 200, 500, 200, 200, 500]
    assert (spared, posted) == (200, 501)
    assert asked == [504, 504, 200]


async def test_chance_is_seeded(reach):
    async def struck(seed: int) -> list[int]:
        kuma = KumaSim(seed=seed)
        kuma.faults.add("status", probability=0.5)
        async with reach(kuma) as client:
            return [(await client.get(ALERTS)).status_code for _ in range(20)]

    first, again, other = await struck(1), await struck(1), await struck(2)

    assert first == again != other
    assert set(first) == {200, 503}


async def test_a_delay_and_another_fault_strike_together(reach):
    kuma = KumaSim()
    kuma.faults.add("delay", seconds=0.1)
    kuma.faults.add("status", code=500)

    async with reach(kuma) as client:
        answer = await client.get(ALERTS)

    assert answer.status_code == 500
    assert answer.elapsed.total_seconds() >= 0.1
    assert kuma.faults.fired == {"delay": 1, "status": 1}


def test_a_fault_that_does_not_exist_is_refused():
    faults = KumaSim().faults

    with pytest.raises(SimError, match="unknown fault 'explode'"):
        faults.add("explode")
    with pytest.raises(SimError, match="no argument 'secnds'"):
        faults.add("delay", secnds=1)
    assert faults.rules == []
