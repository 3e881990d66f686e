"""Fifty creates are under way when the process dies, at each of the four points of a create: each has one incident."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import build
import pytest
from lives import Lives, lives
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.faults import Exchange, Faults

ALERTS = 50
HALF_WAY = 25

POINTS = {
    "before POST": ("intent_committed", "sqlite_url"),
    "after POST before reply": ("", "postgres_url"),
    "after reply before commit": ("create_answered", "sqlite_url"),
    "after commit": ("link_committed", "postgres_url"),
}
"""A create's points, by the program's own names, and on which database to die there: the matrix does each on both."""


class KillsAfter(Faults):
    """Does what each create asks for, and kills its sender before the answer of one half way through."""

    def __init__(self) -> None:
        super().__init__()
        self.victim = 0
        self._creates = 0

    def armed(self, victim: int) -> None:
        self.victim = victim

    async def around(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        create = scope["method"] == "POST" and scope["path"].endswith("/incidents")
        self._creates += create
        if not (create and self.victim and self._creates == HALF_WAY):
            await app(scope, receive, send)
            return
        await app(scope, receive, _nowhere)
        os.kill(self.victim, signal.SIGKILL)
        await Exchange(app=app, scope=scope, receive=receive, send=send).gone()


async def _nowhere(_message: Message) -> None:
    return


async def _dies(life: Lives, point: str) -> int:
    if point:
        return await life.process(point, HALF_WAY)
    murder = KillsAfter()
    life.stage.irp.faults = murder
    try:
        return await life.process(born=murder.armed)
    finally:
        life.stage.irp.faults = Faults()


@pytest.mark.parametrize("when", POINTS)
async def test_killed_half_way_through_fifty_creates_every_alert_has_one_incident(
    tmp_path: Path, request: pytest.FixtureRequest, when: str
) -> None:
    point, database = POINTS[when]
    async with lives(tmp_path, request.getfixturevalue(database), concurrency=8) as life:
        stage = life.stage
        ids = [stage.kuma.raise_alert(events=1) for _ in range(ALERTS)]

        code = await _dies(life, point)
        made = len(stage.irp.incidents)
        await life.recover()

    assert code == (build.DIED if point else -signal.SIGKILL), "nobody died"
    assert HALF_WAY - 8 <= made < ALERTS, "the test wants to kill it half way"
    assert [len(stage.incidents(alert_id)) for alert_id in ids] == [1] * ALERTS
    assert len(stage.wrote("create")) == ALERTS
    assert stage.agrees(), stage.verdict()
