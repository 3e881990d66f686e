"""TheHive's API v1 over a real socket: each of its odd ways that thehive4py does not show."""

from __future__ import annotations

import json

import pytest

from kuma_sync.sim.irp import IrpSim

PATH = "/api/v1/alert"
KEY = "kuma:kuma:1"
BARE = {"type": "kuma", "source": "KUMA", "sourceRef": KEY, "title": "T", "description": "D"}


@pytest.fixture
def hive(clock):
    return IrpSim(dialect="thehive", clock=clock)


async def ask(client, *steps):
    return await client.post("/api/v1/query", params={"name": "alerts"}, json={"query": list(steps)})


def equal(field, value):
    return {"_name": "filter", "_eq": {"_field": field, "_value": value}}


ALL = {"_name": "listAlert"}


@pytest.mark.parametrize("status", [400, 409])
async def test_a_key_that_exists_is_a_conflict_with_an_empty_object(reach, hive, status):
    hive.knobs.duplicate_status = status

    async with reach(hive) as client:
        first = await client.post(PATH, json=BARE)
        second = await client.post(PATH, json=BARE)
        elsewhere = await client.post(PATH, json={**BARE, "source": "KUMA 2"})

    assert (first.status_code, second.status_code, elsewhere.status_code) == (201, status, 201)
    assert (second.json()["type"], second.json()["object"]) == ("ConflictError", {})
    assert "already exists" in second.json()["message"]


async def test_a_key_in_another_case_is_a_silent_twin(reach, hive):
    async with reach(hive) as client:
        await client.post(PATH, json=BARE)
        twin = await client.post(PATH, json={**BARE, "sourceRef": KEY.upper()})
        found = (await ask(client, ALL, equal("sourceRef", KEY))).json()

    assert twin.status_code == 201
    assert [row["sourceRef"] for row in found] == [KEY]


async def test_an_observable_that_stands_twice_fails_the_whole_creation(reach, hive):
    ip = {"dataType": "ip", "data": "192.0.2.1"}

    async with reach(hive) as client:
        twice = await client.post(PATH, json={**BARE, "observables": [ip, ip]})
        unknown = await client.post(PATH, json={**BARE, "observables": [{"dataType": "account", "data": "root"}]})
        count = len(hive.incidents)
        once = await client.post(PATH, json={**BARE, "observables": [ip, {**ip, "data": ["192.0.2.2", "192.0.2.3"]}]})
        again = await client.post(f"{PATH}/{once.json()['_id']}/observable", json=ip)

    assert (twice.status_code, twice.json()["message"], count) == (400, "Observable already exists", 0)
    assert (unknown.status_code, once.json()["observableCount"], again.status_code) == (400, 3, 400)


async def test_a_patch_is_answered_with_204_and_no_body(reach, hive):
    async with reach(hive) as client:
        made = (await client.post(PATH, json=BARE)).json()
        answer = await client.patch(f"{PATH}/{made['_id']}", json={"title": "new", "addTags": ["a"]})
        missing = await client.patch(f"{PATH}/~1", json={"title": "new"})

    assert (answer.status_code, answer.content) == (204, b"")
    assert (missing.status_code, missing.json()["type"]) == (404, "NotFoundError")
    assert hive.incidents[made["_id"]].fields["tags"] == ["a"]


async def test_a_field_that_is_written_as_null_is_empty_again(reach, hive):
    async with reach(hive) as client:
        path = f"{PATH}/{(await client.post(PATH, json={**BARE, 'severity': 4, 'tags': ['a']})).json()['_id']}"
        answer = await client.patch(path, json={"severity": None, "tags": None, "status": None, "customFields": None})
        shown = (await client.get(path)).json()

    assert answer.status_code == 204
    assert (shown["severityLabel"], shown["tags"], shown["status"]) == ("MEDIUM", [], "New")


async def test_times_are_epoch_milliseconds_and_nothing_else(reach, hive, clock):
    async with reach(hive) as client:
        made = (await client.post(PATH, json={**BARE, "date": 1_740_816_000_000})).json()
        wrong = await client.post(PATH, json={**BARE, "sourceRef": "2", "date": "2025-03-01T08:00:00Z"})
        clock.forward(60)
        await client.patch(f"{PATH}/{made['_id']}", json={"title": "new"})
        shown = (await client.get(f"{PATH}/{made['_id']}")).json()

    assert wrong.status_code == 400
    assert (made["date"], made["_createdAt"]) == (1_740_816_000_000, 1_740_816_902_700)
    assert "_updatedAt" not in made
    assert shown["_updatedAt"] == 1_740_816_962_700


async def test_custom_fields_must_exist_and_have_the_right_type(reach, hive):
    async with reach(hive) as client:
        listed = [{"name": "kuma-last-seen", "value": 1_740_816_000_000}]
        made = await client.post(PATH, json={**BARE, "customFields": listed})
        unknown = await client.post(PATH, json={**BARE, "sourceRef": "2", "customFields": {"no-such": 1}})
        wrong = await client.post(PATH, json={**BARE, "sourceRef": "3", "customFields": {"kuma-events": "many"}})
        await client.patch(f"{PATH}/{made.json()['_id']}", json={"customFields": {"kuma-events": 7}})
        [row] = (await ask(client, ALL, equal("customFields.kuma-events", 7))).json()

    assert [unknown.status_code, wrong.status_code] == [400, 400]
    assert {one["name"]: one["value"] for one in row["customFields"]} == {
        "kuma-last-seen": 1_740_816_000_000,
        "kuma-events": 7,
    }


async def test_a_status_has_a_stage_and_does_not_go_back(reach, hive):
    async with reach(hive) as client:
        path = f"{PATH}/{(await client.post(PATH, json=BARE)).json()['_id']}"
        unknown = await client.patch(path, json={"status": "Done"})
        closing = await client.patch(path, json={"status": "FalsePositive", "summary": "none"})
        shown = (await client.get(path)).json()
        back = await client.patch(path, json={"status": "New"})

    assert [unknown.status_code, closing.status_code, back.status_code] == [400, 204, 400]
    assert (shown["status"], shown["stage"], shown["summary"]) == ("FalsePositive", "Closed", "none")
    assert shown["closedDate"] == shown["_updatedAt"]
    [incident] = hive.by_key(KEY)
    assert (incident.status, incident.resolution) == ("closed", "FalsePositive")


async def test_a_promoted_alert_is_imported_and_stays_so(reach, hive):
    async with reach(hive) as client:
        path = f"{PATH}/{(await client.post(PATH, json=BARE)).json()['_id']}"
        case = await client.post(f"{path}/case")
        again = await client.post(f"{path}/case")
        closing = await client.patch(path, json={"status": "Ignored"})
        shown = (await client.get(path)).json()

    assert [case.status_code, again.status_code, closing.status_code] == [201, 400, 400]
    assert (shown["status"], shown["stage"], shown["caseId"]) == ("Imported", "Imported", case.json()["_id"])
    assert hive.by_key(KEY)[0].status == "open"


async def test_what_analysts_close_is_listed_by_stage_and_time(reach, hive, clock):
    async with reach(hive) as client:
        ids = [(await client.post(PATH, json={**BARE, "sourceRef": f"k{at}"})).json()["_id"] for at in range(3)]
        clock.forward(60)
        hive.analyst_close(ids[0], "Duplicate")
        clock.forward(60)
        hive.analyst_close(ids[1], "Handled by the desk")
        since = {"_name": "filter", "_and": [_stage("Closed"), _from(1_740_817_000_000)]}
        order = {"_name": "sort", "_fields": [{"_updatedAt": "asc"}]}
        late = (await ask(client, ALL, since, order, {"_name": "page", "from": 0, "to": 10})).json()
        hive.reopen(ids[1])
        shown = (await client.get(f"{PATH}/{ids[1]}")).json()

    assert [(row["sourceRef"], row["status"], row["stage"]) for row in late] == [
        ("k1", "Handled by the desk", "Closed")
    ]
    assert (shown["status"], shown["stage"]) == ("New", "New")


def _stage(name):
    return {"_eq": {"_field": "stage", "_value": name}}


def _from(milliseconds):
    return {"_gte": {"_field": "_updatedAt", "_value": milliseconds}}


async def test_a_fresh_alert_is_not_listed_before_the_lag_is_over(reach, hive, clock):
    hive.knobs.find_lag = 3.0

    async with reach(hive) as client:
        made = (await client.post(PATH, json=BARE)).json()
        at_once = (await ask(client, ALL)).json()
        by_id = await client.get(f"{PATH}/{made['_id']}")
        clock.forward(3)
        later = (await ask(client, ALL)).json()

    assert (at_once, by_id.status_code, len(later)) == ([], 200, 1)


@pytest.mark.parametrize(
    "steps",
    [
        [{"_name": "listEverything"}],
        [ALL, {"_name": "filter", "_near": {}}],
        [ALL, {"_name": "filter", "_eq": {}}],
        [3],
    ],
)
async def test_a_query_that_is_none_is_400(reach, hive, steps):
    async with reach(hive) as client:
        await client.post(PATH, json=BARE)
        answer = await client.post("/api/v1/query", json={"query": steps})

    assert answer.status_code == 400


async def test_files_are_attached_and_events_in_them_count(reach, hive):
    file = ("attachments", ("events.json", json.dumps([{"ID": "1"}]), "application/json"))

    async with reach(hive) as client:
        path = f"{PATH}/{(await client.post(PATH, json=BARE)).json()['_id']}"
        sent = await client.post(f"{path}/attachments", files=[file], data={"canRename": "true"})
        nothing = await client.post(f"{path}/attachments", files=[("files", ("a", b"", "text/plain"))])

    assert [one["name"] for one in sent.json()["attachments"]] == ["events.json"]
    assert nothing.status_code == 400
    assert hive.by_key(KEY)[0].events == [{"ID": "1"}]


async def test_a_wrong_key_is_refused_by_name(reach, hive):
    async with reach(hive) as client:
        denied = await client.get("/api/v1/user/current", headers={"authorization": "Bearer no"})
        good = await client.get("/api/v1/user/current")

    assert (denied.status_code, denied.json()["type"]) == (401, "AuthenticationError")
    assert good.status_code == 200
