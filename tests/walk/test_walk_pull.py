"""An IRP that polls us, as the stock connector does: it gets every alert, growth too, and closes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from handed_out import put_out
from plain_http import plain_client
from stage import Stage, eventually, staged

COMMAND = "/api/v1/alerts/?withEvents&status=new"
PULL = {"profile": "security-vision-pull", "token": "pull-token", "url": ""}


@asynccontextmanager
async def polled(
    folder: Path, database: str, **sections: dict[str, Any]
) -> AsyncIterator[tuple[Stage, httpx.AsyncClient]]:
    """Open a stage without an IRP's address, and run the daemon; yield a client with the target's token."""
    irp = {**PULL, **sections.pop("irp", {})}
    async with staged(folder, database, irp=irp, **sections) as stage, stage.door() as client:
        client.headers["Authorization"] = f"Bearer {irp['token']}"
        yield stage, client


async def shown(client: httpx.AsyncClient, query: str = COMMAND) -> list[dict[str, Any]]:
    answer = await client.get(query)
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    items: list[dict[str, Any]] = answer.json()
    return items


async def ids(client: httpx.AsyncClient, query: str = COMMAND) -> list[str]:
    return [item["id"] for item in await shown(client, query)]


async def test_alert_is_shown_as_kuma_shows_it(tmp_path: Path, sqlite_url: str) -> None:
    async with polled(tmp_path, sqlite_url) as (stage, client):
        alert = stage.kuma.raise_alert(events=3, priority="high")
        stage.kuma.alerts[alert]["madeUp"] = {"depth": [1]}

        await eventually(lambda: ids(client))

        async with plain_client(headers={"Authorization": "Bearer kuma-token"}) as kuma:
            theirs = (await kuma.get(stage.kuma_server.url + COMMAND)).json()
        assert await shown(client) == theirs


async def test_client_that_never_pages_sees_three_hundred_alerts(tmp_path: Path, sqlite_url: str) -> None:
    async with polled(tmp_path, sqlite_url) as (stage, client):
        raised = {stage.kuma.raise_alert(events=1) for _ in range(300)}
        seen: set[str] = set()

        async def all_seen() -> bool:
            page = await ids(client)
            assert len(page) <= 250
            seen.update(page)
            return seen == raised

        await eventually(all_seen, within=60)


async def test_growth_is_shown_whole_and_once_repeats_are_over(tmp_path: Path, sqlite_url: str) -> None:
    async with polled(tmp_path, sqlite_url, irp={"repeat_for": 0}) as (stage, client):
        alert = stage.kuma.raise_alert(events=2)
        await eventually(lambda: ids(client))
        assert await shown(client) == []

        stage.kuma.grow(alert, 3)
        (item,) = await eventually(lambda: shown(client))

        assert len(item["events"]) == 5
        assert await shown(client) == []
        assert len((await shown(client, f"/api/v1/alerts?withEvents&id={alert}"))[0]["events"]) == 5


async def test_closing_reaches_kuma_and_ends_the_showing(tmp_path: Path, sqlite_url: str) -> None:
    async with polled(tmp_path, sqlite_url) as (stage, client):
        alert = stage.kuma.raise_alert()
        await eventually(lambda: ids(client))

        body = {"id": alert, "reason": "Incorrect Data", "incident": "SV-7"}
        answer = await client.post("/api/v1/alerts/close", json=body)
        assert answer.status_code == 204
        assert await ids(client) == []
        await eventually(lambda: stage.kuma.alerts[alert]["status"] == "closed")

        async def told() -> bool:
            return [item["status"] for item in await shown(client, f"/api/v1/alerts?id={alert}")] == ["closed"]

        await eventually(told)
        assert await ids(client, "/api/v1/alerts/?withEvents") == []


async def test_alert_closed_in_kuma_is_shown_once_more_as_closed(tmp_path: Path, sqlite_url: str) -> None:
    async with polled(tmp_path, sqlite_url, irp={"repeat_for": 0}) as (stage, client):
        alert = stage.kuma.raise_alert()
        await eventually(lambda: ids(client))

        stage.kuma.close(alert, "incorrect data")
        (item,) = await eventually(lambda: shown(client, "/api/v1/alerts/?withEvents&status=closed"), within=30)

        assert (item["id"], item["status"], item["closingReason"]) == (alert, "closed", "incorrect data")
        assert await ids(client, "/api/v1/alerts/?withEvents") == []


async def test_answer_that_broke_off_is_shown_again(tmp_path: Path, sqlite_url: str) -> None:
    async with polled(tmp_path, sqlite_url, irp={"repeat_for": 0}) as (stage, client):

        async def nothing() -> bool:
            return not await ids(client)

        raised = {stage.kuma.raise_alert(events=150) for _ in range(40)}
        await put_out(client, raised)
        async with client.stream("GET", COMMAND) as answer:
            async for _piece in answer.aiter_raw(1000):
                break

        assert set(await ids(client)) == raised
        await eventually(nothing)  # that an answer went out whole is noted after its last byte


async def test_later_pages_are_cut_from_the_listing_of_the_first(tmp_path: Path, sqlite_url: str) -> None:
    async with polled(tmp_path, sqlite_url) as (stage, client):
        raised = {stage.kuma.raise_alert(events=1) for _ in range(300)}
        await put_out(client, raised)
        pages = [await ids(client, f"{COMMAND}&page={number}") for number in (1, 2, 2, 3)]

        assert [len(page) for page in pages] == [250, 50, 50, 0]
        assert pages[1] == pages[2]
        assert {*pages[0], *pages[1]} == raised


async def test_only_the_token_of_the_target_opens_its_alerts(tmp_path: Path, sqlite_url: str) -> None:
    async with polled(tmp_path, sqlite_url) as (stage, client):
        alert = stage.kuma.raise_alert()
        await eventually(lambda: ids(client))

        refused = await client.get(COMMAND, headers={"Authorization": "Bearer door-token"})

        assert (refused.status_code, refused.json()["message"]) == (403, "access denied")
        assert (await client.get("/api/v1/users/whoami")).json()["login"] == "irp"
        assert await ids(client) == [alert]
