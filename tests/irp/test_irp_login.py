"""A login: one for all who wait, once more after a 401, never in a loop, and nothing of it told to anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sessions import APP_KEY, PASSWORD, TOKEN, SessionIrp, create, known, login_profile
from starlette.responses import JSONResponse, Response

from kuma_sync.core.errors import AccessDenied, ConfigError, RemoteError, Transient
from kuma_sync.irp.auth import Credentials, require
from kuma_sync.irp.client import IrpClient
from kuma_sync.settings.secret import Secret
from kuma_sync.telemetry import redact


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def failing(asked: Awaitable[object]) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        await asked
    return caught.value


async def ended(client: IrpClient, count: int) -> list[object]:
    return await asyncio.gather(*(create(client) for _ in range(count)), return_exceptions=True)


@pytest.mark.parametrize("by_cookie", [False, True])
async def test_one_login_serves_all_requests_that_wait_for_it(*, by_cookie: bool) -> None:
    irp = SessionIrp(by_cookie=by_cookie)

    async with irp.client(connections=10) as client:
        made = await ended(client, 20)

    assert sorted(map(str, made), key=int) == [str(number) for number in range(1, 21)]
    assert (irp.asked, irp.refused) == (1, 0)


@pytest.mark.parametrize("by_cookie", [False, True])
async def test_a_session_that_ended_is_renewed_once_for_all_who_meet_it(*, by_cookie: bool) -> None:
    irp = SessionIrp(by_cookie=by_cookie)

    async with irp.client(connections=20) as client:
        await create(client)
        irp.end_session()
        irp.waits.clear()
        asked = asyncio.gather(*(create(client) for _ in range(20)))
        await until(lambda: irp.refused == 20)
        irp.waits.set()
        await asked

    assert (irp.logins, irp.made, irp.refused) == (2, 21, 20)


async def test_a_login_needs_no_place_where_all_are_taken_by_those_who_wait_for_it() -> None:
    irp = SessionIrp()

    async with irp.client(connections=2) as client:
        await create(client)
        irp.end_session()
        async with asyncio.timeout(10):
            await ended(client, 8)

    assert (irp.logins, irp.made) == (2, 9)


async def test_whoever_is_refused_with_a_session_just_opened_logs_in_no_more() -> None:
    irp = SessionIrp(takes_none=True)

    async with irp.client() as client:
        first = await failing(create(client))
        second = await failing(create(client))

    assert isinstance(first, AccessDenied)
    assert isinstance(second, AccessDenied)
    assert (irp.asked, irp.refused) == (2, 3), "the second one knew a session, and renewed it once"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
async def test_a_refused_login_is_denied_access_and_no_request_goes_out(status: int) -> None:
    irp = SessionIrp(answers=[JSONResponse({"message": PASSWORD}, status)])

    async with irp.client() as client:
        error = await failing(create(client))

    assert isinstance(error, AccessDenied)
    assert (error.operation, error.status, error.detail) == ("login", status, "")
    assert str(error).startswith(f"irp login: the login answered {status}")
    assert (irp.asked, irp.refused, irp.made) == (1, 0, 0)


async def test_a_login_whose_address_is_wrong_says_so() -> None:
    async with SessionIrp().client(profile=login_profile(('"/login"', '"/logon"'))) as client:
        error = await failing(create(client))

    assert "/logon: is the profile's path right?" in str(error)


async def test_a_refused_login_is_not_tried_again_by_each_who_waited_nor_by_the_probe() -> None:
    irp = SessionIrp(password="another")

    async with irp.client() as client:
        answers = await ended(client, 20)
        answers.append(await failing(client.probe()))

    assert {type(one) for one in answers} == {AccessDenied}
    assert irp.asked == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_login_that_the_irp_cannot_answer_now_is_tried_again_later(status: int) -> None:
    irp = SessionIrp(answers=[Response(status_code=status, headers={"Retry-After": "7"})])

    async with irp.client() as client:
        error = await failing(create(client))
        made = await create(client)

    assert isinstance(error, Transient)
    assert error.ambiguous is False, "the create never went out"
    assert error.retry_after is not None
    assert made == "1"


async def test_a_login_that_times_out_leaves_no_create_in_doubt() -> None:
    irp = SessionIrp()
    async with irp.client(deadline=0.3) as client:
        await create(client)
        irp.end_session()
        irp.waits.clear()
        errors = await ended(client, 3)
        irp.waits.set()

    assert {(type(one), getattr(one, "ambiguous", None)) for one in errors} == {(Transient, False)}
    assert irp.made == 1


async def test_the_time_of_a_login_is_not_that_of_the_request_which_waits_for_it() -> None:
    irp = SessionIrp(takes=0.8)
    irp.waits.clear()
    async with irp.client(deadline=1.5) as client:
        both = [asyncio.create_task(create(client)) for _ in range(2)]
        await until(lambda: irp.asked == 1)
        asyncio.get_running_loop().call_later(1.0, irp.waits.set)
        made = await asyncio.gather(*both)

    assert sorted(made) == ["1", "2"]


async def test_a_session_is_renewed_before_the_time_that_the_login_told_is_over() -> None:
    irp = SessionIrp(expires="0.01")

    async with irp.client() as client:
        await create(client)
        await asyncio.sleep(0.02)  # the session's own time: there is no condition to wait for
        await create(client)

    assert (irp.logins, irp.refused) == (2, 0)


@pytest.mark.parametrize(
    "refusal",
    [
        Response("<html>Sign in</html>", media_type="text/html"),
        Response(status_code=302, headers={"Location": "/login"}),
        Response(status_code=403),
    ],
    ids=["a page", "a redirect", "403"],
)
async def test_a_session_whose_end_is_told_without_401_is_renewed_by_the_next_request(refusal: Response) -> None:
    irp = SessionIrp(refusal=refusal)

    async with irp.client() as client:
        await create(client)
        irp.end_session()
        error = await failing(create(client))
        made = await create(client)

    assert getattr(error, "ambiguous", False) is (refusal.status_code != 403), "a write is not sent again"
    assert (made, irp.logins) == ("2", 2)


async def test_a_session_that_never_worked_is_not_renewed_again_and_again() -> None:
    irp = SessionIrp(takes_none=True, refusal=Response(status_code=403))

    async with irp.client() as client:
        await ended(client, 20)
        await failing(client.probe())

    assert (irp.logins, irp.refused) == (1, 21)


@pytest.mark.parametrize("token", ["canary\nline", "canary-\u00e9"])
async def test_a_token_that_no_header_can_carry_is_a_refused_login(token: str) -> None:
    irp = SessionIrp(answers=[JSONResponse({"data": {"token": token}}) for _ in range(9)])

    async with irp.client() as client:
        answers = await ended(client, 5)

    assert {str(one) for one in answers} == {"irp login: the login answered with what no HTTP header can carry"}
    assert irp.asked == 1


@pytest.mark.parametrize("told", ["9" * 400, int("9" * 400), "soon", "nan", -1, [], 0])
async def test_a_time_that_is_none_lets_a_session_last_until_it_is_refused(told: object) -> None:
    irp = SessionIrp(expires=told)

    async with irp.client() as client:
        await create(client)
        await create(client)

    assert irp.logins == 1


async def test_a_login_without_a_token_or_a_cookie_is_refused() -> None:
    for by_cookie, answer in ((False, JSONResponse({"data": {}})), (True, Response(status_code=302))):
        irp = SessionIrp(by_cookie=by_cookie, answers=[answer])
        async with irp.client() as client:
            error = await failing(create(client))

        assert isinstance(error, AccessDenied)
        assert str(error).endswith("without a cookie" if by_cookie else "without the token")


async def test_a_page_for_people_is_no_login() -> None:
    irp = SessionIrp(answers=[Response("<html>Sign in</html>", headers={"Set-Cookie": "sid=12345678"})])

    async with irp.client() as client:
        error = await failing(create(client))

    assert isinstance(error, AccessDenied)


async def test_a_token_may_come_in_a_header() -> None:
    changes = (
        ('token = "data.token"', 'token = { header = "X-Auth", pattern = "^Token (.+)$" }'),
        ('prefix = "Session "', 'prefix = "Session "\nheader = "X-Session"'),
    )
    answer = Response(status_code=204, headers={"X-Auth": "Token one-two-three"})
    irp = SessionIrp(answers=[answer])
    async with irp.client(profile=login_profile(*changes)) as client:
        await failing(create(client))

    assert [headers.get("x-session") for headers in irp.shown] == ["Session one-two-three"]


async def test_a_new_password_in_its_file_is_used_by_the_next_login(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("canary-old-password")
    irp = SessionIrp()

    async with irp.client(credentials=known(Secret(path=file))) as client:
        await failing(create(client))
        file.write_text(PASSWORD)
        await asyncio.sleep(1.1)  # a refused login is not repeated within a second
        made = await create(client)

    assert made == "1"


async def test_nothing_of_a_login_is_told_to_anybody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    irp = SessionIrp()

    async with irp.client() as client:
        await create(client)
        draft = repr(client.draft("create", {}))
        irp.takes_none = True
        refused = await failing(create(client))
        irp.password = "another"
        irp.end_session()
        denied = await failing(create(client))

    told = "\n".join([draft, *(f"{one!r} {one} {one.detail}" for one in (refused, denied))])
    assert "canary" not in told
    assert refused.detail == "who is Session **********?"
    logged = [redact.masked(record.getMessage()) for record in caplog.records]
    assert [line for line in logged if PASSWORD in line or APP_KEY in line or TOKEN in line] == []
    assert irp.login_headers[0]["x-app"] == APP_KEY


async def test_sessions_that_are_long_over_are_masked_no_more() -> None:
    irp = SessionIrp()
    async with irp.client() as client:
        for _ in range(12):
            irp.end_session()
            await create(client)

    assert redact.masked(f"{TOKEN}12") == "**********"
    assert redact.masked(f"{TOKEN}1 ").startswith(TOKEN)


def test_a_login_needs_what_its_templates_use() -> None:
    none = Credentials(token=Secret(), password=Secret())

    with pytest.raises(ConfigError) as caught:
        require(login_profile(), none, "targets.north")

    assert caught.value.lines == [
        'targets.north.password: is empty, but the profile\'s [auth] kind = "login" needs it',
        'targets.north.username: is empty, but the profile\'s [auth] kind = "login" needs it',
        "targets.north.secrets.app_key: is missing, but the profile's [auth.login] uses it",
    ]
