"""The built-in profile `rvision-v2`, as it is shipped, before the simulated R-Vision: each odd way of that product."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from builders import an_event, events, seen
from irp_desk import KEY, values_of
from logins import COOKIE_LOGIN
from product import ALERT, BARE, a_minute_ago, asking, changed, closed_since, made, now, written

from kuma_sync.core.errors import AccessDenied, Permanent
from kuma_sync.core.incident import Incident
from kuma_sync.irp.errors import Missing
from kuma_sync.sim.irp import IrpSim

NAME = "rvision-v2"
CLOSED = "Закрыт"
TOKEN_AUTH = '[auth]\nkind = "header"\nname = "X-Token"\n'


@pytest.fixture
def sim() -> IrpSim:
    return IrpSim(dialect="rvision", prefix="11-22")


async def test_a_probe_that_is_answered_without_success_is_refused(sim: IrpSim) -> None:
    sim.faults.add("status", code=200, body={"success": False}, match="tokens")

    async with asking(sim) as client:
        with pytest.raises(Permanent, match="refused by ok_when"):
            await client.probe()


async def test_an_incident_holds_what_the_alert_says_and_its_id_is_the_first_of_a_list(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await made(client)

    [kept] = sim.by_key(KEY)
    assert (incident.id, incident.number) == (kept.id, "11-22-000001")
    assert kept.fields == {
        "kuma_alert_id": KEY,
        "description": "Подбор пароля",
        "level": "Высокий",
        "company": "Main",
        "detection_date": "2026-01-15T11:50:00.000Z",
        "firstseen": "2026-01-15T11:50:00.000Z",
        "lastseen": "2026-01-15T12:00:00.000Z",
        "kuma_url": "https://kuma.example.com:7220/alerts/5c0de1a4-0000-4000-8000-000000000001",
    }


async def test_organisation_and_category_may_be_the_same_for_all(sim: IrpSim) -> None:
    options = {"organization": "Филиал Казань", "category": "Событие SIEM"}
    async with asking(sim) as client:
        draft = client.draft("create", values_of(ALERT, options=options))
        await client.create(draft)

    [kept] = sim.by_key(KEY)
    assert (kept.fields["company"], kept.fields["category"]) == ("Филиал Казань", "Событие SIEM")


async def test_a_create_refused_with_200_is_no_create_that_may_have_happened(sim: IrpSim) -> None:
    text = changed(NAME, ('high = "Высокий"', 'high = "High"'))

    async with asking(sim, text) as client:
        with pytest.raises(Permanent, match="refused by ok_when") as refused:
            await made(client)

    assert (refused.value.status, refused.value.detail) == (200, "level: there is no value 'High'")
    assert sim.incidents == {}


async def test_a_refusal_by_text_is_told_in_its_words(sim: IrpSim) -> None:
    text = changed(NAME, ("%H:%M:%S.000Z", "%H:%M"))

    async with asking(sim, text) as client:
        with pytest.raises(Permanent) as refused:
            await made(client)

    assert refused.value.status == 400
    assert "must be written as 2024-02-16T17:47:08.250Z" in refused.value.detail


async def test_an_update_goes_to_the_address_of_the_create_and_makes_nothing(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        await written(client, "update", incident, priority="critical", name="другое имя")

    [kept] = sim.by_key(KEY)
    assert len(sim.incidents) == 1
    assert (kept.fields["level"], kept.fields["description"]) == ("Критический", "другое имя")
    assert [operation for operation, _ in kept.history] == ["create", "update"]


@pytest.mark.parametrize("operation", ["update", "add_events", "close"])
async def test_an_incident_that_is_gone_is_missing_though_the_answer_is_200(sim: IrpSim, operation: str) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        sim.delete(incident.id)

        with pytest.raises(Missing):
            await written(client, operation, incident, reason="responded")

    assert sim.incidents == {}, "an upsert must not make another one"


@pytest.mark.parametrize("operation", ["update", "close"])
async def test_a_value_that_is_refused_does_not_make_the_incident_missing(sim: IrpSim, operation: str) -> None:
    sim.knobs.transitions = {"Зарегистрирован": ["Назначен"]}
    text = changed(NAME, ('high = "Высокий"', 'high = "High"'))
    async with asking(sim) as client:
        incident = await made(client)
    async with asking(sim, text) as client:
        with pytest.raises(Permanent, match="refused by ok_when") as refused:
            await written(client, operation, incident, reason="responded")

    assert not isinstance(refused.value, Missing)
    assert sim.incidents[incident.id].status == "open"


async def test_events_come_as_a_file_at_the_address_of_the_create(sim: IrpSim) -> None:
    sent = [*events("e1", "e2"), an_event(ID="e3", Message='кавычка " и граница\r\n--x\r\n')]

    async with asking(sim) as client:
        incident = await made(client)
        before = dict(sim.incidents[incident.id].fields)
        await written(client, "add_events", incident, events=sent)

    kept = sim.incidents[incident.id]
    assert [(file["name"], json.loads(file["content"])) for file in kept.files] == [("kuma-events.json", sent)]
    assert (kept.events, kept.fields) == (sent, before)


@pytest.mark.parametrize("key", [KEY, 'kuma:kuma:with "quotes" and \\', "kuma:ООО «Восток»:&filter=[]"])
async def test_an_incident_is_found_by_its_exact_key(sim: IrpSim, key: str) -> None:
    async with asking(sim) as client:
        await made(client, key + "0")
        incident = await made(client, key)

        found = await client.find(key)
        nothing = await client.find(key + "1")

    assert [(one.incident, one.closed) for one in found] == [(incident, False)]
    assert nothing == []


async def test_of_silent_twins_the_older_one_comes_first(sim: IrpSim) -> None:
    async with asking(sim) as client:
        twins = [await made(client) for _ in range(2)]
        sim.incidents[twins[1].id].created_at -= timedelta(hours=1)

        found = await client.find(KEY)

    assert [one.incident.id for one in found] == [twins[1].id, twins[0].id]
    assert "creation" in sim.requests[-1].query, "the order is asked for: who knows how R-Vision sorts by itself"


async def test_a_closing_is_a_status_written_and_may_be_repeated(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        for _ in range(2):
            await written(client, "close", incident, reason="incorrect data")

        [found] = await client.find(KEY)

    kept = sim.incidents[incident.id]
    assert (kept.status, kept.fields["status"], kept.resolution) == ("closed", CLOSED, "incorrect data")
    assert kept.fields["closure_date"].endswith(".000Z")
    assert (found.closed, found.resolution) == (True, "incorrect data")


@pytest.mark.parametrize("catalogue", [False, True])
async def test_a_resolution_is_read_as_text_or_as_a_value_of_a_catalogue(sim: IrpSim, catalogue: bool) -> None:
    if catalogue:
        sim.knobs.dictionaries = {"kuma_close_reason": ["Ложное срабатывание"]}

    async with asking(sim) as client:
        incident = await made(client)
        sim.analyst_close(incident.id, "Ложное срабатывание")

        [listed] = await closed_since(client, a_minute_ago())
        [found] = await client.find(KEY)

    assert (listed.incident_id, listed.key, listed.resolution) == (incident.id, KEY, "Ложное срабатывание")
    assert (found.closed, found.resolution) == (True, "Ложное срабатывание")
    assert listed.updated is not None


async def test_a_value_of_a_catalogue_may_be_a_list_of_one() -> None:
    rows: list[dict[str, Any]] = [
        {
            "uuid": "u1",
            "identifier": "11-22-3",
            "kuma_alert_id": KEY,
            "status": [{"id": 5, "name": CLOSED}],
            "kuma_close_reason": [{"id": 1, "name": "Отработано"}],
            "updated": "2026-01-15T12:00:00.250Z",
        }
    ]
    sim = IrpSim(dialect="rvision")
    sim.faults.add("status", code=200, body={"data": {"result": rows}}, method="GET", match="incidents")

    async with asking(sim) as client:
        [found] = await client.find(KEY)

    assert (found.closed, found.resolution, found.incident.number) == (True, "Отработано", "11-22-3")


async def test_what_was_closed_is_listed_page_by_page_from_the_moment_asked_for(sim: IrpSim) -> None:
    sim.knobs.largest_page = 3

    async with asking(sim) as client:
        ids = [(await made(client, f"{KEY}-{number}")).id for number in range(9)]
        for number, id_ in enumerate(ids[:8]):
            sim.analyst_close(id_, "Отработано")
            sim.incidents[id_].updated_at = now() - timedelta(hours=8 - number)

        listed = await closed_since(client, now() - timedelta(hours=6, minutes=30))

    assert [one.incident_id for one in listed] == ids[2:8]
    assert len([one for one in sim.requests if "offset=" in one.query]) >= 2, "it takes pages"


async def test_a_refused_search_shows_no_empty_list(sim: IrpSim) -> None:
    sim.faults.add("status", code=200, body={"success": False, "error": "busy"}, method="GET", match="incidents")

    async with asking(sim) as client:
        with pytest.raises(Permanent, match="refused by ok_when"):
            await client.find(KEY)
        with pytest.raises(Permanent, match="refused by ok_when"):
            await closed_since(client)


async def test_an_installation_with_a_login_is_entered_again_when_the_session_has_ended(sim: IrpSim) -> None:
    sim.knobs.login, sim.knobs.session_requests = "cookie", 3
    text = changed(NAME, (TOKEN_AUTH, COOKIE_LOGIN))

    async with asking(sim, text) as client:
        incident = await made(client)
        for _ in range(5):
            await written(client, "update", incident)

    assert len(sim.incidents) == 1
    assert sim.access.logins == 2
    assert [operation for operation, _, _ in sim.writes] == ["create", *["update"] * 5]


async def test_a_wrong_password_is_refused_after_one_login_a_request(sim: IrpSim) -> None:
    sim.knobs.login = "cookie"
    text = changed(NAME, (TOKEN_AUTH, COOKIE_LOGIN))

    async with asking(sim, text, password="wrong") as client:
        with pytest.raises(AccessDenied):
            await client.probe()

    assert len([one for one in sim.requests if one.path == "/login"]) <= 2


async def test_an_alert_that_says_nothing_makes_an_incident_all_the_same(sim: IrpSim) -> None:
    observed = seen(oversize=True, name="", rule_id="", tenant_name="", priority="low", first_seen=None, last_seen=None)

    async with asking(sim) as client:
        incident = await client.create(client.draft("create", values_of(observed, options=BARE)))

    assert sim.incidents[incident.id].fields["level"] == "Низкий"
    assert isinstance(incident, Incident)
