"""The made-up product keeps to its page: what a stranger's profile is tried against must itself be right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from addresses import somewhere
from beacon_desk import COOKIE, BeaconDesk
from plain_http import plain_client

from kuma_sync.sim.server import SimServer
from kuma_sync.sim.values import whole_second


@asynccontextmanager
async def signed_in(desk: BeaconDesk) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        SimServer(desk.app, listen=somewhere()) as server,
        plain_client(server.url) as client,
    ):
        answer = await client.post("/session", data={"user": desk.user, "secret": desk.token})
        assert (answer.status_code, answer.content, set(client.cookies)) == (204, b"", {COOKIE})
        yield client


def code(answer: httpx.Response) -> tuple[int, str]:
    told = answer.json()
    assert told["ok"] is False
    return answer.status_code, told["fault"]["code"]


async def test_a_case_is_made_and_changed_by_one_call_and_what_is_not_sent_stays() -> None:
    desk = BeaconDesk()
    async with signed_in(desk) as client:
        made = await client.post("/case", data={"ref": "a", "title": "Вход", "level": "4", "tag": ["x", "y"]})
        changed = await client.post("/case", data={"ref": "a", "level": "1"})

    assert (made.status_code, changed.status_code) == (201, 200)
    assert made.headers["location"] == changed.headers["location"] == "/case/C-000001"
    assert made.json() == changed.json() == {"ok": True, "result": None}
    assert desk.case("a").fields == {"ref": ["a"], "title": ["Вход"], "level": ["1"], "tag": ["x", "y"]}


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "no reference"},
        {"ref": "r" * 121},
        {"ref": "a", "title": "t" * 201},
        {"ref": "a", "level": "5"},
        {"ref": "a", "severity": "1"},
        {"ref": "a", "title": ["one", "two"]},
    ],
    ids="-".join,
)
async def test_what_the_page_does_not_allow_makes_no_case(fields: dict[str, str]) -> None:
    desk = BeaconDesk()
    async with signed_in(desk) as client:
        answer = await client.post("/case", data=fields)

    assert (code(answer), desk.cases, len(desk.refused())) == ((200, "BAD_VALUE"), {}, 1)


async def test_json_a_wrong_secret_and_an_ended_session_are_refused_by_status() -> None:
    desk = BeaconDesk()
    desk.knobs.session_calls = 2
    async with signed_in(desk) as client:
        told = [
            code(await client.post("/case", json={"ref": "a"})),
            (await client.get("/ping")).json(),
            (await client.get("/ping")).json(),
            code(await client.get("/ping")),
            code(await client.post("/session", data={"user": desk.user, "secret": "guessed"})),
        ]

    pong = {"ok": True, "result": "pong"}
    assert told == [(415, "NOT_A_FORM"), pong, pong, (401, "NO_SESSION"), (403, "DENIED")]
    assert (desk.logins, desk.cases) == (1, {})


async def test_a_session_ends_after_half_an_hour() -> None:
    now = [datetime(2026, 11, 29, 8, tzinfo=UTC)]
    async with signed_in(BeaconDesk(clock=lambda: now[0])) as client:
        now[0] += timedelta(minutes=29)
        before = await client.get("/ping")
        now[0] += timedelta(minutes=1)
        after = await client.get("/ping")

    assert (before.status_code, after.status_code) == (200, 401)


async def test_moves_notes_and_changes_of_cases_that_are_done_or_not_there() -> None:
    desk = BeaconDesk()
    verdict = {"to": "done", "verdict": "rule-error", "remark": "checked"}
    async with signed_in(desk) as client:
        await client.post("/case", data={"ref": "a"})
        moved = [
            (await client.post("/case/C-000001/transition", data=data)).json()
            for data in ({"to": "work"}, {"to": "done", "remark": "x"}, {"to": "done", "verdict": "real"}, verdict)
        ]
        refused = [
            code(await client.post(f"/case/{path}", data=data))
            for path, data in (
                ("C-000001/transition", verdict),
                ("C-000002/transition", verdict),
                ("C-000002/note", {"note": "x"}),
                ("C-000001/note", {"note": "x" * 200_001}),
            )
        ]
        changed = code(await client.post("/case", data={"ref": "a", "title": "late"}))

    assert [answer["ok"] for answer in moved] == [True, False, False, True]
    assert [told for _, told in refused] == ["ALREADY_DONE", "NO_SUCH_CASE", "NO_SUCH_CASE", "BAD_VALUE"]
    assert changed == (200, "CASE_IS_DONE")
    assert (desk.case("a").state, desk.case("a").verdict, desk.case("a").notes) == ("done", "rule-error", [])


async def test_cases_are_listed_by_reference_state_and_time_fifty_a_page() -> None:
    now = [datetime(2026, 11, 29, 8, tzinfo=UTC)]
    desk = BeaconDesk(clock=lambda: now[0])
    async with signed_in(desk) as client:

        async def rows(**query: str) -> list[dict[str, str]]:
            found: list[dict[str, str]] = (await client.get("/cases", params=query)).json()["result"]["rows"]
            return found

        for number in range(60):
            await client.post("/case", data={"ref": f"a{number}"})
        noon = whole_second(now[0])
        now[0] += timedelta(seconds=2)
        desk.done("a7", "false-alarm")
        pages = [len(await rows(page=page)) for page in ("1", "2", "3")]
        one, done, late = await rows(ref="a7"), await rows(state="done"), await rows(changed_after=noon)
        wrong = code(await client.get("/cases", params={"changed_after": "yesterday"}))

    assert pages == [50, 10, 0]
    assert one == done == late
    assert one == [
        {
            "no": "C-000008",
            "ref": "a7",
            "state": "done",
            "verdict": "false-alarm",
            "changed": "2026-11-29T08:00:02Z",
            "web": "/ui/case/C-000008",
        }
    ]
    assert wrong == (200, "BAD_VALUE")


async def test_a_new_case_is_found_after_the_lag_and_a_busy_desk_does_nothing() -> None:
    now = [datetime(2026, 11, 29, 8, tzinfo=UTC)]
    desk = BeaconDesk(clock=lambda: now[0])
    desk.knobs.index_lag = 3
    async with signed_in(desk) as client:
        busy = desk.busy(method="POST", match="/case$", times=1)
        first = code(await client.post("/case", data={"ref": "a"}))
        left = dict(desk.cases)
        await client.post("/case", data={"ref": "a"})
        found = []
        for _ in range(2):
            found.append(len((await client.get("/cases", params={"ref": "a"})).json()["result"]["rows"]))
            now[0] += timedelta(seconds=3)

    assert (first, left, busy.fired) == ((200, "BUSY"), {}, 1)
    assert found == [0, 1]
