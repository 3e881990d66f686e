"""A stranger speaks to the simulated TheHive: thehive4py, as its users call it, over a real socket.

Where its expectations differ from what TheHive documents, TheHive wins:

* Its types say that `customFields` of an alert may be a table or a list; TheHive answers a list always.
* It knows one error, TheHiveError, and no conflict: that an alert exists can be read from the text alone.
* It tries a request again after 500, 502, 503 and 504, creates too. TheHive refuses the second create, if the first one
  happened, with a conflict: so a lost answer surfaces as an error about an alert that is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from thehive4py import TheHiveApi
from thehive4py.errors import TheHiveError
from thehive4py.query.filters import Eq, Gte, In, Like
from thehive4py.query.page import Paginate
from thehive4py.query.sort import Asc, Desc
from urllib3 import Retry

from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.server import SimServer

ALERT: Any = {
    "type": "kuma",
    "source": "KUMA",
    "sourceRef": "kuma:kuma:1",
    "title": "R001. Подбор пароля",
    "description": "...",
    "externalLink": "https://kuma.example.com:7220/alerts/1",
    "date": 1_740_816_000_000,
    "severity": 3,
    "tags": ["kuma"],
    "observables": [{"dataType": "ip", "data": "192.0.2.1"}, {"dataType": "hostname", "data": "dc01"}],
    "customFields": [{"name": "kuma-tenant", "value": "Филиал"}],
}


@pytest.fixture
def sim() -> IrpSim:
    return IrpSim(dialect="thehive")


async def let(use: Callable[[TheHiveApi], None], sim: IrpSim, *, key: str = "", retries: int = 0) -> None:
    """Let the stranger, who knows no asyncio, use the simulator from a thread."""
    async with SimServer(sim.app) as server:
        hive = TheHiveApi(
            url=server.url,
            apikey=key or sim.token,
            max_retries=Retry(retries, status_forcelist=[503], allowed_methods=None),
        )
        with hive.session:
            await asyncio.to_thread(use, hive)


def alert(reference: str, **fields: Any) -> Any:
    return {**ALERT, "sourceRef": reference, **fields}


async def test_it_creates_gets_updates_and_deletes_an_alert(sim: IrpSim) -> None:
    def use(hive: TheHiveApi) -> None:
        made = hive.alert.create(ALERT)
        fetched = hive.alert.get(made["_id"])
        assert hive.alert.update(made["_id"], {"title": "new", "addTags": ["seen"]}) in (None, "")
        changed = hive.alert.get(made["_id"])
        hive.alert.delete(made["_id"])
        with pytest.raises(TheHiveError, match="NotFoundError"):
            hive.alert.get(made["_id"])

        assert made == fetched
        assert (made["observableCount"], made["stage"], made["severityLabel"]) == (2, "New", "HIGH")
        assert made["customFields"][0]["value"] == "Филиал"
        assert (changed["title"], changed["tags"]) == ("new", ["kuma", "seen"])

    await let(use, sim)


async def test_it_finds_sorts_pages_and_counts_alerts(sim: IrpSim) -> None:
    def use(hive: TheHiveApi) -> None:
        made = [hive.alert.create(alert(f"k{at}", date=1_740_816_000_000 + at)) for at in range(4)]
        hive.alert.update(made[2]["_id"], {"status": "FalsePositive"})
        closed = hive.alert.find(filters=Eq("stage", "Closed") & Gte("_updatedAt", made[2]["_createdAt"]))
        either = hive.alert.find(filters=Eq("sourceRef", "k0") | Eq("sourceRef", "k3"), sortby=Desc("date"))
        page = hive.alert.find(sortby=Asc("date"), paginate=Paginate(1, 3))
        others = hive.alert.find(filters=~In("sourceRef", ["k0", "k1"]) & Like("title", "*R001*"), sortby=Asc("date"))

        assert [one["sourceRef"] for one in closed] == ["k2"]
        assert [one["sourceRef"] for one in either] == ["k3", "k0"]
        assert [one["sourceRef"] for one in page] == ["k1", "k2"]
        assert [one["sourceRef"] for one in others] == ["k2", "k3"]
        assert (hive.alert.count(), hive.alert.count(filters=Eq("status", "New"))) == (4, 3)

    await let(use, sim)


async def test_it_closes_an_alert_which_then_does_not_go_back(sim: IrpSim) -> None:
    def use(hive: TheHiveApi) -> None:
        made = hive.alert.create(ALERT)
        hive.alert.update(made["_id"], {"status": "Ignored", "summary": "Closed in KUMA: responded"})
        closed = hive.alert.get(made["_id"])
        with pytest.raises(TheHiveError, match="illegal transition: Ignored to New"):
            hive.alert.update(made["_id"], {"status": "New"})

        assert (closed["stage"], closed["summary"]) == ("Closed", "Closed in KUMA: responded")
        assert closed["closedDate"] >= closed["_createdAt"]

    await let(use, sim)

    assert [incident.status for incident in sim.by_key("kuma:kuma:1")] == ["closed"]


async def test_it_learns_of_a_duplicate_from_the_text_alone(sim: IrpSim) -> None:
    def use(hive: TheHiveApi) -> None:
        hive.alert.create(ALERT)
        with pytest.raises(TheHiveError, match=r"ConflictError - .*already exists") as refused:
            hive.alert.create(ALERT)
        assert refused.value.response is not None
        assert refused.value.response.status_code == 400

    await let(use, sim)


async def test_its_own_second_try_of_a_create_that_happened_is_a_duplicate(sim: IrpSim) -> None:
    sim.faults.add("redirect", code=503, location="", effect=True, match="/api/v1/alert", times=1)

    def use(hive: TheHiveApi) -> None:
        with pytest.raises(TheHiveError, match="ConflictError"):
            hive.alert.create(ALERT)

    await let(use, sim, retries=1)

    assert len(sim.incidents) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves the file open
async def test_it_promotes_an_alert_and_comments_and_attaches(sim: IrpSim, tmp_path: Path) -> None:
    file = tmp_path / "events.json"
    file.write_text('[{"ID": "e1"}]')

    def use(hive: TheHiveApi) -> None:
        made = hive.alert.create(ALERT)
        said = hive.comment.create_in_alert(made["_id"], {"message": "3 events added"})
        added = hive.alert.create_observable(made["_id"], {"dataType": "domain", "data": "example.com"})
        attached = hive.alert.add_attachment(made["_id"], [str(file)])
        case = hive.alert.promote_to_case(made["_id"], {"title": "promoted"})
        promoted = hive.alert.get(made["_id"])

        assert hive.alert.find_comments(made["_id"]) == [said]
        assert hive.alert.find_observables(made["_id"])[2:] == added
        assert [one["name"] for one in attached] == ["events.json"]
        assert [one["name"] for one in hive.alert.find_attachments(made["_id"])] == ["events.json"]
        assert (promoted["caseId"], promoted["stage"]) == (case["_id"], "Imported")
        assert (case["title"], promoted["title"]) == ("promoted", ALERT["title"])

    await let(use, sim)


async def test_it_changes_and_deletes_several_alerts_at_once(sim: IrpSim) -> None:
    def use(hive: TheHiveApi) -> None:
        ids = [hive.alert.create(alert(f"k{at}"))["_id"] for at in range(3)]
        hive.alert.bulk_update({"ids": ids[:2], "title": "both"})
        titles = [one["title"] for one in hive.alert.find(sortby=Asc("sourceRef"))]
        hive.alert.bulk_delete(ids[1:])

        assert titles == ["both", "both", ALERT["title"]]
        assert [one["_id"] for one in hive.alert.find()] == ids[:1]

    await let(use, sim)


async def test_a_wrong_key_is_an_authentication_error(sim: IrpSim) -> None:
    def use(hive: TheHiveApi) -> None:
        with pytest.raises(TheHiveError, match="AuthenticationError"):
            hive.alert.find()

    await let(use, sim, key="wrong")
