"""R-Vision's API v2 over a real socket: each of its odd ways, as its public client and the public bridge meet them."""

from __future__ import annotations

import json

import pytest

from kuma_sync.sim.irp import IrpSim

PATH = "/api/v2/incidents"
KEY = "kuma:kuma:1"


@pytest.fixture
def rvision(reach, clock):
    """Return the simulator and what opens a client with its own header for the token."""
    sim = IrpSim(dialect="rvision", prefix="11-22", clock=clock)

    def open_door():
        return reach(sim)

    return sim, open_door


def token(sim):
    return {"X-Token": sim.token}


async def write(client, sim, **fields):
    return await client.post(PATH, json=fields, headers=token(sim))


async def search(client, sim, **query):
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in query.items()}
    return await client.get(PATH, params=texts, headers=token(sim))


def by(**properties):
    return [{"property": name, "operator": "=", "value": value} for name, value in properties.items()]


async def test_the_token_stands_alone_in_its_own_header(rvision):
    sim, door = rvision

    async with door() as client:
        bearer = await client.get("/api/v2/tokens/get_info_by_token")
        own = await client.get("/api/v2/tokens/get_info_by_token", headers=token(sim))

    assert (bearer.status_code, bearer.json()) == (401, {"error": "access denied"})
    assert (own.status_code, own.json()) == (200, {"success": True})


async def test_one_address_creates_without_and_updates_with_an_identifier(rvision):
    sim, door = rvision

    async with door() as client:
        made = (await write(client, sim, kuma_alert_id=KEY, description="T", level="Низкий")).json()["data"]
        uuid, identifier = made[0]["uuid"], made[0]["identifier"]
        await write(client, sim, uuid=uuid, level="Высокий")
        await write(client, sim, identifier=identifier, device_vendor="v")

    [incident] = sim.by_key(KEY)
    assert (incident.id, incident.number, len(made)) == (uuid, identifier, 1)
    assert identifier == "11-22-000001"
    assert [incident.fields[name] for name in ("description", "level", "device_vendor")] == ["T", "Высокий", "v"]
    assert [deed for deed, _ in incident.history] == ["create", "update", "update"]


async def test_a_second_create_with_the_same_tag_is_a_silent_twin(rvision):
    sim, door = rvision

    async with door() as client:
        answers = [await write(client, sim, kuma_alert_id=KEY, description="T") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert sim.doubled() == [KEY]


async def test_a_value_of_a_dictionary_is_written_by_name_and_read_as_an_object(rvision):
    sim, door = rvision

    async with door() as client:
        await write(client, sim, kuma_alert_id=KEY, level="Высокий", company="Main")
        [row] = (await search(client, sim, filter=by(level="Высокий"))).json()["data"]["result"]

    assert (row["level"], row["company"]["name"]) == ({"id": 3, "name": "Высокий"}, "Main")
    assert row["status"]["name"] == "Зарегистрирован"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"level": "High"}, "level: there is no value 'High'"),
        ({"uuid": "no such"}, "incident no such not found"),
    ],
)
async def test_a_refusal_comes_with_200_and_success_false(rvision, fields, said):
    sim, door = rvision

    async with door() as client:
        answer = await write(client, sim, **fields)

    assert (answer.status_code, answer.json()) == (200, {"success": False, "error": said})
    assert sim.incidents == {}


async def test_a_bad_request_is_answered_with_text_and_a_wrong_address_with_an_error(rvision):
    sim, door = rvision

    async with door() as client:
        bad = await search(client, sim, filter="identifier=1")
        unknown = await search(client, sim, filter=[{"property": "level", "operator": "~", "value": "x"}])
        date = await write(client, sim, kuma_alert_id=KEY, lastseen="yesterday")
        nowhere = await client.get("/api/v2/incident", headers=token(sim))

    assert (bad.status_code, bad.text) == (400, "filter must be JSON")
    assert [unknown.status_code, date.status_code] == [400, 400]
    assert (nowhere.status_code, nowhere.json()) == (404, {"error": "method does not exist"})


async def test_a_search_filters_by_a_custom_tag_and_shows_only_the_fields_asked_for(rvision):
    sim, door = rvision

    async with door() as client:
        await write(client, sim, kuma_alert_id=KEY, description="T")
        await write(client, sim, kuma_alert_id=KEY + "0", description="other")
        found = (await search(client, sim, fields=["identifier", "kuma_alert_id"], filter=by(kuma_alert_id=KEY))).json()

    assert found["data"]["result"] == [{"identifier": "11-22-000001", "kuma_alert_id": KEY}]


async def test_a_list_is_sorted_and_paged_by_limit_and_offset(rvision, clock):
    sim, door = rvision

    async with door() as client:
        for at in range(4):
            clock.forward(60)
            await write(client, sim, kuma_alert_id=f"k{at}")
        order = [{"property": "updated", "direction": "DESC"}]
        rows = (await search(client, sim, sort=order, limit=2, offset=1)).json()["data"]["result"]
        since = [{"property": "updated", "operator": ">=", "value": rows[0]["updated"]}]
        late = (await search(client, sim, filter=since)).json()["data"]

    assert [row["kuma_alert_id"] for row in rows] == ["k2", "k1"]
    assert [row["kuma_alert_id"] for row in late["result"]] == ["k2", "k3"]
    assert rows[0]["updated"] == "2025-03-01T08:18:02.700Z", "milliseconds"


async def test_a_fresh_incident_is_not_found_before_the_lag_is_over(rvision, clock):
    sim, door = rvision
    sim.knobs.find_lag = 3.0

    async with door() as client:
        await write(client, sim, kuma_alert_id=KEY)
        at_once = (await search(client, sim, filter=by(kuma_alert_id=KEY))).json()["data"]["result"]
        clock.forward(3)
        later = (await search(client, sim, filter=by(kuma_alert_id=KEY))).json()["data"]["result"]

    assert (at_once, len(later)) == ([], 1)


async def test_a_file_is_attached_by_multipart_at_the_address_of_the_create(rvision):
    sim, door = rvision
    events = json.dumps([{"ID": "1", "Message": "строка\r\n--x"}, {"ID": "2"}], ensure_ascii=False)

    async with door() as client:
        made = (await write(client, sim, kuma_alert_id=KEY)).json()["data"][0]
        file = {"files": ("события.json", events, "application/json")}
        sent = await client.post(PATH, data={"uuid": made["uuid"]}, files=file, headers=token(sim))
        listed = (await client.get(f"{PATH}/{made['identifier']}/files", headers=token(sim))).json()["data"]["result"]
        content = await client.get(f"{PATH}/files/{listed[0]['id']}/download", headers=token(sim))

    [incident] = sim.by_key(KEY)
    assert sent.status_code == 200
    assert [row["name"] for row in listed] == ["события.json"]
    assert content.text == events
    assert incident.events == json.loads(events)
    assert [deed for deed, _ in incident.history] == ["create", "add_events"]


async def test_kuma_may_send_its_own_form_to_the_same_address(rvision):
    sim, door = rvision

    async with door() as client:
        form = {"kuma_alert_id": KEY, "kuma_url": "https://kuma/alerts/1", "company": "Main", "level": "Низкий"}
        answer = await client.post(PATH, data=form, headers=token(sim))

    assert answer.status_code == 200
    assert sim.by_key(KEY)[0].fields["kuma_url"] == "https://kuma/alerts/1"


async def test_writing_the_last_status_closes_and_another_one_opens_again(rvision):
    sim, door = rvision

    async with door() as client:
        uuid = (await write(client, sim, kuma_alert_id=KEY)).json()["data"][0]["uuid"]
        closing = {"status": "Закрыт", "closure_date": "2025-03-01T09:00:00.000Z", "kuma_close_reason": "responded"}
        await write(client, sim, uuid=uuid, **closing)
        [closed] = (await search(client, sim, filter=by(status="Закрыт"))).json()["data"]["result"]
        was = (sim.incidents[uuid].status, sim.incidents[uuid].resolution)
        await write(client, sim, uuid=uuid, status="Расследование")

    assert was == ("closed", "responded")
    assert (closed["status"]["name"], closed["kuma_close_reason"]) == ("Закрыт", "responded")
    assert closed["closure_date"] == "2025-03-01T09:00:00.000Z"
    assert sim.incidents[uuid].status == "open"
    assert [deed for deed, _ in sim.incidents[uuid].history] == ["create", "close", "update"]


async def test_an_analysts_closing_shows_in_the_list_and_a_process_can_forbid_ours(rvision):
    sim, door = rvision
    sim.knobs.transitions = {"Зарегистрирован": ["Назначен"]}

    async with door() as client:
        made = [(await write(client, sim, kuma_alert_id=f"k{at}")).json()["data"][0]["uuid"] for at in range(2)]
        sim.analyst_close(made[0], "incorrect data")
        refused = await write(client, sim, uuid=made[1], status="Закрыт")
        [row] = (await search(client, sim, filter=by(status="Закрыт"))).json()["data"]["result"]

    assert (row["uuid"], row["kuma_close_reason"]) == (made[0], "incorrect data")
    assert refused.json() == {"success": False, "error": "illegal transition: Зарегистрирован to Закрыт"}


async def test_comments_are_written_elsewhere_and_read_at_the_incident(rvision):
    sim, door = rvision

    async with door() as client:
        identifier = (await write(client, sim, kuma_alert_id=KEY)).json()["data"][0]["identifier"]
        body = {"identifier": identifier, "data": {"comment": "seen"}}
        await client.post("/api/v2/comments", json=body, headers=token(sim))
        read = (await client.get(f"{PATH}/{identifier}/comments", headers=token(sim))).json()

    assert read["data"]["result"] == [{"comment": "seen"}]


async def test_the_list_of_organisations_has_start_where_others_have_offset(rvision):
    sim, door = rvision

    async with door() as client:
        rows = (await client.get("/api/v2/companies", params={"start": 1, "limit": 1}, headers=token(sim))).json()

    assert [row["name"] for row in rows["data"]["result"]] == ["Филиал Казань"]
