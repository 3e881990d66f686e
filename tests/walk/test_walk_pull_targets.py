"""IRPs that poll us, beside each other: what each token opens, who is missed, and TLS at the door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import trustme
from addresses import somewhere
from stage import Stage, eventually, staged

from kuma_sync.sim.comparison import compare
from kuma_sync.sim.robot import RobotOptions, RobotSim

COMMAND = "/api/v1/alerts/?withEvents&status=new"
PULL = {"profile": "security-vision-pull", "url": ""}
TWO = {
    "irp": {**PULL, "token": "token-of-irp"},
    "targets": {"north": {**PULL, "token": "token-of-north", "url": ""}},
}


@asynccontextmanager
async def two(folder: Path, database: str) -> AsyncIterator[tuple[Stage, httpx.AsyncClient]]:
    """Run the daemon with two targets that poll: alerts of high priority go to `north`."""
    async with staged(folder, database, irp=TWO["irp"]) as stage:
        stage.tables["targets"] = TWO["targets"]
        stage.tables["route"] = [{"priorities": ["high"], "target": "north"}]
        async with stage.door() as client:
            yield stage, client


async def ids(client: httpx.AsyncClient, whose: str, query: str = COMMAND) -> list[str]:
    answer = await client.get(query, headers=token(whose))
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()]


def token(whose: str) -> dict[str, str]:
    return {"Authorization": f"Bearer token-of-{whose}"}


async def test_each_token_shows_and_closes_its_own_alerts_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as (stage, client):
        mine, theirs = stage.kuma.raise_alert(priority="low"), stage.kuma.raise_alert(priority="high")

        await eventually(lambda: ids(client, "irp"))
        await eventually(lambda: ids(client, "north"))
        asked = await client.get(f"/api/v1/alerts?id={mine}&id={theirs.upper()}", headers=token("irp"))
        body = {"id": theirs, "reason": "responded"}
        refused = await client.post("/api/v1/alerts/close", json=body, headers=token("irp"))
        taken = await client.post("/api/v1/alerts/close", json=body, headers=token("north"))
        await eventually(lambda: stage.kuma.closes)

        assert (await ids(client, "irp"), await ids(client, "north")) == ([mine], [])
        assert await ids(client, "irp", f"/api/v1/alerts?id={mine}&id=unknown") == [mine]
        assert await ids(client, "north", f"/api/v1/alerts?id={theirs}") == [theirs]
        assert (asked.status_code, asked.json()["message"]) == (403, "access denied")
        assert (refused.status_code, taken.status_code) == (403, 204)
        assert stage.kuma.closes == [(theirs, "responded")]


async def test_a_closing_of_an_alert_that_we_never_read_reaches_kuma(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, irp=TWO["irp"]) as stage:
        unread = stage.kuma.raise_alert(seen=stage.kuma.clock() - timedelta(hours=1))
        stage.kuma.assign(unread)
        async with stage.door() as client:
            seen = stage.kuma.raise_alert()
            shown = await eventually(lambda: ids(client, "irp"))
            body = {"id": unread, "reason": "responded"}
            taken = await client.post("/api/v1/alerts/close", json=body, headers=token("irp"))
            await eventually(lambda: stage.kuma.closes)

    assert shown == [seen]
    assert taken.status_code == 204
    assert stage.kuma.closes == [(unread, "responded")]


async def test_connector_that_stopped_asking_is_told_of_until_it_asks_again(tmp_path: Path, sqlite_url: str) -> None:
    irp = {**PULL, "token": "token-of-irp", "expect_every": "1s"}
    # On a slow machine the first second may be over before all else is ready.
    async with staged(tmp_path, sqlite_url, irp=irp) as stage, stage.door(ready=False) as client:

        async def missed() -> bool:
            answer = await client.get("/readyz")
            reason = answer.json()["parts"]["irp"].get("reason") or ""
            return answer.status_code == 503 and "nobody asked for alerts for" in reason

        async def well_after_it_asked() -> bool:
            await ids(client, "irp")
            return (await client.get("/readyz")).status_code == 200

        await ids(client, "irp")
        await eventually(missed)
        await eventually(well_after_it_asked)
        await eventually(missed)
        await eventually(well_after_it_asked)


async def test_connector_that_breaks_every_answer_off_is_told_of_too(
    tmp_path: Path, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    irp = {**PULL, "token": "token-of-irp", "expect_every": "3s"}
    async with staged(tmp_path, sqlite_url, irp=irp) as stage, stage.door() as client:
        raised = [stage.kuma.raise_alert(events=150) for _ in range(30)]
        all_of_them = "/api/v1/alerts?id=" + "&id=".join(raised)

        async def all_out() -> bool:
            return len(await ids(client, "irp", all_of_them)) == 30

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        async def missed() -> bool:
            async with client.stream("GET", COMMAND, headers=token("irp")) as answer:
                async for _piece in answer.aiter_raw(1000):
                    break
            return not await ready()

        await eventually(all_out)
        await eventually(missed)
        assert len(await ids(client, "irp")) == 30
        await eventually(ready, within=0.5)

    assert not [line for line in caplog.records if line.name == "uvicorn.error"]


async def test_change_shown_later_keeps_the_fields_that_we_do_not_know(tmp_path: Path, sqlite_url: str) -> None:
    irp = {**PULL, "token": "token-of-irp", "repeat_for": 0}
    async with staged(tmp_path, sqlite_url, irp=irp) as stage, stage.door() as client:
        alert = stage.kuma.raise_alert(events=2, priority="low")
        stage.kuma.alerts[alert]["madeUp"] = {"depth": [1]}
        await eventually(lambda: ids(client, "irp"))
        stage.kuma.edit(alert, priority="critical")
        await eventually(lambda: ids(client, "irp"))
        stage.kuma.close(alert, "responded")
        await eventually(lambda: ids(client, "irp", "/api/v1/alerts?status=closed"), within=30)

        query = f"/api/v1/alerts?withEvents&id={alert}"
        (item,) = (await client.get(query, headers=token("irp"))).json()

    assert (item["madeUp"], item["priority"], item["status"]) == ({"depth": [1]}, "critical", "closed")
    assert len(item["events"]) == 2


async def test_robot_asks_and_closes_over_tls(tmp_path: Path, sqlite_url: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    listen = somewhere()
    host = listen.rpartition(":")[0]
    authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(tmp_path / "door.pem")
    (tmp_path / "door.pem").chmod(0o600)
    async with staged(tmp_path, sqlite_url, irp={**PULL, "token": "token-of-irp"}) as stage:
        stage.configure(web={"listen": listen, "cert_file": str(tmp_path / "door.pem")})
        raised = [stage.kuma.raise_alert(events=200) for _ in range(20)]
        robot = RobotSim(
            f"https://{listen}",
            kuma_token="token-of-irp",
            ca_file=tmp_path / "ca.pem",
            options=RobotOptions(every=0.1, closes_after=0.5, tries=3),
        )
        async with stage.daemon():

            async def all_closed() -> bool:
                await robot.ask()
                for card in list(robot.incidents.values()):
                    if card.status == "open":
                        robot.analyst_close(card.id, "False positive")
                await robot.send_closings()
                return len(stage.kuma.closes) == len(raised)

            await eventually(all_closed, within=60)

    assert sorted(stage.kuma.closes) == sorted((alert, "incorrect data") for alert in raised)
    assert {closing.status for closing in robot.closings} == {204}
    assert compare(stage.kuma, robot).agrees
