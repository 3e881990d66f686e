"""The built-in profile `thehive-v1`, as it is shipped, before the simulated TheHive: each odd way of that product."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from builders import an_account, an_asset, an_event, events, seen
from irp_desk import KEY, values_of
from product import BARE, a_minute_ago, asking, changed, closed_since, made, now, written
from thehive4py import TheHiveApi
from thehive4py.query.filters import Eq

from kuma_sync.core.errors import Permanent
from kuma_sync.core.incident import Incident
from kuma_sync.irp.errors import Duplicate, Missing
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.server import SimServer

NAME = "thehive-v1"
OBSERVED = seen(
    events=[
        an_event(SourceAddress="10.0.0.7", DestinationAddress="198.51.100.4", DeviceHostName="ws-17"),
        an_event(ID="e2", SourceAddress="010.0.0.7", DeviceHostName="WS-17", RequestUrl="https://example.test/x"),
        an_event(ID="e3", FileHash="MD5=44d88612fea8a8f36de82e1278abb02f", FileName="eicar.com"),
        an_event(ID="e4", FileHash="44D88612FEA8A8F36DE82E1278ABB02F", FileName="EICAR.COM"),
        an_event(ID="e5", SourceAddress="127.0.0.1", DestinationAddress="0.0.0.0"),
    ],
    assets=[an_asset(), an_asset(id="another")],
    accounts=[an_account()],
)


@pytest.fixture
def sim() -> IrpSim:
    return IrpSim(dialect="thehive")


def kept(sim: IrpSim, incident: Incident) -> dict[str, Any]:
    """Return the fields that TheHive keeps of an alert."""
    return sim.incidents[incident.id].fields


async def test_an_alert_holds_what_kumas_says_with_times_as_milliseconds(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await made(client)

    fields = kept(sim, incident)
    assert {name: fields[name] for name in ("type", "source", "sourceRef", "title", "severity", "date", "tags")} == {
        "type": "kuma",
        "source": "KUMA",
        "sourceRef": KEY,
        "title": "Подбор пароля",
        "severity": 3,
        "date": 1_768_477_800_000,
        "tags": ["kuma", "priority:high"],
    }
    assert fields["externalLink"].startswith("https://kuma.example.com:7220/alerts/")
    assert {name: value for name, value in fields.items() if name.startswith("customFields.")} == {
        "customFields.kuma-last-seen": 1_768_478_400_000,
        "customFields.kuma-events": 1,
        "customFields.kuma-tenant": "Main",
    }
    assert "* Tenant: Main\n" in fields["description"]


async def test_observables_come_once_each_and_by_their_types(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await client.create(client.draft("create", values_of(OBSERVED, options=BARE)))

    found = [(one["dataType"], one["data"]) for one in sim.incidents[incident.id].observables]
    assert sorted(found) == [
        ("domain", "example.test"),
        ("filename", "EICAR.COM"),
        ("filename", "eicar.com"),
        ("hash", "44d88612fea8a8f36de82e1278abb02f"),
        ("hostname", "ws-17"),
        ("ip", "10.0.0.7"),
        ("ip", "198.51.100.4"),
        ("other", "ivanov"),
        ("url", "https://example.test/x"),
    ]


async def test_of_very_many_observables_a_hundred_of_each_type_are_sent(sim: IrpSim) -> None:
    many = seen(events=[an_event(ID=f"e{at}", DeviceHostName=f"ws-{at}") for at in range(300)])

    async with asking(sim) as client:
        incident = await client.create(client.draft("create", values_of(many, options=BARE)))

    names = [one["data"] for one in sim.incidents[incident.id].observables if one["dataType"] == "hostname"]
    assert names == [f"ws-{at}" for at in range(100)]


async def test_an_alert_that_says_nothing_is_taken_all_the_same(sim: IrpSim) -> None:
    empty = seen(oversize=True, name="", rule_id="", tenant_name="", tenant_id="", first_seen=None, last_seen=None)

    async with asking(sim) as client:
        incident = await client.create(client.draft("create", values_of(empty, options=BARE)))

    fields = kept(sim, incident)
    assert (fields["title"], sim.incidents[incident.id].observables) == ("KUMA alert", [])
    assert "larger than the size limit" in fields["description"]


async def test_a_title_is_cut_where_thehive_would_refuse_it(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await client.create(client.draft("create", values_of(seen(events=[], name="я" * 600), options=BARE)))

    assert len(kept(sim, incident)["title"]) == 512


@pytest.mark.parametrize("status", [400, 409])
async def test_a_second_create_of_the_same_key_is_a_duplicate(sim: IrpSim, status: int) -> None:
    sim.knobs.duplicate_status = status

    async with asking(sim) as client:
        first = await made(client)
        with pytest.raises(Duplicate):
            await made(client)
        found = await client.find(KEY)

    assert ([one.incident for one in found], len(sim.incidents)) == ([first], 1)


@pytest.mark.parametrize(
    "change",
    [
        ("observables.hosts[:100]", "(observables.hosts + observables.hosts)[:100]"),
        ('{ name = "kuma-tenant"', '{ name = "no-such-field"'),
        ("high = 3", "high = 7"),
    ],
    ids=["an observable that stands twice: already exists", "a custom field nobody made", "a severity there is not"],
)
async def test_another_400_of_a_create_is_no_duplicate(sim: IrpSim, change: tuple[str, str]) -> None:
    async with asking(sim, changed(NAME, change)) as client:
        with pytest.raises(Permanent) as refused:
            await client.create(client.draft("create", values_of(OBSERVED, options=BARE)))

    assert not isinstance(refused.value, Duplicate)
    assert (refused.value.status, bool(refused.value.detail)) == (400, True)
    assert sim.incidents == {}


async def test_an_alert_is_found_by_its_exact_key_and_not_by_its_twin_in_capitals(sim: IrpSim) -> None:
    async with asking(sim) as client:
        await made(client, KEY.upper())
        incident = await made(client)
        await made(client, KEY + "0")

        found = await client.find(KEY)
        nothing = await client.find(KEY + "1")

    assert ([one.incident for one in found], nothing) == ([incident], [])


async def test_an_update_is_answered_without_a_body_and_leaves_what_analysts_set(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        sim.analyst_edit(incident.id, tags=["seen"], status="InProgress", assignee="ivanov")
        await written(client, "update", incident, priority="critical", name="другое имя", events=events("e1", "e2"))

    fields = kept(sim, incident)
    assert (fields["title"], fields["severity"]) == ("другое имя", 4)
    assert (fields["tags"], fields["status"], fields["assignee"]) == (["seen"], "InProgress", "ivanov")
    assert fields["customFields.kuma-events"] == 2


@pytest.mark.parametrize("operation", ["update", "add_events", "close"])
async def test_an_alert_that_was_deleted_is_missing(sim: IrpSim, operation: str) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        sim.delete(incident.id)

        with pytest.raises(Missing):
            await written(client, operation, incident, reason="responded")


async def test_events_come_as_attachments_that_may_be_renamed(sim: IrpSim) -> None:
    first, second = events("e1", "e2"), [an_event(ID="e3", Message='кавычка " и граница\r\n--x\r\n')]

    async with asking(sim) as client:
        incident = await made(client)
        for batch in (first, second):
            await written(client, "add_events", incident, events=batch)

    found = sim.incidents[incident.id]
    assert [json.loads(file["content"]) for file in found.files] == [first, second]
    assert found.events == first + second


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("responded", "Ignored"),
        ("incorrect data", "FalsePositive"),
        ("incorrect correlation rule", "FalsePositive"),
    ],
)
async def test_kumas_reason_becomes_a_status_of_the_last_stage(sim: IrpSim, reason: str, status: str) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        await written(client, "close", incident, reason=reason)
        [found] = await client.find(KEY)

    assert (sim.incidents[incident.id].status, sim.incidents[incident.id].resolution) == ("closed", status)
    assert kept(sim, incident)["summary"] == f"Closed in KUMA: {reason}"
    assert (found.closed, found.resolution) == (True, status)


async def test_an_alert_that_an_analyst_closed_keeps_its_status_when_kumas_is_closed_too(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        sim.knobs.dictionaries = {"status": ["Handled by the desk"]}
        sim.analyst_close(incident.id, "Handled by the desk")
        sim.incidents[incident.id].fields["summary"] = "exercise"
        for _ in range(2):
            await written(client, "close", incident, reason="incorrect data")

    assert sim.incidents[incident.id].resolution == "Handled by the desk"
    assert kept(sim, incident)["summary"] == "exercise"


async def test_an_alert_that_became_a_case_takes_a_closing_as_a_summary(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        sim.update(sim.incidents[incident.id], {"caseId": "~9", "status": "Imported"})

        await written(client, "close", incident, reason="responded")
        await written(client, "update", incident, priority="critical")
        [found] = await client.find(KEY)

    assert (found.closed, found.resolution) == (False, "Imported")
    assert (kept(sim, incident)["summary"], kept(sim, incident)["severity"]) == ("Closed in KUMA: responded", 4)


async def test_what_analysts_closed_is_listed_page_by_page_with_statuses_of_their_own(sim: IrpSim) -> None:
    async with asking(sim) as client:
        ids = [(await made(client, f"{KEY}-{number}")).id for number in range(230)]
        for number, id_ in enumerate(ids[:220]):
            sim.analyst_close(id_, "Handled by the desk" if number % 2 else "Duplicate")
            sim.incidents[id_].updated_at = now() - timedelta(minutes=300 - number)

        listed = await closed_since(client, now() - timedelta(minutes=290, seconds=30))

    assert [one.incident_id for one in listed] == ids[10:220]
    assert [one.resolution for one in listed[:2]] == ["Duplicate", "Handled by the desk"]
    assert listed[0].key == f"{KEY}-10"
    assert abs(listed[0].updated - (now() - timedelta(minutes=290))) < timedelta(seconds=30)  # type: ignore[operator]  # it was told


async def test_an_alert_reopened_by_an_analyst_is_listed_no_more(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        sim.analyst_close(incident.id, "FalsePositive")
        before = await closed_since(client, a_minute_ago())
        sim.reopen(incident.id)
        after = await closed_since(client, a_minute_ago())

    assert ([one.incident_id for one in before], after) == ([incident.id], [])


async def test_thehives_own_client_reads_our_alerts_and_we_read_its_closings(sim: IrpSim) -> None:
    def use(hive: TheHiveApi) -> Any:
        with hive.session:
            [alert] = hive.alert.find(filters=Eq("sourceRef", KEY))
            observables = hive.alert.find_observables(alert["_id"])
            hive.alert.update(alert["_id"], {"status": "Duplicate", "summary": "seen before"})
            return alert, observables

    async with asking(sim) as client, SimServer(sim.app) as server:
        incident = await made(client)
        alert, observables = await asyncio.to_thread(use, TheHiveApi(url=server.url, apikey=sim.token))
        [closed] = await closed_since(client, a_minute_ago())

    assert (alert["_id"], alert["severityLabel"], alert["stage"]) == (incident.id, "HIGH", "New")
    assert {one["name"]: one["value"] for one in alert["customFields"]}["kuma-events"] == 1
    assert {one["dataType"] for one in observables} == {"ip", "hostname", "other"}
    assert (closed.incident_id, closed.resolution) == (incident.id, "Duplicate")
