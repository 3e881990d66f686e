"""A daemon that dies while an IRP takes its answer, and several copies behind one address: nothing is lost."""

from __future__ import annotations

from pathlib import Path

import httpx
from copies import Copy, start_copy, started
from handed_out import put_out
from plain_http import plain_client
from stage import eventually, leases_run_out, staged

from kuma_sync.sim.comparison import compare
from kuma_sync.sim.robot import RobotOptions, RobotSim

PULL = {"profile": "security-vision-pull", "token": "token-of-irp", "url": "", "repeat_for": 0}
LISTING = "/api/v1/alerts/?status=new&page={}"


async def cut_short(copy: Copy, *, after: int) -> None:
    """Ask, and kill the daemon when so many bytes of the answer have come."""
    async with client_of(copy) as client, client.stream("GET", "/api/v1/alerts/?withEvents&status=new") as answer:
        assert answer.status_code == 200
        got = 0
        async for piece in answer.aiter_raw(4096):
            got += len(piece)
            if got >= after:
                break
        copy.process.kill()
        await copy.ended()


def client_of(copy: Copy) -> httpx.AsyncClient:
    headers = {"Authorization": "Bearer token-of-irp"}
    return plain_client(copy.url, headers=headers, timeout=30)


async def test_daemon_killed_in_the_middle_of_an_answer_loses_nothing(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, irp=PULL) as stage:
        for _ in range(30):
            stage.kuma.raise_alert(events=100)
        robots = []
        for after in (1, 200_000, 1_000_000):
            copy = start_copy(stage)
            await started(copy)
            await eventually(lambda copy=copy: copy.status("/readyz"))
            async with client_of(copy) as client:
                await put_out(client, stage.kuma.alerts)
            await cut_short(copy, after=after)
            await leases_run_out(stage)
        copy = start_copy(stage)
        await started(copy)
        robot = RobotSim(copy.url, kuma_token="token-of-irp", options=RobotOptions())
        robots.append(robot)

        async def agrees() -> bool:
            await robot.ask()
            return compare(stage.kuma, robot).agrees

        await eventually(agrees, within=60)
        async with client_of(copy) as client:
            assert (await client.get("/api/v1/alerts/?withEvents&status=new")).json() == []


async def test_pages_are_the_same_from_every_copy_and_after_a_restart(tmp_path: Path, postgres_url: str) -> None:
    async with staged(tmp_path, postgres_url, irp=PULL) as stage:
        raised = {stage.kuma.raise_alert(events=0) for _ in range(600)}
        first, second = start_copy(stage), start_copy(stage)
        await started(first, second)
        async with client_of(first) as client:
            await put_out(client, stage.kuma.alerts)

        one, two = [await page(copy, number) for copy, number in ((first, 1), (second, 2))]
        again, three = [await page(copy, number) for copy, number in ((first, 2), (second, 3))]
        for copy in (first, second):
            copy.process.kill()
            await copy.ended()
        third = start_copy(stage)
        await started(third)
        await eventually(lambda: third.status("/readyz"))
        restarted, end = await page(third, 3), await page(third, 4)

    assert [len(found) for found in (one, two, three)] == [250, 250, 100]
    assert {*one, *two, *three} == raised
    assert (again, restarted, end) == (two, three, [])


async def page(copy: Copy, number: int) -> list[str]:
    async def shown() -> httpx.Response | None:
        async with client_of(copy) as client:
            answer = await client.get(LISTING.format(number))
        return answer if answer.status_code == 200 else None

    answer = await eventually(shown)
    assert answer is not None
    return [item["id"] for item in answer.json()]
