"""What goes out, and what an answer's status, headers and body mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import respx

from kuma_sync import __version__
from kuma_sync.core.errors import AccessDenied, Permanent, Redirected, Transient
from kuma_sync.settings.secret import Secret
from kuma_sync.transport import Answer, Endpoint, Outgoing, RemoteClient, TokenAuth, refusal

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "https://remote.test/base"
GET = Outgoing(method="GET", path="/x", query="withEvents&status=new", headers={"Authorization": "Bearer t"})
POST = Outgoing(method="POST", path="/x", headers={"Authorization": "Bearer t"}, body=b"{}")


@asynccontextmanager
async def a_client(router: respx.Router, **changes: object) -> AsyncIterator[RemoteClient]:
    endpoint = Endpoint(**{"remote": "irp", "url": URL, **changes})
    client = RemoteClient(endpoint, clock=lambda: NOW, transport=httpx.MockTransport(router.async_handler))
    try:
        yield client
    finally:
        await client.aclose()


async def answered(response: httpx.Response, request: Outgoing = GET, *, changes: bool = False) -> Answer:
    router = respx.Router()
    router.route().mock(return_value=response)
    async with a_client(router) as client:
        return await client.send(request, operation="op", changes=changes)


async def test_a_request_goes_out_exactly_as_it_was_made():
    router = respx.Router()
    route = router.route().mock(return_value=httpx.Response(204))

    async with a_client(router) as client:
        await client.send(GET, operation="op", changes=False)
        await client.send(POST, operation="op", changes=True)

    read, write = (call.request for call in route.calls)
    assert (read.method, read.url.raw_path) == ("GET", b"/base/x?withEvents&status=new")
    assert read.headers["User-Agent"] == f"kuma-sync/{__version__}"
    assert read.headers["Authorization"] == "Bearer t"
    assert "Connection" not in read.headers
    assert (write.method, write.url.raw_path, write.content) == ("POST", b"/base/x", b"{}")


async def test_a_request_of_its_own_mind_about_a_header_has_it_once_however_it_is_written():
    router = respx.Router()
    route = router.route().mock(return_value=httpx.Response(204))

    async with a_client(router) as client:
        request = Outgoing(method="GET", path="/x", headers={"accept": "text/plain", "USER-AGENT": "desk"})
        await client.send(request, operation="op", changes=False)

    headers = route.calls.last.request.headers
    assert (headers.get_list("Accept"), headers.get_list("User-Agent")) == (["text/plain"], ["desk"])


async def test_an_answer_is_handed_over_whole_whatever_its_status():
    headers = {"Date": "Fri, 02 Jan 2026 03:00:00 GMT", "X-Own": "1"}

    answer = await answered(httpx.Response(418, headers=headers, json={"a": "б"}))

    assert (answer.status, answer.json(), answer.headers["x-own"]) == (418, {"a": "б"}, "1")
    assert answer.date == datetime(2026, 1, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize("date", [None, "", "soon", "Fri, 99 Jan 2026 03:00:00 GMT"])
async def test_a_missing_or_malformed_date_is_none(date):
    answer = await answered(httpx.Response(200, headers={"Date": date} if date is not None else {}))

    assert answer.date is None


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("text/html; charset=utf-8", b"<html>", "answered text/html instead of JSON"),
        ("application/json", b"{", "answered broken JSON"),
        ("application/json", b"[" * 100_000, "answered broken JSON"),
        ("application/json", b"9" * 5_000, "answered broken JSON"),
        ("", b"\xff", "answered something unnamed instead of JSON"),
        ("<script>", b"", "answered something unnamed instead of JSON"),
    ],
)
@pytest.mark.parametrize("changes", [False, True])
async def test_an_answer_that_is_no_json_is_transient(content_type, body, words, changes):
    answer = await answered(httpx.Response(200, headers={"Content-Type": content_type}, content=body), changes=changes)

    with pytest.raises(Transient) as caught:
        answer.json()

    assert str(caught.value) == f"irp op: {words}"
    assert caught.value.ambiguous is changes


@pytest.mark.parametrize(
    ("status", "kind", "ambiguous"),
    [
        (400, Permanent, False),
        (401, AccessDenied, False),
        (403, AccessDenied, False),
        (404, Permanent, False),
        (408, Transient, False),
        (409, Permanent, False),
        (413, Permanent, False),
        (429, Transient, False),
        (500, Transient, True),
        (502, Transient, True),
        (503, Transient, False),
        (504, Transient, True),
        (599, Transient, True),
        (202, Permanent, False),
    ],
)
@pytest.mark.parametrize("changes", [False, True])
async def test_a_status_says_what_to_do(status, kind, ambiguous, changes):
    answer = await answered(httpx.Response(status), POST, changes=changes)

    error = refusal(answer)

    assert type(error) is kind
    assert error.status == status
    assert error.summary.startswith(f"answered {status}")
    assert getattr(error, "ambiguous", False) is (ambiguous and changes)


@pytest.mark.parametrize(
    ("status", "ambiguous"),
    [(300, False), (301, False), (302, True), (303, True), (304, False), (307, False), (308, False)],
)
async def test_a_redirect_stops_a_write_and_is_a_passing_failure_of_a_read(status, ambiguous):
    headers = {"Location": "https://user@login.example.com:8443/?next=/secret"}
    errors = [refusal(await answered(httpx.Response(status, headers=headers), changes=c)) for c in (True, False)]

    assert [type(error) for error in errors] == [Redirected, Transient]
    assert [error.ambiguous for error in errors] == [ambiguous, False]
    for error in errors:
        assert error.status == status
        assert error.summary.endswith(", which leads to https://login.example.com:8443"), "what comes behind may tell"


@pytest.mark.parametrize("location", ["/other", "", "http://[::1", "?x", None])
async def test_a_redirect_that_names_no_host_is_told_without_one(location):
    headers = {} if location is None else {"Location": location}

    error = refusal(await answered(httpx.Response(308, headers=headers), changes=True))

    assert error.summary == "answered 308 Permanent Redirect"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"message":"alert  not\\nfound","details":null}', "alert not found"),
        (b'{"error":"bad"}', "bad"),
        (b'{"error":{"code":1,"message":"inner"}}', "inner"),
        (b'{"message":5,"detail":"third"}', "third"),
        (b'{"message":"' + b"x" * 1000 + b'"}', "x" * 300),
        (b"<html>secret</html>", ""),
        (b"[1]", ""),
        (b"", ""),
    ],
)
async def test_what_the_answer_says_is_in_detail_and_never_in_the_summary(body, detail):
    error = refusal(await answered(httpx.Response(404, content=body)))

    assert error.detail == detail
    assert str(error) == "irp op: answered 404 Not Found"


@pytest.mark.parametrize(
    ("kind", "body", "detail"),
    [
        ("text/plain; charset=utf-8", "level: нет\r\n такого значения", "level: нет такого значения"),
        ("text/plain", "x" * 5000, "x" * 300),
        ("text/plain", '{"error":"in words"}', "in words"),
        ("text/plain", "<html>secret</html>", ""),
        ("application/octet-stream", "no words", ""),
    ],
)
async def test_a_refusal_in_plain_text_is_told_in_its_own_words(kind, body, detail):
    answer = await answered(httpx.Response(400, content=body.encode(), headers={"Content-Type": kind}))

    assert refusal(answer).detail == detail


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "7"}, timedelta(seconds=7)),
        ({"Retry-After": " 0 "}, timedelta()),
        ({"Retry-After": "9" * 5000}, timedelta(seconds=10**8)),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "later"}, None),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:35 GMT"}, timedelta(seconds=30)),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:00 GMT"}, timedelta()),
        (
            {"Retry-After": "Fri, 02 Jan 2026 05:00:30 GMT", "Date": "Fri, 02 Jan 2026 05:00:00 GMT"},
            timedelta(seconds=30),
        ),
    ],
)
async def test_retry_after_is_read_as_seconds_or_a_date(headers, wait):
    error = refusal(await answered(httpx.Response(429, headers=headers)))

    assert isinstance(error, Transient)
    assert error.retry_after == wait


def redirects(*locations: str, status: int = 307) -> tuple[respx.Router, respx.Route]:
    router = respx.Router()
    responses = [httpx.Response(status, headers={"Location": location}) for location in locations]
    return router, router.route().mock(side_effect=[*responses, httpx.Response(200, json=[])])


async def test_a_read_follows_a_redirect_on_the_same_host_with_its_token():
    router, route = redirects("/base/x/?withEvents", "https://remote.test/base/z")

    async with a_client(router) as client:
        answer = await client.send(GET, operation="op", changes=False)

    assert answer.status == 200
    assert [call.request.url.raw_path for call in route.calls][1:] == [b"/base/x/?withEvents", b"/base/z"]
    assert route.calls.last.request.headers["Authorization"] == "Bearer t"


@pytest.mark.parametrize(
    "target", ["https://other.test/x", "http://remote.test/x", "https://remote.test:444/x", "http://[::1"]
)
async def test_a_read_never_follows_a_redirect_elsewhere(target):
    router, route = redirects(target)

    async with a_client(router) as client:
        error = refusal(await client.send(GET, operation="op", changes=False))

    assert route.call_count == 1
    assert (type(error), error.status, error.detail) == (Transient, 307, f"redirects to {target}")


async def test_a_read_follows_three_redirects_at_most():
    router, route = redirects("/1", "/2", "/3", "/4")

    async with a_client(router) as client:
        answer = await client.send(GET, operation="op", changes=False)

    assert (answer.status, route.call_count) == (307, 4)


@pytest.mark.parametrize("request_", [POST, GET])
@pytest.mark.parametrize("target", ["/base/x/", "http://[::1", "https://a]b/", "x" * 70_000])
async def test_a_write_never_follows_a_redirect(request_, target):
    router, route = redirects(target)

    async with a_client(router) as client:
        error = refusal(await client.send(request_, operation="op", changes=True))

    assert route.call_count == 1
    assert (type(error), error.status) == (Redirected, 307)
    assert error.detail == f"redirects to {target}"[:300]


async def test_a_cookie_is_not_kept():
    router = respx.Router()
    route = router.route().mock(return_value=httpx.Response(200, headers={"Set-Cookie": "session=1; Path=/"}))

    async with a_client(router) as client:
        for _ in range(2):
            await client.send(GET, operation="op", changes=False)

    assert [call.request.headers.get("Cookie") for call in route.calls] == [None, None]


async def test_a_read_that_is_redirected_takes_its_new_token_along(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("old")
    auth = TokenAuth(Secret(path=file))
    asked = []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, request.headers["Authorization"]))
        if request.url.path == "/base/x":
            return httpx.Response(307, headers={"Location": "/base/y"})
        file.write_text("new")
        return httpx.Response(200 if request.headers["Authorization"] == "Bearer new" else 401)

    client = RemoteClient(Endpoint(remote="irp", url=URL), clock=lambda: NOW, transport=httpx.MockTransport(answers))
    answer = await client.send(replace(GET, headers={}), operation="op", changes=False, auth=auth)

    assert answer.status == 200
    assert asked == [("/base/x", "Bearer old"), ("/base/y", "Bearer old"), ("/base/y", "Bearer new")]


class NeverRead(httpx.AsyncByteStream):
    """A body that must not be read."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    async def aclose(self) -> None:
        self.closed = True


async def test_what_refuses_the_old_token_is_closed_unread_however_large_it_is(tmp_path: Path):
    file, body = tmp_path / "token", NeverRead()
    file.write_text("old")
    auth = TokenAuth(Secret(path=file))

    def answers(request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] == "Bearer new":
            return httpx.Response(200)
        file.write_text("new")
        return httpx.Response(401, stream=body, headers={"Content-Encoding": "gzip"})

    client = RemoteClient(Endpoint(remote="irp", url=URL), clock=lambda: NOW, transport=httpx.MockTransport(answers))
    answer = await client.send(POST, operation="op", changes=True, auth=auth)

    assert (answer.status, body.closed) == (200, True)


async def test_an_error_of_our_own_after_the_answer_does_not_count_as_never_sent():
    def answers(_request: httpx.Request) -> httpx.Response:
        raise ValueError("a bug")

    client = RemoteClient(Endpoint(remote="irp", url=URL), clock=lambda: NOW, transport=httpx.MockTransport(answers))
    with pytest.raises(ValueError, match="a bug"):
        await client.send(POST, operation="op", changes=True)


@pytest.mark.parametrize("token", ["a\nb", "токен", "a\x00"])
async def test_a_token_that_no_header_can_carry_is_denied_before_anything_is_sent(token):
    router = respx.Router()
    route = router.route().mock(return_value=httpx.Response(200))

    async with a_client(router) as client:
        with pytest.raises(AccessDenied) as caught:
            await client.send(POST, operation="op", changes=True, auth=TokenAuth(Secret(token)))

    assert str(caught.value) == "irp op: the token holds what no HTTP header can carry"
    assert route.call_count == 0


async def test_requests_wait_for_a_free_connection_and_that_is_no_time_out():
    running, most = 0, 0

    async def handler(request: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        return httpx.Response(204)

    endpoint = Endpoint(remote="irp", url=URL, connections=6, deadline=2)
    client = RemoteClient(endpoint, clock=lambda: NOW, transport=httpx.MockTransport(handler))
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(client.send(POST, operation="op", changes=True) for _ in range(150)))
    took = asyncio.get_running_loop().time() - began

    assert most == 6
    assert took > 2, "the last ones are to wait for longer than an answer may take"
    assert {answer.status for answer in answers} == {204}
