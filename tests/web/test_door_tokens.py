"""Wrong tokens at the doors: after too many from one address comes a wait, and a right token passes all the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import httpx
from structlog.testing import capture_logs
from test_plain_doors import Clock, Doors, Intake

from kuma_sync.settings.passthrough import passage
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.web.responses import TokenLimits, WrongTokens
from kuma_sync.web.routes import build_app
from kuma_sync.web.throttle import Throttle, Wait

BODY = {"id": "a", "reason": "responded"}
RIGHT, WRONG = ({"Authorization": f"Bearer {token}"} for token in ("canary-sv", "guessed"))


class Guarded(Doors):
    """Doors that take three wrong tokens a minute of each of five addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = Clock()
        self.wrong = WrongTokens(TokenLimits(most=3, remembered=5), monotonic=self.seconds)
        self.asgi = build_app(
            rules=lambda: self.rules,
            intake=Intake(),
            health=self.health,
            render_metrics=Metrics().render,
            wrong_tokens=self.wrong,
        )

    async def closes(self, headers: dict[str, str], *, host: str = "192.0.2.1") -> httpx.Response:
        return await self.asked("POST", "/api/v1/alerts/close", headers, host=host)

    async def asked(self, method: str, path: str, headers: dict[str, str], *, host: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.asgi, client=(host, 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://door", trust_env=False) as client:
            return await client.request(method, path, headers=headers, json=BODY if method == "POST" else None)


async def test_after_too_many_wrong_tokens_comes_a_wait_and_the_right_one_passes() -> None:
    doors = Guarded()
    with capture_logs() as logs:
        wrong = [(await doors.closes(WRONG)).status_code for _ in range(3)]
        refused = await doors.closes(WRONG)
        again = await doors.closes(WRONG)
        right = await doors.closes(RIGHT)
        another = await doors.closes(WRONG, host="192.0.2.2")
        doors.seconds.now = 60.0
        later = await doors.closes(WRONG)

    assert (wrong, refused.status_code, again.status_code) == ([403] * 3, 429, 429)
    assert refused.json() == {"message": "too many wrong tokens", "details": "from this address"}
    assert refused.headers["Retry-After"] == "60"
    assert (right.status_code, another.status_code, later.status_code) == (204, 403, 403)
    assert [(line["event"], line["address"]) for line in logs] == [("wrong_tokens", "192.0.2.1")]


async def test_every_door_that_asks_for_a_token_counts() -> None:
    doors = Guarded()
    doors.rules = replace(doors.rules, allow=[passage("GET /api/v1/assets")])

    paths = ("/metrics", "/api/v3/users/whoami", "/api/v1/assets", "/metrics")
    found = [(await doors.asked("GET", path, WRONG, host="192.0.2.1")).status_code for path in paths]

    assert found == [403, 403, 403, 429]


async def test_a_call_without_a_token_is_not_counted() -> None:
    doors = Guarded()

    without = [(await doors.closes({})).status_code for _ in range(10)]

    assert without == [400] * 10
    assert (await doors.closes(WRONG)).status_code == 403


async def test_all_addresses_of_one_ipv6_network_count_together() -> None:
    doors = Guarded()

    found = [(await doors.closes(WRONG, host=f"2001:db8::{number}")).status_code for number in range(1, 5)]
    neighbour = await doors.closes(WRONG, host="2001:db8:0:1::1")

    assert found == [403, 403, 403, 429]
    assert neighbour.status_code == 403


async def test_very_many_addresses_take_no_memory() -> None:
    doors = Guarded()

    for number in range(100):
        assert (await doors.closes(WRONG, host=f"192.0.2.{number}")).status_code == 403

    assert len(doors.wrong._throttle._tries) == 5


def test_tries_are_forgotten_after_a_minute() -> None:
    now = 0.0
    throttle = Throttle(most=5, within=timedelta(minutes=1), remembered=10, monotonic=lambda: now)

    assert [throttle.tried("10.0.0.9") for _ in range(5)] == [None] * 5
    assert [throttle.tried("10.0.0.9") for _ in range(2)] == [
        Wait(seconds=60, first=True),
        Wait(seconds=60, first=False),
    ]
    now = 60.0
    assert [throttle.tried("10.0.0.9") for _ in range(5)] == [None] * 5
    assert throttle.tried("10.0.0.9") == Wait(seconds=60, first=True), "it is told once each time"
