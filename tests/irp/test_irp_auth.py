"""The ways to show a secret: in a header behind a prefix, in the address, as username and password, by name."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest
from irp_desk import Irp, client, small_profile, token
from structlog.testing import capture_logs

from kuma_sync.core.errors import AccessDenied, ConfigError, Permanent, RemoteError
from kuma_sync.irp.auth import Credentials, require, shown
from kuma_sync.irp.load import parse_profile
from kuma_sync.irp.profile import Profile
from kuma_sync.settings.secret import MASK, Secret
from kuma_sync.telemetry import redact

MADE = (201, {"id": "1"})


def with_auth(auth: str, create: str = "") -> Profile:
    return small_profile(maps=f"[auth]\n{auth}", create=create)


def login(username: str = "sync", password: str = "canary:pass wörd", **named: str) -> Credentials:
    secrets = {name: Secret(text) for name, text in named.items()}
    return Credentials(token=Secret("canary tok+n&"), username=username, password=Secret(password), named=secrets)


async def sent(profile: Profile, credentials: Credentials) -> httpx.Request:
    """Return the request for an incident as it went out."""
    irp = Irp(MADE)
    async with client(irp, profile=profile, secrets=credentials) as irp_client:
        await irp_client.create(irp_client.draft("create", {}))
    return irp.requests[0]


@pytest.mark.parametrize(("prefix", "value"), [("token ", "token 1-14-ab"), ("ApiKey ", "ApiKey 1-14-ab")])
async def test_a_token_goes_into_a_header_behind_its_prefix(prefix: str, value: str) -> None:
    request = await sent(with_auth(f'kind = "header"\nname = "X-Auth"\nprefix = "{prefix}"'), token("1-14-ab"))

    assert request.headers["X-Auth"] == value
    assert "Authorization" not in request.headers


async def test_a_token_of_two_words_goes_into_a_header() -> None:
    request = await sent(with_auth('kind = "header"\nname = "Authorization"'), token("ApiKey abc"))

    assert request.headers["Authorization"] == "ApiKey abc"


async def test_a_token_goes_into_the_address_beside_the_operations_own_parameters() -> None:
    profile = with_auth('kind = "query"\nname = "api key"', 'query = { mode = "a b" }')

    request = await sent(profile, login())

    assert request.url.query == b"mode=a%20b&api%20key=canary%20tok%2Bn%26"
    assert "Authorization" not in request.headers


async def test_username_and_password_go_as_http_itself_has_it() -> None:
    request = await sent(with_auth('kind = "basic"'), login())

    kind, _, value = request.headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(value).decode()) == ("Basic", "sync:canary:pass wörd")


async def test_secrets_by_name_go_into_headers_and_the_query() -> None:
    create = 'headers = { X-App = "key={{ secrets.app_key }}" }\nquery = { team = "{{ secrets.team }}" }'

    request = await sent(with_auth('kind = "none"', create), login(app_key="canary-1", team="canary/2"))

    assert request.headers["X-App"] == "key=canary-1"
    assert request.url.query == b"team=canary%2F2"


@pytest.mark.parametrize("auth", ['kind = "query"\nname = "k"', 'kind = "basic"', 'kind = "header"\nname = "X-K"'])
async def test_a_new_secret_in_the_file_is_used_for_the_same_request(tmp_path: Path, auth: str) -> None:
    file = tmp_path / "secret"
    file.write_text("old-canary")
    credentials = Credentials(token=Secret(path=file), username="sync", password=Secret(path=file))
    tried = []

    def answer(request: httpx.Request) -> httpx.Response:
        tried.append(f"{request.url} {request.headers.multi_items()}")
        file.write_text("new-canary")
        return httpx.Response(401 if len(tried) == 1 else 201, json={"id": "1"})

    async with client(answer, profile=with_auth(auth), secrets=credentials) as irp_client:  # type: ignore[arg-type]  # a function does
        await irp_client.create(irp_client.draft("create", {}))

    first, second = tried
    assert first != second
    assert "old-canary" not in second
    assert second.count("k=") <= 1


async def test_a_token_in_the_address_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    profile = with_auth('kind = "query"\nname = "key"')
    redirect = httpx.Response(302, headers={"Location": "https://sv.example.com/login?key=canary%20tok%2Bn%26"})
    echo = httpx.Response(401, json={"message": "no such path: /incidents?key=canary%20tok%2Bn%26"})
    redact.hide("canary tok+n&")
    errors: list[RemoteError] = []

    with capture_logs() as logs:
        for answer in (redirect, echo):
            async with client(Irp(answer), profile=profile, secrets=login()) as irp_client:
                with pytest.raises(RemoteError) as caught:
                    await irp_client.create(irp_client.draft("create", {}))
                errors.append(caught.value)

    told = "\n".join(f"{error} {error!r} {error.detail}" for error in errors)
    assert "canary" not in told + repr(logs) + "".join(redact.masked(line) for line in caplog.messages)
    assert MASK in errors[1].detail


async def test_a_password_that_comes_back_as_basic_is_masked() -> None:
    profile = with_auth('kind = "basic"')

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, json={"message": f"{request.headers['Authorization']} may not"})

    async with client(answer, profile=profile, secrets=login()) as irp_client:  # type: ignore[arg-type]  # a function does
        with pytest.raises(AccessDenied) as caught:
            await irp_client.create(irp_client.draft("create", {}))

    assert caught.value.detail == f"Basic {MASK} may not"


async def test_a_template_that_fails_on_a_secret_does_not_quote_it() -> None:
    redact.hide("canary-date")
    profile = with_auth('kind = "none"', "headers = { X-Day = '{{ secrets.day | date(\"%d\") }}' }")

    async with client(Irp(MADE), profile=profile, secrets=login(day="canary-date")) as irp_client:
        with pytest.raises(Permanent) as caught:
            irp_client.draft("create", {})

    assert "canary" not in f"{caught.value} {caught.value.detail}"


@pytest.mark.parametrize(
    ("auth", "credentials", "sentences"),
    [
        ('kind = "bearer"', login(), ["irp.token: expected no space in it: it is sent behind the word Bearer"]),
        (
            'kind = "basic"',
            login("", ""),
            [
                'irp.password: is empty, but the profile\'s [auth] kind = "basic" needs it',
                'irp.username: is empty, but the profile\'s [auth] kind = "basic" needs it',
            ],
        ),
        ('kind = "basic"', login("a:b"), ["irp.username: must hold no colon: HTTP ends a username with it"]),
        (
            'kind = "query"\nname = "k"',
            Credentials(token=Secret(), password=Secret()),
            ['irp.token: is empty, but the profile\'s [auth] kind = "query" needs it'],
        ),
    ],
)
def test_a_secret_that_the_profile_needs_and_nobody_gave_is_named(
    auth: str, credentials: Credentials, sentences: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        require(with_auth(auth), credentials)

    assert caught.value.lines == sentences


def test_a_secret_by_name_that_nobody_gave_is_named() -> None:
    profile = with_auth('kind = "none"', 'headers = { X-App = "{{ secrets.app_key }}" }')

    with pytest.raises(ConfigError) as caught:
        require(profile, login())

    assert caught.value.lines == ["irp.secrets.app_key: is missing, but the profile's [create] uses it"]


def test_what_is_shown_of_a_request_has_no_secret() -> None:
    kinds = {
        'kind = "none"': ({}, ""),
        'kind = "bearer"': ({"Authorization": f"Bearer {MASK}"}, ""),
        'kind = "header"\nname = "X-K"\nprefix = "ApiKey "': ({"X-K": f"ApiKey {MASK}"}, ""),
        'kind = "basic"': ({"Authorization": f"Basic {MASK}"}, ""),
        'kind = "query"\nname = "key"': ({}, f"key={MASK}"),
    }

    for auth, (headers, query) in kinds.items():
        told = shown(with_auth(auth).auth)
        assert (dict(told.headers), told.query) == (headers, query)


WRONG = [
    ('kind = "query"', 'auth: kind = "query" needs name, that of the parameter'),
    ('kind = "bearer"\nname = "x"', 'auth: name belongs to kind = "header" or "query", and only there'),
    ('kind = "basic"\nprefix = "x"', 'auth: prefix belongs to kind = "header" or "login", and only there'),
    ('kind = "bearer"\ncookie = true', 'auth: cookie belongs to kind = "login", and only there'),
    ('kind = "header"\nname = "x y"', "auth: name is no name of a header"),
    ('kind = "header"\nname = "Host"', "auth: name is a header that says how a request is cut"),
    ('kind = "header"\nname = "X"\nprefix = "Ключ "', "auth: prefix may hold printable ASCII only"),
    ('kind = "login"\n[auth.login]\nmethod = "POST"\npath = "/l"', "auth: a login must give something"),
    (
        'kind = "login"\ncookie = true\nheader = "X"\n[auth.login]\nmethod = "POST"\npath = "/l"',
        "auth: with cookie = true the cookies count",
    ),
    ('kind = "login"\n[auth.login]\npath = "/l"', "auth.login.method is missing"),
    (
        'kind = "login"\n[auth.login]\nmethod = "POST"\npaht = "/l"',
        'auth.login.paht is not known; did you mean "path"?',
    ),
]


@pytest.mark.parametrize(("auth", "sentence"), WRONG)
def test_an_auth_that_cannot_work_earns_a_sentence(auth: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_profile(f'[profile]\nname = "x"\n[create]\nmethod = "POST"\npath = "/x"\n[auth]\n{auth}', source="x.toml")

    assert caught.value.line.startswith(f"irp.profile: x.toml: {sentence}")
