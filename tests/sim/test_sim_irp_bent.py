"""Knobs that bend the IRP as other products are: logins that end, processes, dictionaries, upserts, ids in headers."""

from __future__ import annotations

import pytest

from kuma_sync.sim.comparison import compare
from kuma_sync.sim.irp import DIALECTS, IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.values import SimError

PATH = "/api/v1/incidents"
BODY = {"externalId": "k1", "title": "T", "severity": "Low"}


@pytest.fixture
def irp():
    return IrpSim()


def right(irp):
    return {"username": "kuma-sync", "password": irp.token}


async def test_a_login_opens_a_session_by_token_and_the_fixed_one_is_good_no_more(reach, irp):
    irp.knobs.login, irp.knobs.session_seconds = "token", 60

    async with reach(irp) as client:
        fixed = await client.get(PATH)
        wrong = await client.post("/login", json={**right(irp), "password": "no"})
        opened = (await client.post("/login", json=right(irp))).json()
        let_in = await client.get(PATH, headers={"authorization": f"Bearer {opened['token']}"})

    assert (fixed.status_code, wrong.status_code, let_in.status_code) == (401, 401, 200)
    assert (opened["expires_in"], irp.access.logins) == (60, 1)


async def test_a_login_by_form_sets_a_cookie(reach, irp):
    irp.knobs.login = "cookie"

    async with reach(irp) as client:
        opened = await client.post("/login", data=right(irp))
        let_in = await client.get(PATH)
        client.cookies.clear()
        without = await client.get(PATH)

    assert (opened.status_code, opened.content) == (204, b"")
    assert (let_in.status_code, without.status_code) == (200, 401)


async def test_a_session_ends_after_so_many_requests_or_when_told(reach, irp):
    irp.knobs.login, irp.knobs.session_requests = "cookie", 2

    async with reach(irp) as client:
        await client.post("/login", data=right(irp))
        statuses = [(await client.get(PATH)).status_code for _ in range(3)]
        await client.post("/login", data=right(irp))
        await client.post("/_sim/act", json={"do": "end_sessions"})
        ended = await client.get(PATH)

    assert (statuses, ended.status_code) == ([200, 200, 401], 401)


async def test_without_the_knob_there_is_no_login(reach, irp):
    async with reach(irp) as client:
        answer = await client.post("/login", json=right(irp))

    assert answer.status_code == 404


async def test_a_closing_that_the_process_does_not_have_is_refused(reach, irp):
    irp.knobs.transitions = {"open": ["assigned"]}

    async with reach(irp) as client:
        made = (await client.post(PATH, json=BODY)).json()
        answer = await client.post(f"{PATH}/{made['id']}/close", json={"reason": "responded"})

    assert (answer.status_code, answer.json()["message"]) == (422, "illegal transition: open to closed")
    assert irp.incidents[made["id"]].status == "open"


async def test_a_value_that_the_dictionary_does_not_have_is_refused(reach, irp):
    irp.knobs.dictionaries = {"severity": ["Minor", "Major"]}

    async with reach(irp) as client:
        unknown = await client.post(PATH, json=BODY)
        made = (await client.post(PATH, json={**BODY, "severity": "Minor"})).json()
        update = await client.patch(f"{PATH}/{made['id']}", json={"severity": "Low"})
        cleared = await client.patch(f"{PATH}/{made['id']}", json={"severity": None})

    assert [unknown.status_code, update.status_code, cleared.status_code] == [422, 422, 204]
    assert unknown.json()["message"] == "severity: there is no value 'Low'"


async def test_a_create_can_be_an_upsert(reach, irp):
    irp.knobs.upsert = True

    async with reach(irp) as client:
        first = await client.post(PATH, json=BODY)
        second = await client.post(PATH, json={**BODY, "title": "new"})

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert [incident.fields["title"] for incident in irp.by_key("k1")] == ["new"]


async def test_the_id_can_be_told_in_a_header_alone(reach, irp):
    irp.knobs.id_in_location, irp.knobs.create_status = True, 204

    async with reach(irp) as client:
        answer = await client.post(PATH, json=BODY)
        [incident] = irp.by_key("k1")
        found = await client.patch(answer.headers["location"], json={"title": "new"})

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["location"].endswith(f"{PATH}/{incident.id}")
    assert found.status_code == 204


async def test_answers_can_come_in_an_envelope_whatever_their_status_would_be(reach, irp):
    irp.knobs.envelope = irp.knobs.unique_key = True

    async with reach(irp) as client:
        made = await client.post(PATH, json=BODY)
        path = f"{PATH}/{made.json()['data']['id']}"
        answers = [
            await client.post(PATH, json=BODY),
            await client.patch(f"{PATH}/no-such", json={"title": "new"}),
            await client.patch(path, json={"title": "new"}),
            await client.get(PATH, params={"externalId": "k1"}),
        ]
        denied = await client.get(PATH, headers={"authorization": "no"})

    assert {answer.status_code for answer in answers} == {made.status_code} == {200}
    assert [answer.json()["success"] for answer in answers] == [False, False, True, True]
    assert [answer.json().get("code") for answer in answers[:2]] == ["E409", "NotFoundError"]
    assert answers[3].json()["data"]["items"][0]["externalId"] == "k1"
    assert denied.status_code == 401


def test_a_dialect_that_is_none_is_refused_with_the_names_of_all():
    with pytest.raises(SimError, match="one of security-vision, rvision, thehive"):
        IrpSim(dialect="jira")


WORDS = {
    "security-vision": {"title": "{name}", "severity": "High", "lastSeenAt": "2025-03-01T08:00:00Z"},
    "rvision": {"description": "{name}", "level": "Высокий", "lastseen": "2025-03-01T08:00:00.000Z"},
    "thehive": {"title": "{name}", "severity": 3, "customFields.kuma-last-seen": 1_740_816_000_000},
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_comparison_reads_every_dialect_in_the_same_words(dialect, clock):
    kuma, irp = KumaSim(clock=clock), IrpSim(dialect=dialect, clock=clock)
    id_ = kuma.raise_alert(events=1, priority="high")
    alert = kuma.alerts[id_]
    alert["lastSeen"] = "2025-03-01T08:00:00Z"
    fields = {name: alert["name"] if value == "{name}" else value for name, value in WORDS[dialect].items()}
    incident = irp.create({"externalId": f"kuma:kuma:{id_}", **fields, "events": alert["events"]})

    agreeing = compare(kuma, irp)
    alert["priority"], alert["lastSeen"] = "low", "2025-03-01T09:00:00Z"
    differing = compare(kuma, irp)
    irp.analyst_edit(incident.id, **{name: "edited" for name in fields})
    edited = compare(kuma, irp)

    assert agreeing.agrees, agreeing.lines()
    assert "severity High, the alert says Low; lastSeenAt" in differing.differing[0]
    assert edited.agrees, edited.lines()
