"""The default profile against the simulated IRP on a real socket: one incident's whole life."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from builders import an_account, an_asset, an_event, seen
from irp_desk import KEY, token, values_of

from kuma_sync.core.errors import AccessDenied, Permanent
from kuma_sync.core.incident import Incident
from kuma_sync.core.steps import Update
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.errors import Duplicate
from kuma_sync.irp.load import load_profile
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.server import SimServer
from kuma_sync.transport import Endpoint, RemoteClient

ALERT = seen(events=[an_event()], assets=[an_asset()], accounts=[an_account()])


@asynccontextmanager
async def client_of(sim: IrpSim, *, password: str = "") -> AsyncIterator[IrpClient]:
    def clock() -> datetime:
        return datetime.now(UTC)

    async with SimServer(sim.app) as server:
        remote = RemoteClient(Endpoint(remote="irp", url=server.url), clock=clock)
        profile, secrets = load_profile("security-vision"), token(password or sim.token)
        try:
            yield IrpClient(client=remote, profile=profile, secrets=secrets, options={}, clock=clock, most_pages=9)
        finally:
            await remote.aclose()


async def test_an_incident_is_made_found_kept_true_and_closed() -> None:
    sim = IrpSim()
    more = an_event(ID="e2")

    async with client_of(sim) as irp_client:
        await irp_client.probe()
        made = await irp_client.create(irp_client.draft("create", values_of(ALERT)))
        about = values_of(seen(events=[more], priority="low"), incident=made, reason="responded")
        update = irp_client.draft("update", about)
        await irp_client.write(update.only(Update(fields=frozenset({"severity"}))))
        await irp_client.write(irp_client.draft("add_events", about))
        await irp_client.write(irp_client.draft("close", about))
        await irp_client.write(irp_client.draft("close", about))
        found = await irp_client.find(KEY)
        since = datetime.now(UTC) - timedelta(hours=1)
        closed = [item async for page in irp_client.list_closed(since) for item in page.items]

    incident = sim.incidents[made.id]
    assert (incident.external_id, incident.status) == (KEY, "closed")
    assert incident.fields["severity"] == "Low"
    assert [event["ID"] for event in incident.events] == [an_event()["ID"], "e2"]
    assert [(item.incident, item.closed) for item in found] == [(made, True)]
    assert [(item.incident_id, item.key) for item in closed] == [(made.id, KEY)]


async def test_filters_that_are_ignored_neither_find_nor_close_a_wrong_incident() -> None:
    sim = IrpSim()
    sim.knobs.ignore_filters = sim.knobs.ignore_external_id = True

    async with client_of(sim) as irp_client:
        await irp_client.create(irp_client.draft("create", values_of(ALERT)))
        found = await irp_client.find(KEY + "0")
        closed = [item async for page in irp_client.list_closed(datetime.now(UTC)) for item in page.items]

    assert (found, closed) == ([], [])


async def test_a_key_that_must_be_unique_makes_a_duplicate_of_the_second_create() -> None:
    sim = IrpSim()
    sim.knobs.unique_key = True

    async with client_of(sim) as irp_client:
        await irp_client.create(irp_client.draft("create", values_of(ALERT)))
        with pytest.raises(Duplicate):
            await irp_client.create(irp_client.draft("create", values_of(ALERT)))

    assert len(sim.incidents) == 1


async def test_an_incident_that_is_gone_and_a_wrong_token_are_told_apart() -> None:
    async with client_of(IrpSim()) as irp_client:
        with pytest.raises(Permanent) as gone:
            await irp_client.write(irp_client.draft("update", values_of(ALERT, incident=Incident(id="no such"))))
    async with client_of(IrpSim(), password="wrong") as irp_client:
        with pytest.raises(AccessDenied) as denied:
            await irp_client.probe()

    assert (gone.value.status, denied.value.status) == (404, 401)
