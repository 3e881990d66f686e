"""Callers that wait for KUMA's answer at the door: so many at once, woken by the answer, on both databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import httpx
import pytest
from builders import changed
from stores import opened
from test_plain_doors import served

from kuma_sync.core.alert import Alert, AlertId, Observation, first_snapshot
from kuma_sync.core.closing import KumaAnswer
from kuma_sync.core.link import Link
from kuma_sync.settings import Secret
from kuma_sync.store import Shape, Shown, Store, Tx, store_url
from kuma_sync.sync.closing.intake import ClosingIntake, Waiters
from kuma_sync.sync.limits import Limits
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.web.responses import AccessRules
from kuma_sync.web.routes import build_app

T = TypeVar("T")

MOST = 5


class Counting(Store):
    """A store that counts its transactions."""

    transactions = 0

    async def write(self, work: Callable[[Tx], T], *, long: bool = False) -> T:
        self.transactions += 1
        return await super().write(work, long=long)

    async def read(self, work: Callable[[Tx], T], *, long: bool = False) -> T:
        self.transactions += 1
        return await super().read(work, long=long)


@dataclass(kw_only=True)
class Place:
    store: Counting
    waiters: Waiters
    client: httpx.AsyncClient

    async def close(self, alert_id: str, wait: str = "") -> httpx.Response:
        headers = {"Authorization": "Bearer t0ken"}
        body = {"id": alert_id, "reason": "responded"}
        return await self.client.post(f"/api/v1/alerts/close{wait}", json=body, headers=headers)

    async def waiting(self, number: int) -> None:
        """Wait until so many callers wait."""
        while sum(len(ones) for ones in self.waiters._waiting.values()) < number:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def door(url: str) -> AsyncIterator[Place]:
    async with opened(url):
        pass
    store, waiters = Counting(store_url(url), clock=lambda: datetime.now(UTC)), Waiters(most=MOST)
    intake = ClosingIntake(store=store, waiters=waiters, ring=lambda: None, every=Limits().answers_looked_for)
    intake.open = True
    app = build_app(
        rules=lambda: AccessRules(to_kuma=True, tokens={"sv": Secret("t0ken")}),
        intake=intake,
        health=Health(monotonic=lambda: 0.0),
        render_metrics=partial(asyncio.to_thread, Metrics().render),
    )
    looking = asyncio.create_task(intake.look_out())
    try:
        async with served(app) as client:
            yield Place(store=store, waiters=waiters, client=client)
    finally:
        looking.cancel()
        await asyncio.wait([looking])
        await store.aclose()


async def test_as_many_callers_wait_as_may_and_the_next_one_is_told_so(database_url: str) -> None:
    async with asyncio.timeout(40), door(database_url) as place, asyncio.TaskGroup() as callers:
        patient = [callers.create_task(place.close(f"alert-{number}", "?wait=30")) for number in range(MOST)]
        await place.waiting(MOST)
        refused = await place.close("alert-x", "?wait=30")
        plain = await place.close("alert-y")
        with place.store.reading() as tx:
            queued = {job.subject for job in tx.closes.jobs()}
        for number in range(MOST):
            place.waiters.answer(f"alert-{number}", KumaAnswer(status=404, message="alert not found"))
        heard = [await caller for caller in patient]
        again = await place.close("alert-z", "?wait=0")

    assert (refused.status_code, refused.json()["message"]) == (503, "too many wait")
    assert "nothing was stored" in refused.json()["details"]
    assert plain.status_code == 204
    assert queued == {f"alert-{number}" for number in range(MOST)} | {"alert-y"}
    assert [answer.status_code for answer in heard] == [404] * MOST
    assert again.status_code == 202, "who was answered waits no more"


async def test_callers_that_wait_ask_the_store_nothing_on_a_file_of_our_own(sqlite_url: str) -> None:
    async with asyncio.timeout(40), door(sqlite_url) as place:
        answers = await asyncio.gather(*(place.close(f"alert-{number}", "?wait=2") for number in range(MOST)))

    assert [answer.status_code for answer in answers] == [202] * MOST
    assert place.store.transactions == 2 * MOST, "each alert is looked up, each order stored, and that is all"


@pytest.mark.parametrize("callers", [1, MOST])
async def test_what_another_copy_closes_is_asked_for_together(postgres_url: str, callers: int) -> None:
    async with asyncio.timeout(40), door(postgres_url) as place, asyncio.TaskGroup() as group:
        ids = [AlertId(f"alert-{number}") for number in range(callers)]
        with place.store.writing() as tx:
            known(tx, ids)
        before = place.store.transactions
        patient = [group.create_task(place.close(alert_id, "?wait=30")) for alert_id in ids]
        await place.waiting(callers)
        waits_since = time.monotonic()
        await asyncio.sleep(2)
        looks, seconds = place.store.transactions - before - 2 * callers, time.monotonic() - waits_since
        async with opened(postgres_url) as other:
            with other.writing() as tx:
                for alert_id in ids:
                    tx.links.change(alert_id, lambda link: changed(link, alert_closed=True), now=tx.now)
        heard = [await caller for caller in patient]

    assert [answer.status_code for answer in heard] == [204] * callers
    assert 1 <= looks <= 2 * seconds + 2, "two a second, however many wait"


def known(tx: Tx, ids: list[AlertId]) -> None:
    """Store alerts with links."""
    shown = [
        Shown(
            snapshot=first_snapshot(Observation(alert=Alert(id=alert_id))),
            shape=Shape.LISTING,
            digest=None,
            contents=None,
            recheck=False,
        )
        for alert_id in ids
    ]
    tx.alerts.save(shown, now=tx.now, sweep=0)
    tx.links.add([Link(alert_id=alert_id) for alert_id in ids], now=tx.now)
