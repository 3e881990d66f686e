"""The table "your IRP does X, write Y" of docs/profiles.md: one test a row, named by its row."""

from __future__ import annotations

import json
import re
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from builders import seen
from irp_desk import Irp, client, small_profile, token, values_of
from sessions import SessionIrp, create

from kuma_sync.core.errors import ConfigError, Permanent, RemoteError, Transient
from kuma_sync.core.incident import Incident
from kuma_sync.core.steps import Compare, update_of
from kuma_sync.irp.auth import Credentials
from kuma_sync.irp.errors import Duplicate, Missing
from kuma_sync.irp.load import parse_profile
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.validate import check_profile, compile_profile
from kuma_sync.settings.secret import Secret

PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"
ALERT = values_of(seen(events=[{"ID": "e1", "Name": "log on"}, {"ID": "e2", "Name": "log off"}]))
MADE = (201, {"id": "1"})
FIND = """
[find]
method = "GET"
path = "/incidents"
{more}
[find.extract]
items = "items"
id = "id"
key = {key}
"""
UPDATE = """
[update]
method = "PUT"
path = "/incidents/{{{{ incident.id }}}}"
{more}
[update.body]
title = "y"
"""


def find(key: str = '"key"', more: str = "") -> str:
    return FIND.format(key=key, more=more)


def update(more: str) -> str:
    return UPDATE.format(more=more)


def bare(extract: str, create: str = "") -> Profile:
    """Return a profile with a create that has no body but its own."""
    text = f'[profile]\nname = "small"\n[create]\nmethod = "POST"\npath = "/x"\n{create}\n[create.extract]\n{extract}'
    return parse_profile(text, source="small.toml")


async def sent(profile: Profile, secrets: Credentials | None = None, answer: Any = MADE) -> httpx.Request:
    """Return the create's request as it went out."""
    irp = Irp(answer)
    async with client(irp, profile=profile, secrets=secrets) as irp_client:
        await irp_client.create(irp_client.draft("create", ALERT))
    return irp.requests[0]


async def made(profile: Profile, answer: Any) -> Incident:
    async with client(Irp(answer), profile=profile) as irp_client:
        return await irp_client.create(irp_client.draft("create", ALERT))


async def failure(profile: Profile, answer: Any, operation: str = "create") -> RemoteError | None:
    """Return how a write ends."""
    async with client(Irp(answer), profile=profile) as irp_client:
        draft = irp_client.draft(operation, ALERT)
        try:
            await (irp_client.create(draft) if operation == "create" else irp_client.write(draft))
        except RemoteError as error:
            return error
    return None


def wrong(profile: Profile) -> str:
    with pytest.raises(ConfigError) as caught:
        check_profile(profile, options={})
    return str(caught.value).partition("small.toml: ")[2]


def parts_of(request: httpx.Request) -> list[tuple[str, str, str, str]]:
    """Return name, file name, type and content of each part of a form."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    found = []
    for part in BytesParser().parsebytes(head + request.content).get_payload():
        place: Any = part
        content = place.get_payload(decode=True).decode()
        name = place.get_param("name", header="Content-Disposition")
        told = place["Content-Type"] or ""
        found.append((str(name), str(place.get_filename() or ""), told, content))
    return found


# How we prove who asks


async def test_a_token_in_a_header_of_its_own_with_a_word_before_it() -> None:
    profile = small_profile(maps='[auth]\nkind = "header"\nname = "X-Key"\nprefix = "ApiKey "')

    assert (await sent(profile, token("abc"))).headers["X-Key"] == "ApiKey abc"


async def test_a_token_in_the_address() -> None:
    profile = small_profile(maps='[auth]\nkind = "query"\nname = "apikey"')

    assert (await sent(profile, token("abc"))).url.query == b"apikey=abc"


async def test_a_username_and_a_password_with_every_request() -> None:
    profile = small_profile(maps='[auth]\nkind = "basic"')
    secrets = Credentials(token=Secret(), username="sync", password=Secret("pw"))

    assert (await sent(profile, secrets)).headers["Authorization"] == "Basic c3luYzpwdw=="


async def test_a_second_key_beside_the_token() -> None:
    profile = small_profile(create='headers = { X-App = "{{ secrets.app_key }}" }')
    secrets = Credentials(token=Secret("t"), password=Secret(), named={"app_key": Secret("k-1")})

    headers = (await sent(profile, secrets)).headers

    assert (headers["X-App"], headers["Authorization"]) == ("k-1", "Bearer t")


@pytest.mark.parametrize("by_cookie", [False, True], ids=["token", "cookie"])
async def test_a_login_that_gives_a_token_or_a_cookie(*, by_cookie: bool) -> None:
    irp = SessionIrp(by_cookie=by_cookie)

    async with irp.client() as irp_client:
        await create(irp_client)
        irp.end_session()
        await create(irp_client)

    assert (irp.made, irp.logins) == (2, 2)


# How a request is written


async def test_a_form_instead_of_json() -> None:
    body = 'title = "{{ alert.name }} & more"\ntag = ["{{ alert.priority }}", "kuma"]\nopen = true\nnone = "{{ none }}"'
    request = await sent(small_profile(body, create='encoding = "form"'))

    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    name = ALERT["alert"]["name"]  # type: ignore[index]  # a table
    priority = ALERT["alert"]["priority"]  # type: ignore[index]  # a table
    told = [("title", f"{name} & more"), ("tag", priority), ("tag", "kuma"), ("open", "true")]
    assert parse_qsl(request.content.decode()) == told


async def test_events_as_a_file_of_a_form() -> None:
    body = (
        'title = "Алерт"\ntag = ["a", "b"]\n'
        'events = { file = "events.json", content = "{{ events | json }}", type = "application/json" }'
    )
    request = await sent(small_profile(body, create='encoding = "multipart"'))

    *fields, (name, file, kind, content) = parts_of(request)
    assert fields == [("title", "", "", "Алерт"), ("tag", "", "", "a"), ("tag", "", "", "b")]
    assert (name, file, kind) == ("events", "events.json", "application/json")
    assert [event["ID"] for event in json.loads(content)] == ["e1", "e2"]


async def test_one_text_such_as_xml() -> None:
    create = 'encoding = "text"\nheaders = { Content-Type = "application/xml" }\nbody = "<a>{{ alert.priority }}</a>"'
    profile = bare('id = "id"', create)

    request = await sent(profile)

    assert request.headers.get_list("Content-Type") == ["application/xml"]
    assert request.content.decode() == f"<a>{ALERT['alert']['priority']}</a>"  # type: ignore[index]  # a table


@pytest.mark.parametrize("encoding", ["form", "multipart"])
async def test_a_nested_table_in_a_form_is_refused_at_start(encoding: str) -> None:
    told = wrong(small_profile('a = { b = "x" }', create=f'encoding = "{encoding}"'))

    assert told.startswith(f'create.body.a is nested, which encoding = "{encoding}" cannot carry')
    told = wrong(small_profile('a = "{{ events }}"', create=f'encoding = "{encoding}"'))
    assert told.startswith("create.body.a fails on the sample alert: is nested")


# What an answer says


async def test_the_id_in_the_address_of_what_was_made() -> None:
    where = 'id = { header = "Location", pattern = "/incidents/([^/]+)$" }'
    profile = bare(where)
    answer = httpx.Response(201, headers={"location": "https://irp.example.com/api/incidents/INC-7"})

    assert await made(profile, answer) == Incident(id="INC-7")
    error = await failure(profile, httpx.Response(201, headers={"Location": "/elsewhere"}))
    assert isinstance(error, Transient)
    assert (error.ambiguous, error.unidentified) == (True, True)


async def test_our_key_inside_a_longer_text() -> None:
    place = r"""{ path = "description", pattern = 'KUMA key: (\S+)' }"""
    key = "kuma:kuma:1"
    rows = [{"id": "7", "description": f"seen today\nKUMA key: {key} \nmore"}, {"id": "8", "description": key}]
    async with client(Irp((200, {"items": rows})), profile=small_profile(more=find(place))) as irp_client:
        found = await irp_client.find(key)

    assert [one.incident.id for one in found] == ["7"]


async def test_success_false_with_status_200() -> None:
    profile = small_profile(create='ok_when = "success"')

    error = await failure(profile, (200, {"success": False, "id": "1"}))

    assert type(error) is Permanent


async def test_it_exists_already_said_with_a_status_of_many_meanings() -> None:
    profile = small_profile(
        create="duplicate_when = { status = 400, when = \"contains(error, 'already exists')\" }", more=find()
    )

    assert isinstance(await failure(profile, (400, {"error": "INC-1 already exists"})), Duplicate)
    assert type(await failure(profile, (400, {"error": "no title"}))) is Permanent
    assert type(await failure(profile, (400, None))) is Permanent


async def test_it_exists_already_said_with_success() -> None:
    profile = small_profile(create="duplicate_when = { status = 200, when = \"code == 'EXISTS'\" }")

    assert isinstance(await failure(profile, (200, {"code": "EXISTS"})), Duplicate)


async def test_the_incident_is_gone_said_with_another_status_than_404() -> None:
    profile = small_profile(more=update("missing_when = \"code == 'NOT_FOUND'\""))

    error = await failure(profile, (200, {"code": "NOT_FOUND"}), "update")

    assert isinstance(error, Missing)
    assert error.status == 200, "404 would look like a wrong address"
    assert await failure(profile, (200, {"code": "OK"}), "update") is None


@pytest.mark.parametrize("status", [200, 400, 403])
async def test_it_is_busy_said_with_another_status_than_503(status: int) -> None:
    profile = small_profile(create="retry_when = \"code == 'BUSY'\"")
    answer = httpx.Response(status, json={"code": "BUSY"}, headers={"Retry-After": "9"})

    error = await failure(profile, answer)

    assert isinstance(error, Transient)
    assert (error.ambiguous, error.status) == (False, status)
    assert error.retry_after is not None


@pytest.mark.parametrize("answer", [(500, {"code": "BUSY"}), (201, {"code": "BUSY", "id": "5"})])
async def test_a_create_that_may_have_happened_stays_in_doubt_whatever_it_is_called(answer: Any) -> None:
    profile = small_profile(create="retry_when = \"code == 'BUSY'\"")

    error = await failure(profile, answer)

    assert isinstance(error, Transient)
    assert error.ambiguous is True


async def test_an_update_that_made_the_incident_anew_says_that_it_was_gone() -> None:
    profile = small_profile(more=update("missing_when = { status = 201 }"))

    error = await failure(profile, (201, {"id": "2"}), "update")

    assert isinstance(error, Missing)
    assert error.status == 201
    assert await failure(profile, (200, {"id": "2"}), "update") is None


async def test_a_condition_may_want_a_status_and_a_word_of_the_answer() -> None:
    when = "{ status = [200, 400], when = \"code == 'LATER'\" }"
    profile = small_profile(create=f"retry_when = {when}", more=update(f"missing_when = {when}"))

    for status in (200, 400):
        assert isinstance(await failure(profile, (status, {"code": "LATER"})), Transient)
        assert isinstance(await failure(profile, (status, {"code": "LATER"}), "update"), Missing)
    for status, code in ((422, "LATER"), (400, "NEVER")):
        assert type(await failure(profile, (status, {"code": code}))) is Permanent
        assert type(await failure(profile, (status, {"code": code}), "update")) is Permanent


async def test_a_link_without_its_address_gets_that_of_the_irp() -> None:
    profile = bare('id = "id"\nurl = "web"', "ok_status = [201]")

    async def url(web: str) -> str:
        return (await made(profile, (201, {"id": "1", "web": web}))).url

    assert await url("/ui/case/1") == "https://sv.example.com/ui/case/1"
    assert await url("https://other.example.com/1") == "https://other.example.com/1"
    assert await url("ui/case/1") == "ui/case/1", "it may be anything, a number too"
    assert await url("//[") == "//["
    async with client(
        Irp((200, {"items": [{"id": "1", "key": "k", "web": "/1"}]})),
        profile=small_profile(more=find() + 'url = "web"'),
    ) as irp_client:
        assert [one.incident.url for one in await irp_client.find("k")] == ["https://sv.example.com/1"]


async def test_a_create_that_may_have_happened_is_not_refused_by_missing_when() -> None:
    profile = small_profile(create="missing_when = \"code == 'NOT_FOUND'\"")

    error = await failure(profile, (500, {"code": "NOT_FOUND"}))

    assert isinstance(error, Transient)
    assert error.ambiguous
    assert await failure(profile, (201, {"code": "NOT_FOUND", "id": "5"})) is None
    assert isinstance(await failure(profile, (400, {"code": "NOT_FOUND"})), Missing)


async def test_try_again_counts_before_exists_and_that_before_missing() -> None:
    conditions = 'retry_when = "busy"\nduplicate_when = { status = 400, when = "exists" }\nmissing_when = "gone"'
    profile = small_profile(create=conditions)

    every = {"busy": True, "exists": True, "gone": True}
    assert isinstance(await failure(profile, (400, every)), Transient)
    assert isinstance(await failure(profile, (400, {**every, "busy": False})), Duplicate)
    assert isinstance(await failure(profile, (400, {"gone": True})), Missing)


@pytest.mark.parametrize("status", [200, 404])
async def test_a_search_that_finds_nothing_is_answered_like_an_error(status: int) -> None:
    profile = small_profile(more=find(more="missing_when = \"code == 'NOT_FOUND'\""))

    async with client(Irp((status, {"code": "NOT_FOUND"}), (404, {"code": "?"})), profile=profile) as irp_client:
        assert await irp_client.find("kuma:kuma:1") == []
        with pytest.raises(Missing):
            await irp_client.find("kuma:kuma:1")


@pytest.mark.parametrize("condition", ["retry_when", "missing_when"])
@pytest.mark.parametrize("answer", [httpx.Response(204), httpx.Response(200, text="done"), (200, None)])
async def test_an_answer_that_says_nothing_fits_no_condition(condition: str, answer: Any) -> None:
    profile = small_profile(more=update(f'{condition} = "success != `true`"'))

    assert await failure(profile, answer, "update") is None


def test_a_fixed_word_with_every_update() -> None:
    word = """action = '{{ "edit" if incident.id }}'"""
    fixed = update("").replace('title = "y"', f'{word}\nkind = "x"\ntitle = "{{{{ alert.name }}}}"')
    rendering = compile_profile(small_profile(more=fixed))["update"].rendering
    draft = rendering.draft(ALERT)

    told = update_of(Compare(), draft.rendered, {**draft.rendered.digests, "title": "another"})

    assert told is not None
    assert (draft.only(told).body or {}).keys() == {"action", "title"}
    assert update_of(Compare(), draft.rendered, draft.rendered.digests) is None, "it is no change by itself"


def test_each_row_of_the_page_has_its_test() -> None:
    rows = re.findall(r"^\| .* `test_(\w+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert rows
    assert [row for row in rows if f"test_{row}" not in globals()] == []
