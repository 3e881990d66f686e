"""KUMA's close, whoami and tokens over a real socket, and what its people and correlators do to an alert."""

from __future__ import annotations

import pytest

from kuma_sync.sim.content import tenant_id
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.values import SimError

CLOSE = "/api/v1/alerts/close"


@pytest.mark.parametrize("version", ["v1", "v2", "v2.1", "v3"])
async def test_a_close_is_204_once_and_406_after(reach, version):
    kuma = KumaSim()
    id_ = kuma.raise_alert()

    async with reach(kuma) as client:
        first = await client.post(f"/api/{version}/alerts/close", json={"id": id_, "reason": "incorrect data"})
        second = await client.post(f"/api/{version}/alerts/close", json={"id": id_, "reason": "responded"})

    assert (first.status_code, first.content) == (204, b"")
    assert (second.status_code, second.json()["message"]) == (406, "alert already closed")
    assert kuma.closes == [(id_, "incorrect data")]
    assert [(call.id, call.reason, call.status) for call in kuma.close_calls] == [
        (id_, "incorrect data", 204),
        (id_, "responded", 406),
    ]
    assert (kuma.alerts[id_]["status"], kuma.alerts[id_]["closingReason"]) == ("closed", "incorrect data")


async def test_close_errors_come_in_kumas_order(reach):
    kuma = KumaSim()
    closed = kuma.raise_alert(tenant="Main")
    kuma.close(closed, "incident closed")
    kuma.knobs.disabled_tenants = {tenant_id("Main")}
    kuma.knobs.tenants = []
    good = {"authorization": f"Bearer {kuma.token}"}

    async with reach(kuma) as client:
        client.headers.pop("authorization")

        async def says(body: object, headers: dict[str, str]) -> tuple[int, str]:
            answer = await client.post(CLOSE, json=body, headers=headers)
            return answer.status_code, answer.json()["message"]

        assert await says({}, {}) == (400, "id required")
        assert await says(["no object"], {}) == (400, "id required")
        assert await says({"id": "unknown"}, {}) == (400, "reason required")
        assert await says({"id": "unknown", "reason": "Responded"}, {}) == (400, "invalid reason")
        body = {"id": "unknown", "reason": "responded"}
        assert await says(body, {}) == (400, "invalid authorization header")
        assert await says(body, {"authorization": "Bearer wrong"}) == (403, "access denied")
        assert await says(body, good) == (404, "alert not found")
        body["id"] = closed
        assert await says(body, good) == (403, "access denied")
        kuma.knobs.tenants = None
        assert await says(body, good) == (406, "tenant disabled")
        kuma.knobs.disabled_tenants = set()
        assert await says(body, good) == (406, "alert already closed")
    assert kuma.closes == []


async def test_a_stopped_correlator_fails_a_close_without_effect(reach):
    kuma = KumaSim()
    id_ = kuma.raise_alert()
    kuma.knobs.correlator_down = True

    async with reach(kuma) as client:
        answer = await client.post(CLOSE, json={"id": id_, "reason": "responded"})

    assert (answer.status_code, answer.json()["message"]) == (500, "correlator API request failed")
    assert kuma.alerts[id_]["status"] == "new"


async def test_a_body_without_content_type_and_with_other_capitals_can_be_accepted(reach):
    kuma = KumaSim()
    id_ = kuma.raise_alert()
    kuma.knobs.any_case_reason = True

    async with reach(kuma) as client:
        answer = await client.post(CLOSE, content=f'{{"id":"{id_}","reason":"Incorrect Data"}}')

    assert answer.status_code == 204
    assert kuma.closes == [(id_, "incorrect data")]


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Bearer", "Bearer a b", "bearer x"])
async def test_a_malformed_header_is_400(reach, header):
    async with reach(KumaSim()) as client:
        client.headers.pop("authorization")
        answer = await client.get("/api/v1/alerts/", headers={"authorization": header} if header is not None else {})

    assert (answer.status_code, answer.json()["message"]) == (400, "invalid authorization header")


async def test_a_token_can_be_replaced_expire_or_lack_an_operation(reach):
    kuma = KumaSim(token="old")

    async with reach(kuma) as client:

        async def code() -> int:
            return (await client.get("/api/v1/alerts/")).status_code

        assert await code() == 200
        kuma.token = "new"
        assert await code() == 403
        kuma.token, kuma.knobs.expired = "old", True
        assert await code() == 403
        kuma.knobs.denied_status = 401
        assert await code() == 401
        kuma.knobs.expired, kuma.knobs.denied_operations = False, {"GET /alerts"}
        assert await code() == 401
        assert (await client.get("/api/v1/users/whoami")).status_code == 200


async def test_a_token_without_a_tenants_role_sees_silently_fewer_alerts(reach):
    kuma = KumaSim()
    kuma.raise_alert(tenant="Main")
    there = kuma.raise_alert(tenant="Филиал Казань")
    kuma.knobs.tenants = [tenant_id("Филиал Казань")]

    async with reach(kuma) as client:
        listed = (await client.get("/api/v1/alerts/")).json()
        old = (await client.get("/api/v1/users/whoami")).json()
        new = (await client.get("/api/v3/users/whoami")).json()

    assert [alert["id"] for alert in listed] == [there]
    assert [(tenant["name"], tenant["role"]) for tenant in old["tenants"]] == [("Филиал Казань", "Tier 2 analyst")]
    assert [tenant["name"] for role in new["roles"] for tenant in role["tenants"]] == ["Филиал Казань"]


def test_growth_adds_events_and_moves_last_seen_to_now_but_never_back(clock):
    kuma = KumaSim(clock=clock)
    id_ = kuma.raise_alert(events=1)
    future = kuma.raise_alert(events=1, seen="2030-01-01T00:00:00Z")
    clock.forward(61)

    new = kuma.grow(id_, 2)
    kuma.grow(future)
    still = kuma.grow(future, move_last_seen=False)

    alert = kuma.alerts[id_]
    assert [event["ID"] for event in alert["events"]][1:] == new
    assert (alert["firstSeen"], alert["lastSeen"]) == ("2025-03-01T08:15:02Z", "2025-03-01T08:16:03Z")
    assert kuma.alerts[future]["lastSeen"] == "2030-01-01T00:00:00Z"
    assert kuma.alerts[future]["events"][-1]["ID"] == still[0]


def test_growth_can_leave_last_seen_where_it_is(clock):
    kuma = KumaSim(clock=clock)
    id_ = kuma.raise_alert(events=1)
    clock.forward(61)

    kuma.grow(id_, move_last_seen=False)

    assert kuma.alerts[id_]["lastSeen"] == "2025-03-01T08:15:02Z"
    assert len(kuma.alerts[id_]["events"]) == 2


def test_an_alert_walks_through_its_statuses_and_closed_is_final(clock):
    kuma = KumaSim(clock=clock)
    id_ = kuma.raise_alert(priority="low")
    walked = []

    for step in (kuma.assign, kuma.escalate, kuma.unescalate, kuma.close):
        step(id_)
        walked.append(kuma.alerts[id_]["status"])
    kuma.edit(id_, priority="high")

    assert walked == ["assigned", "escalated", "new", "closed"]
    assert kuma.alerts[id_]["priority"] == "high"
    for step in (kuma.grow, kuma.assign, kuma.close):
        with pytest.raises(SimError, match="closed"):
            step(id_)
    kuma.delete(id_)
    with pytest.raises(SimError, match="no alert"):
        kuma.delete(id_)


async def test_loaded_alerts_are_served_as_they_stand(reach):
    kuma = KumaSim()
    kuma.load([{"id": 17, "name": 5, "lastSeen": "yesterday", "events": "none", "tenantID": ["x"], "new": {"a": 1}}])

    async with reach(kuma) as client:
        [alert] = (await client.get("/api/v1/alerts/?id=17&withEvents&withAffected&tenantID=y&tenantID=['x']")).json()

    assert (alert["id"], alert["lastSeen"], alert["events"], alert["new"]) == (17, "yesterday", "none", {"a": 1})
    with pytest.raises(SimError, match="id"):
        kuma.load([{"name": "no id"}])
