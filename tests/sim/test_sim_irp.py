"""The IRP over a real socket: the default wire shapes, and every knob that bends them."""

from __future__ import annotations

import pytest

from kuma_sync.sim.errors import SimError
from kuma_sync.sim.irp import IrpSim

PATH = "/api/v1/incidents"


async def create(client, key="kuma:kuma:1", **fields):
    answer = await client.post(PATH, json={"externalId": key, "title": "T", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_incident_is_created_updated_filled_and_closed(reach):
    irp = IrpSim(prefix="SV")

    async with reach(irp) as client:
        made = await create(client, severity="Low", assignee="x", events=[{"ID": "1"}])
        path = f"{PATH}/{made['id']}"
        update = await client.patch(path, json={"severity": "High", "assignee": None, "events": [{"ID": "2"}]})
        more = await client.post(f"{path}/events", json={"events": [{"ID": "3"}, {"ID": "3"}]})
        close = await client.post(f"{path}/close", json={"reason": "responded", "comment": ""})
        again = await client.post(f"{path}/close", json={"reason": "responded", "comment": ""})

    [incident] = irp.by_key("kuma:kuma:1")
    assert set(made) == {"id", "number", "url"}
    assert (made["number"], made["url"].rpartition("/")[2]) == ("SV-000001", made["id"])
    assert [answer.status_code for answer in (update, more, close, again)] == [204, 204, 204, 409]
    assert incident.fields == {"title": "T", "severity": "High", "assignee": None}
    assert [event["ID"] for event in incident.events] == ["1", "2", "3", "3"]
    assert (incident.status, incident.resolution) == ("closed", "responded")
    assert [operation for operation, _, _ in irp.writes] == ["create", "update", "add_events", "close"]
    assert [operation for operation, _ in incident.history] == ["create", "update", "add_events", "close"]


async def test_find_answers_the_agreed_shape_and_only_the_key_asked_for(reach):
    irp = IrpSim()

    async with reach(irp) as client:
        made = await create(client, "kuma:kuma:1")
        await create(client, "kuma:kuma:10")
        found = (await client.get(PATH, params={"externalId": "kuma:kuma:1"})).json()

    assert found == {
        "items": [{**made, "externalId": "kuma:kuma:1", "status": "open", "resolution": ""}],
    }


async def test_the_closed_are_listed_by_status_time_limit_and_offset(reach, clock):
    irp = IrpSim(clock=clock)
    made = []

    async with reach(irp) as client:
        for number in range(4):
            made.append((await create(client, f"k{number}"))["id"])
        for number in (2, 0, 1):
            clock.forward(60)
            irp.analyst_close(made[number], "False positive")
        everyone = (await client.get(PATH, params={"status": "closed", "limit": 10})).json()
        since = {"status": "closed", "updatedSince": "2025-03-01T08:17:02.700Z"}
        late = (await client.get(PATH, params=since)).json()
        second = (await client.get(PATH, params={**since, "limit": 1, "offset": 1})).json()
        probe = (await client.get(PATH, params={"limit": 1})).json()
        bad = await client.get(PATH, params={"updatedSince": "2025-03-01"})

    assert [row["externalId"] for row in everyone["items"]] == ["k2", "k0", "k1"]
    assert [row["externalId"] for row in late["items"]] == ["k0", "k1"]
    assert late["items"][0] == {
        "id": made[0],
        "externalId": "k0",
        "status": "closed",
        "resolution": "False positive",
        "updatedAt": "2025-03-01T08:17:02.700Z",
    }
    assert ([row["externalId"] for row in second["items"]], second["total"]) == (["k1"], 2)
    assert (len(probe["items"]), probe["total"]) == (1, 4)
    assert bad.status_code == 400


async def test_a_second_create_doubles_unless_the_key_is_unique(reach):
    irp = IrpSim()

    async with reach(irp) as client:
        await create(client)
        await create(client)
        irp.knobs.unique_key = True
        third = await client.post(PATH, json={"externalId": "kuma:kuma:1", "title": "T"})

    assert third.status_code == 409
    assert irp.doubled() == ["kuma:kuma:1"]
    assert len(irp.by_key("kuma:kuma:1")) == 2


@pytest.mark.parametrize("knob", [401, 403])
async def test_a_wrong_token_is_refused(reach, knob):
    irp = IrpSim()
    irp.knobs.denied_status = knob

    async with reach(irp) as client:
        wrong = await client.get(PATH, headers={"authorization": "Bearer no"})
        client.headers.pop("authorization")
        missing = await client.post(PATH, json={"externalId": "1"})

    assert (wrong.status_code, missing.status_code) == (knob, knob)
    assert irp.incidents == {}


async def test_the_token_can_be_expected_in_another_header(reach):
    irp = IrpSim()
    irp.knobs.token_header = "X-Token"

    async with reach(irp) as client:
        bearer = await client.get(PATH)
        named = await client.get(PATH, headers={"x-token": irp.token})

    assert (bearer.status_code, named.status_code) == (401, 200)


async def test_unknown_incidents_and_broken_bodies_are_refused(reach):
    irp = IrpSim()

    async with reach(irp) as client:
        made = await create(client)
        unknown = [
            await client.patch(f"{PATH}/no", json={}),
            await client.post(f"{PATH}/no/events", json={"events": []}),
            await client.post(f"{PATH}/no/close", json={}),
        ]
        broken = [
            await client.post(PATH, content="{"),
            await client.post(PATH, json=[]),
            await client.post(f"{PATH}/{made['id']}/events", json={}),
        ]

    assert [answer.status_code for answer in unknown] == [404, 404, 404]
    assert [answer.status_code for answer in broken] == [400, 400, 400]


async def test_a_fresh_incident_hides_from_find_for_the_lag(reach, clock):
    irp = IrpSim(clock=clock)
    irp.knobs.find_lag = 5

    async with reach(irp) as client:

        async def found() -> int:
            return len((await client.get(PATH, params={"externalId": "kuma:kuma:1"})).json()["items"])

        await create(client)
        before = await found()
        clock.forward(5)
        after = await found()

    assert (before, after) == (0, 1)


async def test_filters_can_be_ignored(reach):
    irp = IrpSim()
    irp.knobs.ignore_filters = irp.knobs.ignore_external_id = True

    async with reach(irp) as client:
        await create(client, "k1")
        listed = (await client.get(PATH, params={"status": "closed", "updatedSince": "2999-01-01T00:00:00Z"})).json()
        found = (await client.get(PATH, params={"externalId": "k2"})).json()

    assert [row["status"] for row in listed["items"]] == ["open"]
    assert [row["externalId"] for row in found["items"]] == ["k1"]


async def test_large_bodies_and_ugly_titles_are_refused_without_effect(reach):
    irp = IrpSim()
    irp.knobs.max_body, irp.knobs.reject_titles = 1000, "ugly"

    async with reach(irp) as client:
        large = await client.post(PATH, json={"externalId": "1", "title": "x" * 1000})
        ugly = await client.post(PATH, json={"externalId": "2", "title": "an ugly one"})
        await create(client)

    assert (large.status_code, ugly.status_code) == (413, 422)
    assert len(irp.incidents) == 1


async def test_a_create_can_work_and_answer_no_id(reach):
    irp = IrpSim()
    irp.knobs.no_id = True

    async with reach(irp) as client:
        answer = await create(client)

    assert answer == {}
    assert len(irp.by_key("kuma:kuma:1")) == 1


async def test_latency_is_waited_before_the_effect(reach):
    irp = IrpSim()
    irp.knobs.latency = 0.2

    async with reach(irp) as client:
        answer = await client.get(PATH)

    assert answer.elapsed.total_seconds() >= 0.2


async def test_the_desk_closes_reopens_edits_and_deletes(reach, clock):
    irp = IrpSim(clock=clock)

    async with reach(irp) as client:
        id_ = (await create(client, severity="Low"))["id"]
        answer = await client.get(PATH)

    clock.forward(1)
    irp.analyst_close(id_, "Resolved")
    irp.reopen(id_)
    irp.analyst_edit(id_, severity="High")
    incident = irp.incidents[id_]
    assert "date" in answer.headers
    assert (incident.status, incident.resolution, incident.edited) == ("open", "", {"severity"})
    assert incident.fields["severity"] == "High"
    assert incident.updated_at == clock.now
    assert [operation for operation, _, _ in irp.writes] == ["create"]
    irp.delete(id_)
    assert (irp.incidents, irp.deleted) == ({}, [incident])
    with pytest.raises(SimError, match="no incident"):
        irp.reopen(id_)
