"""`kuma-api` from PyPI, a client of KUMA that we did not write, finds here what it expects of a KUMA.

Where it expects something else than Kaspersky documents, the documented behaviour stays, and a test here says so.
It knows only v3 of the API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli_w
from addresses import somewhere
from kuma.rest import KumaRestAPI
from kuma.rest.errors import APIError
from plain_http import plain_client

from kuma_sync.app.lifecycle import Daemon
from kuma_sync.settings import load
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer


@dataclass(frozen=True, kw_only=True)
class Door:
    """What a client of KUMA is told, and what stands behind it.

    `filled` lets KUMA have so many new alerts of two events, waits until they are shown here, and returns their ids;
    `closings` returns the closings that KUMA took, as (id, reason), once there are so many.
    """

    url: str
    token: str
    filled: Callable[[int], Awaitable[list[str]]]
    closings: Callable[[int], Awaitable[list[tuple[str, str]]]]


Open = Callable[[], AbstractAsyncContextManager[Door]]


@asynccontextmanager
async def simulated() -> AsyncIterator[Door]:
    """Open the simulator itself."""
    sim = KumaSim(token="0123456789abcdef0123456789abcdef")

    async def filled(number: int) -> list[str]:
        return [sim.raise_alert(events=2) for _ in range(number)]

    async def closings(_number: int) -> list[tuple[str, str]]:
        return sim.closes

    async with SimServer(sim.app) as server:
        yield Door(url=server.url, token=sim.token, filled=filled, closings=closings)


@asynccontextmanager
async def pulled(folder: Path, database: str) -> AsyncIterator[Door]:
    """Open the door of a daemon whose IRP polls it, with the simulator behind."""
    token, listen = "fedcba9876543210fedcba9876543210", somewhere()
    sim = KumaSim(token="kuma-token")
    async with SimServer(sim.app) as server:
        tables = {
            "kuma": {"url": server.url, "token": sim.token},
            "irp": {"profile": "security-vision-pull", "token": token},
            "poll": {"interval": "100ms"},
            "store": {"url": database},
            "web": {"listen": listen},
        }
        config = folder / "config.toml"
        config.write_text(tomli_w.dumps(tables))
        config.chmod(0o600)
        daemon = Daemon(load(config, {}), reload=lambda: load(config, {}), env={})
        working = asyncio.create_task(daemon.run())
        async with plain_client(f"http://{listen}", headers={"Authorization": f"Bearer {token}"}) as client:

            async def filled(number: int) -> list[str]:
                ids = [sim.raise_alert(events=2) for _ in range(number)]
                async with asyncio.timeout(150):
                    while await shown(client, ids) < number:
                        await asyncio.sleep(0.3)
                return ids

            async def closings(number: int) -> list[tuple[str, str]]:
                async with asyncio.timeout(20):
                    while len(sim.closes) < number:
                        await asyncio.sleep(0.02)
                return sim.closes

            try:
                async with asyncio.timeout(150):
                    while not await is_ready(client):
                        await asyncio.sleep(0.05)
                yield Door(url=f"http://{listen}", token=token, filled=filled, closings=closings)
            finally:
                daemon.stop()
                await working


async def is_ready(client: httpx.AsyncClient) -> bool:
    """Tell whether the daemon works."""
    try:
        return (await client.get("/api/v3/alerts/?id=unknown")).status_code == 200
    except httpx.TransportError:
        return False


async def shown(client: httpx.AsyncClient, ids: Sequence[str]) -> int:
    """Count how many of these alerts may be asked for."""
    wanted = "&id=".join(ids)
    try:
        pages = [await client.get(f"/api/v3/alerts/?id={wanted}&page={page}") for page in (1, 2, 3)]
    except httpx.TransportError:
        return 0
    return sum(len(page.json()) for page in pages if page.status_code == 200)


@pytest.fixture(params=["simulator", "pull door"])
def open_door(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Everything that must look like a KUMA from outside: each test runs once at each of them."""
    if request.param == "simulator":
        return simulated
    return partial(pulled, tmp_path, request.getfixturevalue("sqlite_url"))


async def ask(door: Door, question: Callable[[Any], Any]) -> Any:
    """Let the client ask, in a thread, for it waits for the answer."""

    def asked() -> Any:
        with KumaRestAPI(door.url, door.token, verify=True) as client:
            client.session.trust_env = False  # no proxy of the machine stands between
            return question(client)

    return await asyncio.to_thread(asked)


async def test_its_search_shows_new_alerts_with_their_events(open_door: Open) -> None:
    async with open_door() as door:
        ids = await door.filled(3)

        status, alerts = await ask(door, lambda kuma: kuma.alerts.search(status="new", withEvents=""))

    assert status == 200
    assert {alert["id"] for alert in alerts} == set(ids)
    assert [len(alert["events"]) for alert in alerts] == [2, 2, 2]
    assert {alert["status"] for alert in alerts} == {"new"}


async def test_its_search_by_several_ids_shows_these_alone(open_door: Open) -> None:
    async with open_door() as door:
        first, _, third = await door.filled(3)

        _, alerts = await ask(door, lambda kuma: kuma.alerts.search(id=[first, third]))

    assert {alert["id"] for alert in alerts} == {first, third}


async def test_its_paging_shows_every_alert_once(open_door: Open) -> None:
    async with open_door() as door:
        ids = await door.filled(510)

        _, alerts = await ask(door, lambda kuma: kuma.alerts.searchp(limit=10_000, status="new"))
        sizes = [
            len((await ask(door, lambda kuma, page=page: kuma.alerts.search(status="new", page=page)))[1])
            for page in (1, 2, 3, 4)
        ]

    assert sorted(alert["id"] for alert in alerts) == sorted(ids)
    assert sizes == [250, 250, 10, 0]


async def test_its_paging_ends_where_the_last_page_is_full(open_door: Open) -> None:
    async with open_door() as door:
        ids = await door.filled(250)

        status, alerts = await ask(door, lambda kuma: kuma.alerts.searchp(limit=10_000, status="new"))

    assert (status, len({alert["id"] for alert in alerts})) == (200, len(ids))


async def test_its_closing_is_taken_with_its_reason(open_door: Open) -> None:
    async with open_door() as door:
        (alert_id,) = await door.filled(1)

        answer = await ask(door, lambda kuma: kuma.alerts.close(alert_id, "incorrect data"))
        closings = await door.closings(1)

    assert answer == (204, b""), "its README expects 200 here; Kaspersky documents 204 without a body (222255)"
    assert closings == [(alert_id, "incorrect data")]


@pytest.mark.parametrize(
    ("alert_id", "reason", "message"),
    [("", "responded", "id required"), ("x", "", "reason required"), ("x", "why", "invalid reason")],
)
async def test_a_closing_without_sense_is_an_error_of_its_own(
    open_door: Open, alert_id: str, reason: str, message: str
) -> None:
    async with open_door() as door:
        with pytest.raises(APIError, match=message) as raised:
            await ask(door, lambda kuma: kuma.alerts.close(alert_id, reason))

    assert raised.value.status_code == 400


async def test_a_wrong_token_is_an_error_of_its_own(open_door: Open) -> None:
    async with open_door() as door:
        (alert_id,) = await door.filled(1)
        stranger = Door(url=door.url, token="f" * 32, filled=door.filled, closings=door.closings)

        with pytest.raises(APIError, match="access denied") as searching:
            await ask(stranger, lambda kuma: kuma.alerts.search(status="new"))
        with pytest.raises(APIError, match="access denied") as closing:
            await ask(stranger, lambda kuma: kuma.alerts.close(alert_id))
        closings = await door.closings(0)

    assert (searching.value.status_code, closing.value.status_code, closings) == (403, 403, [])


# Where it expects something else than Kaspersky documents; these are about KUMA alone.


async def test_it_takes_an_alert_closed_already_for_an_error() -> None:
    async with simulated() as door:
        (alert_id,) = await door.filled(1)
        await ask(door, lambda kuma: kuma.alerts.close(alert_id))

        with pytest.raises(APIError, match="alert already closed") as raised:
            await ask(door, lambda kuma: kuma.alerts.close(alert_id))

    assert raised.value.status_code == 406, "documented (222255); for us that is success"


async def test_its_paging_shows_one_page_unless_told_otherwise() -> None:
    async with simulated() as door:
        await door.filled(300)

        _, alerts = await ask(door, lambda kuma: kuma.alerts.searchp(status="new"))

    assert len(alerts) == 250, "its `limit` is 250 by default: a burst is cut off, silently"


async def test_a_flag_set_to_false_is_set_all_the_same() -> None:
    async with simulated() as door:
        await door.filled(1)

        _, (alert,) = await ask(door, lambda kuma: kuma.alerts.search(status="new", withEvents="false"))
        _, (bare,) = await ask(door, lambda kuma: kuma.alerts.search(status="new", withEvents=None))

    assert len(alert["events"]) == 2, "KUMA documents: any value of the flag is ignored (222254)"
    assert bare["events"] == [], "and this client leaves out what is None"


async def test_it_asks_for_one_alert_at_an_address_nobody_documented() -> None:
    async with simulated() as door:
        (alert_id,) = await door.filled(1)

        with pytest.raises(APIError) as raised:
            await ask(door, lambda kuma: kuma.alerts.get(alert_id))

    assert raised.value.status_code == 404, "alerts/id/… is on no page of Kaspersky's; `search(id=…)` is"
