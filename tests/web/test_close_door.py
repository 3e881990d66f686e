"""KUMA's own close call on our door: every answer of the contract, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest
from plain_http import plain_client

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, KumaAnswer, Reason
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.core.incident import Origin
from kuma_sync.settings import Secret
from kuma_sync.telemetry.health import Health
from kuma_sync.web.responses import LARGEST_BODY, AccessRules
from kuma_sync.web.routes import build_app
from kuma_sync.web.server import bind, serve

PATH = "/api/v1/alerts/close"
AUTHORIZED = {"Authorization": "Bearer canary-sv"}
GOOD = {"id": "a-1", "reason": "responded"}
BIG = b'{"id": "' + b"x" * LARGEST_BODY + b'"}'


STORED = KumaAnswer(status=204)


@dataclass
class Intake:
    """Remember the orders; answer as told."""

    said: KumaAnswer | Exception | None = STORED
    orders: list[tuple[CloseRequest, float | None]] = field(default_factory=list)

    async def take(self, request: CloseRequest, wait: float | None) -> KumaAnswer | None:
        self.orders.append((request, wait))
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def rules(*, to_kuma: bool = True) -> AccessRules:
    tokens = {"other": Secret("canary-other"), "security-vision": Secret("canary-sv"), "unset": Secret("")}
    return AccessRules(to_kuma=to_kuma, tokens=tokens, metrics_token=Secret("canary-metrics"))


@asynccontextmanager
async def door(intake: Intake, *, to_kuma: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(
        rules=lambda: rules(to_kuma=to_kuma),
        intake=intake,
        health=Health(monotonic=lambda: 0.0),
        render_metrics=partial(asyncio.to_thread, bytes),
    )
    stop, listener = asyncio.Event(), bind("127.0.0.1:0")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(app, listener, stop=stop))
        try:
            async with plain_client(url, timeout=20) as client:
                yield client
        finally:
            stop.set()


@pytest.mark.parametrize("version", ["v1", "v2", "v2.1", "v3"])
async def test_a_closing_is_stored_and_answered_as_kuma_does(version: str) -> None:
    intake = Intake()

    async with door(intake) as client:
        answer = await client.post(f"/api/{version}/alerts/close", json=GOOD, headers=AUTHORIZED)

    assert (answer.status_code, answer.content) == (204, b"")
    closing = CloseRequest(alert_id=AlertId("a-1"), reason=Reason.RESPONDED, origin=Origin.IRP, by="security-vision")
    assert intake.orders == [(closing, None)]


async def test_all_that_the_caller_says_reaches_the_desk() -> None:
    intake = Intake()
    body = {"id": " a-1 ", "reason": "Incorrect  Data", "comment": "пусто", "incident": 42, "unknown": [1]}

    async with door(intake) as client:
        answer = await client.post(PATH, content=json.dumps(body), headers={"Authorization": "Bearer canary-other"})

    (order, _), *_ = intake.orders
    assert answer.status_code == 204
    assert (order.alert_id, order.reason, order.by) == ("a-1", Reason.INCORRECT_DATA, "other")
    assert (order.comment, order.incident) == ("пусто", "42")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_the_content_type_is_not_enforced(content_type: str | None) -> None:
    intake = Intake()
    headers = AUTHORIZED if content_type is None else {**AUTHORIZED, "Content-Type": content_type}

    async with door(intake) as client:
        answer = await client.post(PATH, content=json.dumps(GOOD), headers=headers)

    assert answer.status_code == 204


REFUSALS: list[tuple[str, dict[str, str], bytes, int, str, Any]] = [
    ("no header", {}, b"{}", 400, "invalid authorization header", "Example: Bearer <token>"),
    ("other scheme", {"Authorization": "Basic Y2FuYXJ5"}, b"{}", 400, "invalid authorization header", ...),
    ("no token", {"Authorization": "Bearer"}, b"{}", 400, "invalid authorization header", ...),
    ("two words", {"Authorization": "Bearer canary-sv x"}, b"{}", 400, "invalid authorization header", ...),
    ("wrong token", {"Authorization": "Bearer canary-x"}, b"{}", 403, "access denied", None),
    ("metrics token", {"Authorization": "Bearer canary-metrics"}, b"{}", 403, "access denied", None),
    ("too large", AUTHORIZED, BIG, 413, "request body too large", ...),
    ("no body", AUTHORIZED, b"", 400, "invalid request body", None),
    ("no JSON", AUTHORIZED, b"id=a-1", 400, "invalid request body", None),
    ("no object", AUTHORIZED, b'["a-1"]', 400, "invalid request body", None),
    ("no text", AUTHORIZED, b'{"id": {"a": 1}, "reason": "responded"}', 400, "invalid request body", "id"),
    ("too deep", AUTHORIZED, b"[" * 60_000, 400, "invalid request body", None),
    ("not UTF-8", AUTHORIZED, b'{"id": "\xff"}', 400, "invalid request body", None),
    ("no id is as long", AUTHORIZED, b'{"id": "%s"}' % (b"x" * 201), 400, "invalid request body", "id"),
    ("a NUL", AUTHORIZED, b'{"id": "a\\u0000"}', 400, "invalid request body", "id"),
    ("half a pair", AUTHORIZED, b'{"id": "a", "comment": "\\ud800"}', 400, "invalid request body", "comment"),
    ("no id", AUTHORIZED, b"{}", 400, "id required", None),
    ("empty id", AUTHORIZED, b'{"id": " ", "reason": "x"}', 400, "id required", None),
    ("null id", AUTHORIZED, b'{"id": null, "reason": "x"}', 400, "id required", None),
    ("no reason", AUTHORIZED, b'{"id": "a-1"}', 400, "reason required", None),
    ("other reason", AUTHORIZED, b'{"id": "a-1", "reason": "done"}', 400, "invalid reason", None),
]


@pytest.mark.parametrize(
    ("name", "headers", "body", "status", "message", "details"), REFUSALS, ids=[case[0] for case in REFUSALS]
)
async def test_what_is_wrong_is_told_in_kumas_words_and_reaches_nobody(
    name: str, headers: dict[str, str], body: bytes, status: int, message: str, details: Any
) -> None:
    intake = Intake()

    async with door(intake, to_kuma=False) as client:
        answer = await client.post(f"{PATH}?wait=soon", content=body, headers=headers)

    told = answer.json()
    assert (answer.status_code, told["message"]) == (status, message)
    assert set(told) == {"message", "details"}
    assert details in (..., told["details"])
    assert "canary" not in answer.text
    assert intake.orders == []


async def test_a_closing_is_refused_while_it_is_switched_off_and_that_is_checked_last() -> None:
    intake = Intake()

    async with door(intake, to_kuma=False) as client:
        answer = await client.post(PATH, json=GOOD, headers=AUTHORIZED)

    assert (answer.status_code, answer.json()) == (406, {"message": "closing is switched off", "details": None})
    assert intake.orders == []


async def test_a_store_out_of_reach_is_told_with_the_reason() -> None:
    async with door(Intake(said=StoreUnavailable("the disk is full"))) as client:
        answer = await client.post(PATH, json=GOOD, headers=AUTHORIZED)

    assert (answer.status_code, answer.json()) == (
        503,
        {"message": "store unavailable", "details": "the disk is full"},
    )


async def test_a_wait_that_is_no_number_up_to_thirty_is_refused() -> None:
    intake = Intake()

    async with door(intake) as client:
        answers = [
            await client.post(f"{PATH}?wait={wait}", json=GOOD, headers=AUTHORIZED)
            for wait in ("", "soon", "-1", "30.1", "nan", "inf", "0x1")
        ]

    assert {answer.status_code for answer in answers} == {400}
    assert answers[0].json() == {"message": "invalid query parameter value", "details": "wait"}
    assert intake.orders == []


async def test_the_wait_is_handed_to_the_desk() -> None:
    intake = Intake()

    async with door(intake) as client:
        for wait in ("0", "2.5", "30"):
            await client.post(f"{PATH}?wait={wait}", json=GOOD, headers=AUTHORIZED)

    assert [wait for _, wait in intake.orders] == [0.0, 2.5, 30.0]


@pytest.mark.parametrize(
    ("said", "status", "body"),
    [
        (KumaAnswer(status=204), 204, None),
        (KumaAnswer(status=404, message="alert not found"), 404, {"message": "alert not found", "details": None}),
        (KumaAnswer(status=400, message="id required"), 400, {"message": "id required", "details": None}),
        (
            KumaAnswer(status=406, message="tenant disabled", details="x"),
            406,
            {"message": "tenant disabled", "details": "x"},
        ),
        (None, 202, {"message": "accepted", "details": "no final answer of KUMA yet; the queue goes on"}),
    ],
)
async def test_with_wait_kumas_final_answer_is_handed_over(said: KumaAnswer | None, status: int, body: Any) -> None:
    async with door(Intake(said=said)) as client:
        answer = await client.post(f"{PATH}?wait=5", json=GOOD, headers=AUTHORIZED)

    assert answer.status_code == status
    assert (answer.json() if answer.content else None) == body


async def test_a_body_without_a_length_is_capped_while_it_is_read() -> None:
    intake = Intake()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 4096

    async with door(intake) as client:
        answer = await client.post(PATH, content=pieces(), headers=AUTHORIZED)

    assert (answer.status_code, answer.json()["message"]) == (413, "request body too large")


async def test_a_body_that_never_ends_is_cut_off() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async with asyncio.timeout(20), door(Intake()) as client:
        for headers in (AUTHORIZED, {"Authorization": "Bearer canary-x"}):
            # Whether the answer or the closed connection is seen first is up to the network; sending for ever is not.
            with contextlib.suppress(httpx.TransportError):
                answer = await client.post(PATH, content=pieces(), headers=headers)
                assert answer.status_code == (413 if headers == AUTHORIZED else 403)
        after = await client.post(PATH, json=GOOD, headers=AUTHORIZED)

    assert after.status_code == 204


async def test_a_body_of_exactly_the_largest_size_is_read() -> None:
    body = json.dumps({**GOOD, "comment": ""}).encode()
    body = body[:-2] + b"c" * (LARGEST_BODY - len(body)) + body[-2:]

    async with door(Intake()) as client:
        answer = await client.post(PATH, content=body, headers=AUTHORIZED)

    assert len(body) == LARGEST_BODY
    assert answer.status_code == 204


async def test_a_caller_that_leaves_in_the_middle_disturbs_nobody() -> None:
    intake = Intake()

    async with door(intake) as client:
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer canary-sv\r\nContent-Length: 99\r\n\r\n"
        writer.write(head.encode() + b"{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        answer = await client.post(PATH, json=GOOD, headers=AUTHORIZED)

    assert answer.status_code == 204
    assert len(intake.orders) == 1


async def test_other_methods_are_not_allowed() -> None:
    async with door(Intake()) as client:
        answers = [
            await client.request(method, PATH, headers=AUTHORIZED) for method in ("GET", "PUT", "DELETE", "PROPFIND")
        ]

    assert {(answer.status_code, answer.headers["allow"]) for answer in answers} == {(405, "POST")}
    assert answers[0].json() == {"message": "method not allowed", "details": None}


async def test_other_paths_are_not_found() -> None:
    paths = ("/api/v4/alerts/close", "/api/v1/alerts/close/", "/api/v1/alert", "/api/v4/alerts/")

    async with door(Intake()) as client:
        answers = [await client.post(path, json=GOOD, headers=AUTHORIZED) for path in paths]

    assert {answer.status_code for answer in answers} == {404}
    assert answers[0].json() == {"message": "not found", "details": None}
