"""What the built-in profiles of products have in common, each before the simulator of its product."""

from __future__ import annotations

from datetime import timedelta

import pytest
from irp_desk import KEY
from product import BARE, asking, closed_since, made, written

from kuma_sync.core.errors import AccessDenied
from kuma_sync.irp.load import load_profile
from kuma_sync.irp.validate import check_profile
from kuma_sync.sim.irp import IrpSim


@pytest.fixture(params=["rvision", "thehive"])
def sim(request: pytest.FixtureRequest) -> IrpSim:
    return IrpSim(dialect=request.param)


@pytest.mark.parametrize("name", ["rvision-v2", "thehive-v1"])
def test_it_is_fit_for_use_and_claims_nothing(name: str) -> None:
    assert check_profile(load_profile(name), options=BARE) == [
        f"profile {name} was never proven against the real product"
    ]


async def test_its_token_opens_and_a_wrong_one_is_refused(sim: IrpSim) -> None:
    async with asking(sim) as client:
        await client.probe()
    async with asking(sim, password="another") as client:
        with pytest.raises(AccessDenied):
            await client.probe()


async def test_filters_that_are_ignored_neither_find_nor_close_a_wrong_incident(sim: IrpSim) -> None:
    sim.knobs.ignore_filters = True

    async with asking(sim) as client:
        await made(client)
        found = await client.find(KEY + "0")
        closed = await closed_since(client)

    assert (found, closed) == ([], [])


async def test_a_fresh_incident_is_found_when_the_lag_is_over(sim: IrpSim) -> None:
    sim.knobs.find_lag = 3600

    async with asking(sim) as client:
        incident = await made(client)
        at_once = await client.find(KEY)
        sim.incidents[incident.id].created_at -= timedelta(hours=1)
        later = await client.find(KEY)

    assert (at_once, [one.incident for one in later]) == ([], [incident])


async def test_words_become_a_comment(sim: IrpSim) -> None:
    async with asking(sim) as client:
        incident = await made(client)
        await written(client, "comment", incident, comment='учения, "не" трогать')

    assert sim.incidents[incident.id].comments == ['учения, "не" трогать']
