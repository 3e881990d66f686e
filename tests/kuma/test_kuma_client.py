"""What is asked of KUMA to the letter, and what each documented answer becomes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
import respx
import stamina

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import KumaAnswer
from kuma_sync.core.errors import AccessDenied, Permanent, RemoteError, Transient
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.kuma.client import KumaClient, PageEnd, Whoami, query_string
from kuma_sync.kuma.element_cache import Element
from kuma_sync.kuma.page import End
from kuma_sync.kuma.refusal import KumaRefusal
from kuma_sync.kuma.request import Scope
from kuma_sync.settings import Secret
from kuma_sync.transport import Endpoint, RemoteClient

URL = "https://kuma.test:7223"
FULL = Query(kind=ReadKind.FULL)


@pytest.fixture(autouse=True)
def _retries_do_not_wait():
    stamina.set_testing(True, attempts=3, cap=True)
    yield
    stamina.set_testing(False)


@asynccontextmanager
async def a_client(
    router: respx.Router,
    token: Secret | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **changes: object,
) -> AsyncIterator[KumaClient]:
    endpoint = Endpoint(remote="kuma", url=URL, connections=1)
    remote = RemoteClient(endpoint, clock=clock, transport=httpx.MockTransport(router.async_handler))
    settings: dict = {"api_version": "v1", "statuses": ["new"], "tenants": [], "with_affected": False}
    settings |= {"max_alert_size": 10_000, "page_cap": 9}
    try:
        yield KumaClient(client=remote, token=token or Secret("t0ken"), **settings | changes)
    finally:
        await remote.aclose()


async def everything(client: KumaClient, query: Query = FULL) -> list[Element | PageEnd]:
    async with aclosing(client.read(query)) as items:
        return [item async for item in items]


def alerts(*ids: str) -> httpx.Response:
    return httpx.Response(200, json=[{"id": alert_id} for alert_id in ids])


def pages(*responses: httpx.Response | Exception) -> tuple[respx.Router, respx.Route]:
    router = respx.Router()
    return router, router.get(path="/api/v1/alerts/").mock(side_effect=list(responses))


def ends(items: list[Element | PageEnd]) -> list[End]:
    return [item.end for item in items if isinstance(item, PageEnd)]


def ids(items: list[Element | PageEnd]) -> list[str | None]:
    return [item.alert_id_hint() for item in items if isinstance(item, Element)]


SINCE = datetime(2026, 1, 2, 6, 4, 5, tzinfo=timezone(timedelta(hours=3)))
ONE, TWO = AlertId("a"), AlertId("б&=")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (FULL, "withEvents&status=new&page=3"),
        (Query(kind=ReadKind.SWEEP), "status=new&timestampField=firstSeen&page=3"),
        (
            Query(kind=ReadKind.WINDOW, since=SINCE),
            "withEvents&status=new&timestampField=lastSeen&from=2026-01-02T03:04:05Z&page=3",
        ),
        (
            Query(kind=ReadKind.LATE, since=SINCE + timedelta(microseconds=123_999)),
            "timestampField=lastSeen&from=2026-01-02T03:04:05.123Z&page=3",
        ),
        (Query(kind=ReadKind.CONTENTS, ids=(ONE, TWO)), "withEvents&id=a&id=%D0%B1%26%3D&page=3"),
        (Query(kind=ReadKind.STATUS, ids=(ONE,)), "id=a&page=3"),
        (
            Query(kind=ReadKind.BACKFILL, since=SINCE, until=SINCE + timedelta(days=1), statuses=("closed", "new")),
            "status=closed&status=new&timestampField=firstSeen&from=2026-01-02T03:04:05Z&to=2026-01-03T03:04:05Z&page=3",
        ),
        (
            Query(kind=ReadKind.BACKFILL, since=SINCE),
            "timestampField=firstSeen&from=2026-01-02T03:04:05Z&page=3",
        ),
    ],
)
def test_each_read_asks_exactly_this(query, expected):
    assert query_string(query, Scope(statuses=["new"], tenants=[], with_affected=False), page=3) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (FULL, "withEvents&withAffected&status=new&status=assigned&tenantID=t1&tenantID=t2&page=1"),
        (
            Query(kind=ReadKind.SWEEP),
            "status=new&status=assigned&tenantID=t1&tenantID=t2&timestampField=firstSeen&page=1",
        ),
        (Query(kind=ReadKind.STATUS, ids=(ONE,)), "tenantID=t1&tenantID=t2&id=a&page=1"),
    ],
)
def test_scope_is_asked_for_with_every_read(query, expected):
    scope = Scope(statuses=["new", "assigned"], tenants=["t1", "t2"], with_affected=True)

    assert query_string(query, scope, page=1) == expected


@pytest.mark.parametrize("version", ["v1", "v2", "v2.1", "v3"])
async def test_a_read_is_the_missions_request(version):
    router = respx.Router()
    route = router.route().mock(return_value=httpx.Response(200, json=[]))

    async with a_client(router, api_version=version) as client:
        await everything(client)

    request = route.calls.last.request
    assert str(request.url) == f"{URL}/api/{version}/alerts/?withEvents&status=new&page=1"
    assert request.headers["Authorization"] == "Bearer t0ken"


async def test_all_pages_are_read_until_an_empty_one():
    router, route = pages(alerts("a", "b"), alerts("c"), alerts("d", "e"), alerts())

    async with a_client(router) as client:
        items = await everything(client)

    assert ids(items) == ["a", "b", "c", "d", "e"]
    assert [call.request.url.params["page"] for call in route.calls] == ["1", "2", "3", "4"]
    assert [(item.number, item.count, item.end) for item in items if isinstance(item, PageEnd)] == [
        (1, 2, End.MORE),
        (2, 1, End.MORE),
        (3, 2, End.MORE),
        (4, 0, End.EMPTY),
    ]


@pytest.mark.parametrize("empty", [b"[]", b"null", b" null\n"])
async def test_an_empty_answer_is_a_complete_read(empty):
    router, _ = pages(alerts("a", "b"), httpx.Response(200, content=empty))

    async with a_client(router) as client:
        assert ends(await everything(client)) == [End.MORE, End.EMPTY]


async def test_a_page_of_known_ids_ends_the_read_incomplete():
    weird = httpx.Response(200, json=[{"events": [1], "id": "z"}, {"nothing": 1}])
    router, route = pages(alerts("a", "b"), alerts("b", "c"), weird, alerts("a", "c"))

    async with a_client(router) as client:
        assert ends(await everything(client)) == [End.MORE, End.MORE, End.MORE, End.REPEATED]

    assert route.call_count == 4


async def test_an_alert_whose_id_stands_last_is_recognised_too():
    grown = httpx.Response(200, json=[{"events": [1, 2], "id": "z"}, {"nothing": 1}])
    router, _ = pages(httpx.Response(200, json=[{"events": [1], "id": "z"}, {"nothing": 1}]), grown)

    async with a_client(router) as client:
        assert ends(await everything(client)) == [End.MORE, End.REPEATED]


async def test_the_page_cap_ends_the_read_incomplete():
    router, _ = pages(*(alerts(f"a{n}", f"b{n}") for n in range(3)))

    async with a_client(router, page_cap=3) as client:
        assert ends(await everything(client)) == [End.MORE, End.MORE, End.CAP]


async def test_a_page_tells_kumas_clock_and_its_size():
    body = b'[{"id":"a"}]'
    router, _ = pages(httpx.Response(200, content=body, headers={"Date": "Fri, 02 Jan 2026 03:00:00 GMT"}), alerts())

    async with a_client(router) as client:
        end = (await everything(client))[1]

    assert isinstance(end, PageEnd)
    assert (end.bytes, end.server_date) == (len(body), datetime(2026, 1, 2, 3, tzinfo=UTC))


async def test_the_time_that_a_page_takes_to_arrive_is_no_difference_of_clocks():
    now = datetime(2026, 1, 2, 3, tzinfo=UTC)

    async def slow_body() -> AsyncIterator[bytes]:
        nonlocal now
        for piece in (b'[{"id":', b'"a"}]'):
            now += timedelta(seconds=30)
            yield piece

    router, _ = pages(
        httpx.Response(200, content=slow_body(), headers={"Date": "Fri, 02 Jan 2026 03:00:04 GMT"}), alerts()
    )

    async with a_client(router, clock=lambda: now) as client:
        end = (await everything(client))[1]

    assert isinstance(end, PageEnd)
    assert end.skew == timedelta(seconds=4)


async def test_an_alert_above_the_limit_comes_without_its_bytes():
    router, _ = pages(httpx.Response(200, json=[{"id": "big", "name": "x" * 20_000}, {"id": "small"}]), alerts())

    async with a_client(router) as client:
        items = await everything(client)

    assert ids(items) == ["big", "small"]
    assert isinstance(items[0], Element)
    assert (items[0].raw, items[0].size > 20_000) == (None, True)


HTML = httpx.Response(200, headers={"Content-Type": "text/html; charset=utf-8"}, text="<html>secret</html>")
CUT = httpx.Response(200, headers={"Content-Type": "application/json"}, content=b"[")
JUNK = httpx.Response(200, headers={"Content-Type": "application/json"}, content=b"[}")


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (HTML, "answered text/html instead of JSON"),
        (CUT, "answer ended early"),
        (httpx.Response(200, content=b""), "answer ended early"),
        (JUNK, "answered a broken JSON array"),
        (httpx.Response(500, json={"message": "boom"}), "answered 500 Internal Server Error"),
        (httpx.Response(502, text="<html>"), "answered 502 Bad Gateway"),
    ],
)
async def test_a_page_that_fails_at_its_beginning_is_tried_three_times(response, words):
    router, route = pages(*[response] * 3)

    async with a_client(router) as client:
        with pytest.raises(Transient) as caught:
            await everything(client)

    assert (str(caught.value), route.call_count) == (f"kuma read: {words}", 3)


async def test_a_page_that_recovers_is_read_once():
    router, route = pages(alerts("a", "b"), HTML, httpx.ConnectError("secret"), alerts("c"), alerts())

    async with a_client(router) as client:
        items = await everything(client)

    assert (ids(items), ends(items), route.call_count) == (["a", "b", "c"], [End.MORE, End.MORE, End.EMPTY], 5)


async def test_a_page_that_fails_after_its_first_alert_is_not_tried_again():
    router, route = pages(httpx.Response(200, content=b'[{"id":"a"},'))
    received: list[Element | PageEnd] = []

    async with a_client(router) as client, aclosing(client.read(FULL)) as items:
        with pytest.raises(Transient, match="answer ended early"):
            received.extend([item async for item in items])

    assert route.call_count == 1


async def test_a_wish_to_wait_is_handed_to_the_caller_at_once():
    router, route = pages(httpx.Response(429, headers={"Retry-After": "60"}))

    async with a_client(router) as client:
        with pytest.raises(Transient) as caught:
            await everything(client)

    assert (caught.value.retry_after, route.call_count) == (timedelta(seconds=60), 1)


async def test_a_read_left_early_gives_its_connection_back():
    router, _ = pages(alerts("a", "b"), alerts("c"), alerts())

    async with a_client(router) as client:
        async with aclosing(client.read(FULL)) as items:
            await anext(items)

        assert ids(await everything(client)) == ["c"]


@pytest.mark.parametrize(
    ("response", "version", "kind", "words"),
    [
        (httpx.Response(200, json={"Total": 0}), "v1", Permanent, "XDR"),
        (httpx.Response(404, text="404 page not found"), "v1", Permanent, "KUMA 4.x serves only v3"),
        (
            httpx.Response(404, text="404 page not found"),
            "v3",
            Permanent,
            r"read: answered 404 Not Found: is kuma.url right\?$",
        ),
        (httpx.Response(403, json={"message": "access denied"}), "v1", AccessDenied, "answered 403"),
        (httpx.Response(401), "v1", AccessDenied, "answered 401"),
        (httpx.Response(302, headers={"Location": "https://other.test"}), "v1", Transient, "answered 302"),
        (
            httpx.Response(400, json={"message": "invalid authorization header", "details": "Example: Bearer 0"}),
            "v1",
            AccessDenied,
            "invalid authorization header",
        ),
        (
            httpx.Response(400, json={"message": "invalid query parameter value", "details": "page"}),
            "v1",
            Permanent,
            "invalid query parameter value",
        ),
    ],
)
async def test_a_refused_read_says_why(response, version, kind, words):
    router = respx.Router()
    router.route().mock(return_value=response)

    async with a_client(router, api_version=version) as client:
        with pytest.raises(kind, match=words):
            await everything(client)

    reads = [call for call in router.calls if call.request.url.path == f"/api/{version}/alerts/"]
    assert len(reads) == 1


DeliveryState = Callable[[KumaClient], object]
CALLS: list[DeliveryState] = [everything, lambda client: client.close("a", "responded"), lambda client: client.whoami()]


def fresh_only(request: httpx.Request) -> httpx.Response:
    if request.headers["Authorization"] != "Bearer fresh":
        return httpx.Response(403, json={"message": "access denied"})
    return httpx.Response(200, content=b"{}" if "whoami" in request.url.path else b"[]")


@pytest.mark.parametrize("call", CALLS)
async def test_a_refused_token_is_read_again_from_its_file_and_tried_once_more(call, tmp_path: Path):
    (tmp_path / "token").write_text("stale\n")
    token = Secret(path=tmp_path / "token")
    (tmp_path / "token").write_text("fresh\n")
    sent = []

    def noting(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        return fresh_only(request)

    router = respx.Router()
    router.route().mock(side_effect=noting)
    async with a_client(router, token) as client:
        await call(client)

    assert sent == ["Bearer stale", "Bearer fresh"]


@pytest.mark.parametrize("call", CALLS)
async def test_a_token_that_did_not_change_is_not_tried_again(call, tmp_path: Path):
    (tmp_path / "token").write_text("stale\n")
    router = respx.Router()
    route = router.route().mock(side_effect=fresh_only)

    async with a_client(router, Secret(path=tmp_path / "token")) as client:
        with pytest.raises(AccessDenied):
            await call(client)

    assert route.call_count == 1


@pytest.mark.parametrize("call", CALLS)
async def test_a_token_that_another_request_read_again_is_tried_too(call, tmp_path: Path):
    (tmp_path / "token").write_text("stale")
    token = Secret(path=tmp_path / "token")
    router = respx.Router()

    def reloading(request: httpx.Request) -> httpx.Response:
        (tmp_path / "token").write_text("fresh")
        token.reload()
        return fresh_only(request)

    route = router.route().mock(side_effect=reloading)
    async with a_client(router, token) as client:
        await call(client)

    assert route.call_count == 2


async def closing(response: httpx.Response, **changes: object) -> bool | RemoteError:
    router = respx.Router()
    router.route().mock(return_value=response)
    async with a_client(router, **changes) as client:
        try:
            return await client.close("a", "responded")
        except RemoteError as error:
            return error


@pytest.mark.parametrize("version", ["v1", "v2", "v2.1", "v3"])
async def test_a_closing_is_kumas_documented_request(version):
    router = respx.Router()
    route = router.route().mock(return_value=httpx.Response(204))

    async with a_client(router, api_version=version) as client:
        await client.close("5f0c", "incorrect data")

    request = route.calls.last.request
    assert (request.method, str(request.url)) == ("POST", f"{URL}/api/{version}/alerts/close")
    assert json.loads(request.content) == {"id": "5f0c", "reason": "incorrect data"}
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Authorization"] == "Bearer t0ken"


async def test_closed_now_and_closed_before_are_both_done():
    assert await closing(httpx.Response(204)) is True
    assert await closing(httpx.Response(406, json={"message": "alert already closed", "details": None})) is False
    assert await closing(httpx.Response(406, json={"message": "Alert already closed"})) is False


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "id required"),
        (400, "reason required"),
        (400, "invalid reason"),
        (404, "alert not found"),
        (406, "tenant disabled"),
    ],
)
async def test_a_refused_closing_is_permanent_in_kumas_words(status, message):
    error = await closing(httpx.Response(status, json={"message": message.upper(), "details": "id  5f0c"}))

    assert isinstance(error, KumaRefusal)
    assert (error.summary, error.detail, error.status) == (message, "id 5f0c", status)
    assert error.answer == KumaAnswer(status=status, message=message.upper(), details="id 5f0c")


async def test_unknown_words_go_to_the_detail_only():
    error = await closing(httpx.Response(406, json={"message": "something secret", "details": None}))

    assert isinstance(error, KumaRefusal)
    assert (error.summary, error.detail) == ("answered 406 Not Acceptable", "something secret")
    assert error.answer == KumaAnswer(status=406, message="something secret")


async def test_a_closing_that_finds_no_such_path_names_the_version():
    error = await closing(httpx.Response(404, text="404 page not found"))

    assert isinstance(error, KumaRefusal)
    assert "KUMA 4.x serves only v3 (kuma.api_version)" in error.summary


async def test_a_closing_without_rights_is_access_denied():
    assert type(await closing(httpx.Response(403, json={"message": "access denied"}))) is AccessDenied


@pytest.mark.parametrize(("status", "ambiguous"), [(500, True), (502, True), (504, True), (503, False), (429, False)])
async def test_a_closing_that_failed_may_be_tried_again_and_may_have_happened(status, ambiguous):
    error = await closing(httpx.Response(status, json={"message": "correlator API request failed"}))

    assert type(error) is Transient
    assert error.ambiguous is ambiguous


async def test_a_closing_is_sent_once_whatever_happens():
    router = respx.Router()
    route = router.route().mock(side_effect=httpx.ReadError("secret"))

    async with a_client(router) as client:
        with pytest.raises(Transient) as caught:
            await client.close("a", "responded")

    assert (caught.value.ambiguous, route.call_count) == (True, 1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            {"login": "sync", "tenants": [{"id": "1", "name": "Main", "role": "Tier 2 analyst"}]},
            Whoami(login="sync", roles=("Tier 2 analyst",), tenants=("Main",), tenant_ids=frozenset({"1"})),
        ),
        (
            {
                "name": "Sync",
                "login": "sync",
                "roles": [
                    {
                        "id": "1",
                        "name": "Tier 1",
                        "tenants": [{"id": "a", "name": "Main"}, {"id": "b", "name": "Север"}],
                    },
                    {"id": "2", "name": "Tier 2", "tenants": [{"name": "Main"}]},
                ],
            },
            Whoami(login="sync", roles=("Tier 1", "Tier 2"), tenants=("Main", "Север"), tenant_ids=frozenset("ab")),
        ),
        ({"name": "Sync", "roles": None, "tenants": ["x", {"name": 5}]}, Whoami(login="Sync")),
    ],
)
async def test_a_token_tells_who_it_is_in_either_form(answer, expected):
    router = respx.Router()
    route = router.get(f"{URL}/api/v2/users/whoami").mock(return_value=httpx.Response(200, json=answer))

    async with a_client(router, api_version="v2") as client:
        assert await client.whoami() == expected

    assert route.calls.last.request.headers["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize("answer", [httpx.Response(200, json=[]), HTML])
async def test_something_that_is_no_user_is_transient(answer):
    router = respx.Router()
    router.route().mock(return_value=answer)

    async with a_client(router) as client:
        with pytest.raises(Transient):
            await client.whoami()


async def test_reloading_the_token_tells_whether_it_changed(tmp_path: Path):
    (tmp_path / "token").write_text("one")

    async with a_client(respx.Router(), Secret(path=tmp_path / "token")) as client:
        unchanged = client.reload_token()
        (tmp_path / "token").write_text("two")
        changed = client.reload_token()

    assert (unchanged, changed) == (False, True)
