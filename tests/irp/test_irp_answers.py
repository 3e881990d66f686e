"""What the IRP's answers mean: incidents, duplicates, refusals, doubts."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import httpx
import pytest
from builders import seen
from irp_desk import KEY, Irp, changed_profile, client, values_of
from structlog.testing import capture_logs

from kuma_sync.core.errors import AccessDenied, Permanent, Redirected, RemoteError, Transient
from kuma_sync.core.incident import Found, Incident
from kuma_sync.irp.errors import Duplicate, Missing, TooLarge
from kuma_sync.irp.profile import Profile

ALERT = values_of(seen(events=[]))
HTML = httpx.Response(200, headers={"Content-Type": "text/html"}, text="<h1>Sign in</h1>")


async def failing(irp: Irp, operation: str, profile: Profile | None = None) -> RemoteError:
    """Return the error that an operation ends with."""
    async with client(irp, profile=profile) as irp_client:
        draft = irp_client.draft(operation, ALERT)
        with pytest.raises(RemoteError) as caught:
            await (irp_client.create if operation == "create" else irp_client.write)(draft)
    return caught.value


async def test_a_numeric_id_becomes_text() -> None:
    async with client(Irp((200, {"id": 1001, "number": 7}))) as irp_client:
        incident = await irp_client.create(irp_client.draft("create", ALERT))

    assert incident == Incident(id="1001", number="7")


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": ""}, {"id": True}, {"id": {"value": 1}}, [], None])
async def test_a_success_without_an_id_may_have_made_an_incident_nobody_knows(body: object) -> None:
    error = await failing(Irp((201, body)), "create")

    assert isinstance(error, Transient)
    assert (error.ambiguous, error.unidentified) == (True, True)


@pytest.mark.parametrize("answer", [HTML, httpx.Response(201), httpx.Response(202, json={"id": "1"})])
async def test_a_create_answered_in_an_unexpected_way_is_in_doubt(answer: httpx.Response) -> None:
    error = await failing(Irp(answer), "create")

    assert isinstance(error, Transient)
    assert (error.ambiguous, error.unidentified) == (True, True)


async def test_a_create_refused_as_existing_is_a_duplicate() -> None:
    error = await failing(Irp((409, {"message": "exists"})), "create")

    assert isinstance(error, Duplicate)
    assert isinstance(error, Permanent)
    assert (error.remote, error.operation, error.status) == ("irp", "create", 409)


async def test_without_duplicate_when_a_409_is_a_refusal_like_others() -> None:
    profile = changed_profile(("duplicate_when = { status = 409 }", ""))

    error = await failing(Irp((409, {"message": "exists"})), "create", profile=profile)

    assert type(error) is Permanent
    assert (error.status, error.detail) == (409, "exists")


@pytest.mark.parametrize(
    ("status", "kind", "ambiguous"),
    [
        (400, Permanent, False),
        (401, AccessDenied, False),
        (403, AccessDenied, False),
        (404, Missing, False),
        (410, Missing, False),
        (405, Permanent, False),
        (302, Redirected, True),
        (303, Redirected, True),
        (307, Redirected, False),
        (413, TooLarge, False),
        (429, Transient, False),
        (503, Transient, False),
        (500, Transient, True),
        (502, Transient, True),
        (504, Transient, True),
    ],
)
@pytest.mark.parametrize("operation", ["create", "update", "add_events", "close"])
async def test_a_refused_write_says_what_follows(
    operation: str, status: int, kind: type[RemoteError], ambiguous: bool
) -> None:
    error = await failing(Irp((status, {"message": "no"})), operation)

    assert type(error) is kind
    assert (error.remote, error.operation, error.status) == ("irp", operation, status)
    assert getattr(error, "ambiguous", False) is ambiguous


@pytest.mark.parametrize("operation", ["update", "add_events", "close"])
async def test_another_success_than_the_profile_names_is_no_success(operation: str) -> None:
    error = await failing(Irp((206, {})), operation)

    assert type(error) is Permanent
    assert "206, which is not in ok_status" in error.summary


@pytest.mark.parametrize(
    ("expression", "body", "refused"),
    [
        ("success", {"success": True, "id": "1"}, False),
        ("success", {"success": False, "id": "1", "error": "no such type"}, True),
        ("success", {"id": "1"}, True),
        ("!error", {"id": "1"}, False),
        ("code == `0`", {"code": 0, "id": "1"}, False),
        ("contains(errors, 'x')", {"id": "1"}, True),
        ("contains(error, code)", {"id": "1", "error": "no such type"}, True),
        ("ceil(to_number(size)) == `1`", {"id": "1", "size": "1e999"}, True),
    ],
)
async def test_ok_when_looks_into_the_answer(expression: str, body: Mapping[str, object], refused: bool) -> None:
    profile = changed_profile(
        ("[create.body]", f'ok_when = "{expression}"\n[create.body]'),
    )
    irp = Irp((200, body))

    if not refused:
        async with client(irp, profile=profile) as irp_client:
            assert (await irp_client.create(irp_client.draft("create", ALERT))).id == "1"
        return
    error = await failing(irp, "create", profile=profile)

    assert type(error) is Permanent
    assert error.summary == "refused by ok_when"
    assert error.detail == body.get("error", "")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"ok": False, "fault": {"code": "BAD_LEVEL", "text": "level is 1 to 4"}}, "BAD_LEVEL: level is 1 to 4"),
        ({"ok": False, "fault": {"code": "BAD_LEVEL"}}, "BAD_LEVEL"),
        ({"ok": False, "code": "E7", "error": "no"}, "E7: no"),
        ({"ok": False, "fault": "no", "code": {"a": 1}}, "no"),
        ({"ok": False, "fault": {"code": "C" * 900, "text": "t" * 900}}, "C" * 300),
        ({"ok": False, "case": {"code": "SECRET"}}, ""),
    ],
)
async def test_a_refusal_by_ok_when_tells_the_answers_code_and_text(body: Mapping[str, object], told: str) -> None:
    profile = changed_profile(("[create.body]", 'ok_when = "ok"\n[create.body]'))

    error = await failing(Irp((200, body)), "create", profile=profile)

    assert (error.summary, error.detail) == ("refused by ok_when", told)


async def test_find_keeps_the_order_and_knows_what_is_closed() -> None:
    items = [
        {
            "id": 2,
            "externalId": KEY,
            "number": "INC-2",
            "status": "closed",
            "resolution": "False positive",
            "url": "u2",
        },
        {"id": 1, "externalId": KEY, "number": "INC-1", "status": "open", "resolution": None},
    ]

    async with client(Irp((200, {"items": items}))) as irp_client:
        found = await irp_client.find(KEY)

    assert found == [
        Found(incident=Incident(id="2", number="INC-2", url="u2"), closed=True, resolution="False positive"),
        Found(incident=Incident(id="1", number="INC-1")),
    ]


async def test_find_borrows_closed_when_from_the_list_of_closed() -> None:
    profile = changed_profile(
        ("closed_when = \"status == 'closed'\" # which incidents are closed (JMESPath over one item)", "")
    )
    items = [{"id": "1", "externalId": KEY, "status": "closed"}]

    async with client(Irp((200, {"items": items})), profile=profile) as irp_client:
        found = await irp_client.find(KEY)

    assert [item.closed for item in found] == [True]


async def test_incidents_of_other_keys_are_discarded_loudly_and_without_a_word_of_them() -> None:
    items = [
        {"id": "1", "externalId": KEY + "0"},
        {"id": "2", "externalId": KEY.upper()},
        {"id": "3"},
        "SECRET",
        None,
        {"id": "4", "externalId": KEY},
    ]

    with capture_logs() as logged:
        async with client(Irp((200, {"items": items}))) as irp_client:
            found = await irp_client.find(KEY)

    assert [item.incident.id for item in found] == ["4"]
    assert logged == [{"event": "irp_find_shows_others", "log_level": "warning", "discarded": 5, "kept": 1}]


@pytest.mark.parametrize("answer", [HTML, httpx.Response(200), httpx.Response(200, json={"items": None})])
async def test_an_answer_without_a_list_does_not_prove_that_nothing_is_there(answer: httpx.Response) -> None:
    async with client(Irp(answer)) as irp_client:
        with pytest.raises(Transient) as caught:
            await irp_client.find(KEY)

    assert not caught.value.ambiguous
    assert not caught.value.unidentified


async def test_an_incident_found_without_its_id_is_not_taken_for_absent() -> None:
    async with client(Irp((200, {"items": [{"externalId": KEY}]}))) as irp_client:
        with pytest.raises(Permanent, match="found the incident, but without its id"):
            await irp_client.find(KEY)


async def test_a_probe_tells_a_refused_token_from_a_good_one() -> None:
    async with client(Irp((200, {}), (401, {}))) as irp_client:
        await irp_client.probe()
        with pytest.raises(AccessDenied):
            await irp_client.probe()


async def test_a_profile_without_probe_asks_nothing() -> None:
    irp = Irp((401, {}))
    text = '[probe]\nmethod = "GET"\npath = "/api/v1/incidents"\nquery = { limit = 1 }\nok_status = [200]\n'

    async with client(irp, profile=changed_profile((text, ""))) as irp_client:
        await irp_client.probe()

        assert (irp_client.can("probe"), irp_client.can("find")) == (False, True)

    assert irp.requests == []


async def test_what_the_irp_answers_does_not_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        error = await failing(Irp((422, {"message": "title Подбор пароля is bad"})), "create")

    assert error.detail == "title Подбор пароля is bad"
    assert "Подбор" not in str(error)
    assert "Подбор" not in caplog.text


async def test_a_key_in_another_case_is_found_and_the_exact_one_wins() -> None:
    shown = [
        {"id": "1", "externalId": KEY.upper()},
        {"id": "2", "externalId": f"{KEY}  "},
        {"id": "3", "externalId": "x"},
    ]

    with capture_logs() as logged:
        async with client(
            Irp((200, {"items": shown}), (200, {"items": [*shown, {"id": "4", "externalId": KEY}]}))
        ) as irp_client:
            without, exact = await irp_client.find(KEY), await irp_client.find(KEY)

    assert [one.incident.id for one in without] == ["1", "2"]
    assert [one.incident.id for one in exact] == ["4"]
    assert [line["discarded"] for line in logged] == [1, 3]
