"""The IRP over a real socket: the default wire shapes, and every knob that bends them."""

from __future__ import annotations

import pytest

from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.values import SimError

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


async def listed(client, **query):
    answer = await client.get(PATH, params={"status": "closed", **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def closed_ones(irp, client, count):
    """Make incidents and close them; return their ids in the list's order."""
    ids = [(await create(client, f"k{number}"))["id"] for number in range(count)]
    for id_ in ids:
        irp.analyst_close(id_, "Solved")
    return [row["id"] for row in await listed(client)]


async def test_keys_can_be_stored_in_capitals_and_are_found_in_whatever_case(reach):
    irp = IrpSim()
    irp.knobs.key_case, irp.knobs.key_padding, irp.knobs.id_case = "upper", "  ", "upper"

    async with reach(irp) as client:
        made = await create(client, "kuma:kuma:ab")
        found = (await client.get(PATH, params={"externalId": "Kuma:kuma:AB"})).json()["items"]
        changed = await client.patch(f"{PATH}/{found[0]['id']}", json={"title": "New"})

    assert (found[0]["externalId"], found[0]["id"]) == ("KUMA:KUMA:AB  ", made["id"].upper())
    assert changed.status_code == 204
    assert irp.doubled() == []


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("", "2025-03-01T11:15:02.700Z"),
        ("seconds", 1740827702),
        ("seconds_text", "1740827702"),
        ("milliseconds", 1740827702700),
        ("milliseconds_text", "1740827702700"),
        ("naive", "2025-03-01 11:15:02"),
        ("points", "01.03.2025 11:15:02"),
        ("slashes", "03/01/2025 11:15 AM"),
    ],
)
async def test_times_can_be_written_in_many_forms_and_shifted(reach, clock, form, shown):
    irp = IrpSim(clock=clock)
    irp.knobs.updated_form, irp.knobs.updated_shift = form, 3 * 3600

    async with reach(irp) as client:
        await create(client)
        row = (await client.get(PATH)).json()["items"][0]

    assert row["updatedAt"] == shown


@pytest.mark.parametrize("sim", [IrpSim, KumaSim])
async def test_the_date_can_be_left_out_or_be_no_date(reach, sim):
    side = sim()

    async with reach(side) as client:
        side.knobs.date = "absent"
        absent = await client.get("/")
        side.knobs.date = "soon"
        soon = await client.get("/")

    assert "date" not in absent.headers
    assert soon.headers["date"] == "soon"


async def test_pages_can_be_cut_short_hide_a_row_and_end_in_a_refusal(reach):
    irp = IrpSim()

    async with reach(irp) as client:
        ids = await closed_ones(irp, client, 4)
        irp.knobs.largest_page, irp.knobs.hidden = 2, {ids[0]}
        pages = [[row["id"] for row in await listed(client, page=page, limit=100)] for page in (1, 2, 3)]
        by_offset = [row["id"] for row in await listed(client, offset=1, limit=100)]
        irp.knobs.past_end = 404
        refused = [
            (await client.get(PATH, params={"status": "closed", "offset": offset})).status_code for offset in (3, 4)
        ]

    assert pages == [[ids[1]], ids[2:], []]
    assert by_offset == ids[1:3]
    assert refused == [200, 404]


async def test_the_list_can_move_while_it_is_paged(reach):
    irp = IrpSim()
    offsets = []

    async with reach(irp) as client:
        ids = await closed_ones(irp, client, 3)
        irp.knobs.reopened_between_pages, irp.knobs.after_page = [ids[0]], offsets.append
        first = [row["id"] for row in await listed(client, limit=1)]
        second = [row["id"] for row in await listed(client, limit=1, offset=1)]
        irp.knobs.joining = 2
        before = len(await listed(client))
        after = len(await listed(client))

    assert (first, second) == ([ids[0]], [ids[2]])
    assert offsets == [0, 1, 0, 0]
    assert after == before + 2


async def test_the_desk_closes_in_two_steps_moves_and_dates_incidents(reach):
    irp = IrpSim()

    async with reach(irp) as client:
        id_ = (await create(client, "k1"))["id"]
        irp.analyst_close(id_, "")
        first = (await listed(client))[0]
        irp.resolve(id_, "Solved")
        moved = irp.move(id_)
        irp.redate(moved, "2999-01-01T00:00:00Z")
        second = (await listed(client))[0]
        gone = await client.patch(f"{PATH}/{id_}", json={})

    assert (first["id"], first["status"], first["resolution"]) == (id_, "closed", "")
    assert (second["id"], second["externalId"], second["resolution"]) == (moved, "k1", "Solved")
    assert second["updatedAt"] == "2999-01-01T00:00:00.000Z"
    assert (gone.status_code, moved != id_) == (404, True)
    with pytest.raises(SimError, match="RFC 3339"):
        irp.redate(moved, "soon")
