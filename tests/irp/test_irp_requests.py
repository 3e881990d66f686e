"""The requests of the default profile, byte for byte, and how the token travels."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest
from builders import NOW, an_account, an_asset, an_event, seconds, seen
from irp_desk import KEY, Irp, changed_profile, client, small_profile, token, values_of

from kuma_sync.core.errors import AccessDenied, ConfigError, Permanent
from kuma_sync.core.incident import Incident
from kuma_sync.irp.load import parse_profile

CREATED = (201, {"id": "1001", "number": "INC-1001", "url": "https://sv.example.com/incidents/1001"})
EVENT = an_event(BaseEvents=[an_event(ID="e2", SourceAddress="10.0.0.8", DeviceHostName="dc01")])
FULL = seen(events=[EVENT], assets=[an_asset()], accounts=[an_account()], assignee="petrov")

FIELDS: Mapping[str, object] = {
    "title": "Подбор пароля",
    "severity": "High",
    "alertStatus": "new",
    "detectedAt": "2026-01-15T11:50:00Z",
    "lastSeenAt": "2026-01-15T12:00:00Z",
    "organization": "Head office",
    "sourceUrl": "https://kuma.example.com:7220/alerts/5c0de1a4-0000-4000-8000-000000000001",
    "tenant": "Main",
    "rule": "a11e0000-0000-4000-8000-000000000001",
    "assignee": "petrov",
    "eventsTotal": 1,
    "events": [EVENT],
    "assets": [an_asset()],
    "accounts": [an_account()],
    "observables": {
        "hosts": ["dc01", "ws-17"],
        "ips": ["10.0.0.7", "10.0.0.8"],
        "private_ips": ["10.0.0.7", "10.0.0.8"],
        "users": ["ivanov"],
    },
}
DESCRIPTION = "Подбор пароля\nRule: a11e0000-0000-4000-8000-000000000001\nEvents: 1, assets: 1, accounts: 1"


async def test_a_create_carries_everything_the_contract_lists_and_brings_the_incident_back() -> None:
    irp = Irp(CREATED)

    async with client(irp) as irp_client:
        incident = await irp_client.create(irp_client.draft("create", values_of(FULL)))

    assert irp.lines == ["POST /api/v1/incidents"]
    assert irp.bodies == [{"externalId": KEY, "source": "KUMA", "description": DESCRIPTION, **FIELDS}]
    assert incident == Incident(id="1001", number="INC-1001", url="https://sv.example.com/incidents/1001")


async def test_a_request_is_compact_utf8_json_with_the_bearer_token() -> None:
    irp = Irp((204, None))

    async with client(irp) as irp_client:
        await irp_client.write(irp_client.draft("close", values_of(FULL, reason="responded", comment="Закрыт")))

    request = irp.requests[0]
    assert request.content == '{"reason":"responded","comment":"Закрыт"}'.encode()
    assert request.headers["Authorization"] == "Bearer irp-token"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "application/json"


async def test_an_update_carries_the_same_fields_less_key_source_and_description() -> None:
    irp = Irp(httpx.Response(204))

    async with client(irp) as irp_client:
        await irp_client.write(irp_client.draft("update", values_of(FULL)))

    assert irp.lines == ["PATCH /api/v1/incidents/1001"]
    assert irp.bodies == [dict(FIELDS)]


async def test_events_that_follow_go_to_the_incident_alone() -> None:
    irp = Irp(httpx.Response(201))

    async with client(irp) as irp_client:
        await irp_client.write(irp_client.draft("add_events", values_of(FULL)))

    assert irp.lines == ["POST /api/v1/incidents/1001/events"]
    assert irp.bodies == [{"events": [EVENT]}]


@pytest.mark.parametrize("status", [200, 204, 409])
async def test_an_incident_that_is_closed_already_is_closed(status: int) -> None:
    irp = Irp(httpx.Response(status))

    async with client(irp) as irp_client:
        await irp_client.write(irp_client.draft("close", values_of(FULL, reason="incorrect data")))

    assert irp.lines == ["POST /api/v1/incidents/1001/close"]
    assert irp.bodies == [{"reason": "incorrect data"}]


async def test_reads_ask_as_the_contract_says_and_carry_no_body() -> None:
    irp = Irp((200, {"items": [], "total": 0}))

    async with client(irp) as irp_client:
        await irp_client.find(KEY)
        pages = [page async for page in irp_client.list_closed(NOW - seconds(0.5))]
        await irp_client.probe()

    assert irp.lines == [
        "GET /api/v1/incidents?externalId=kuma%3Akuma%3A5c0de1a4-0000-4000-8000-000000000001",
        "GET /api/v1/incidents?status=closed&updatedSince=2026-01-15T11%3A59%3A59.500000Z&limit=100&offset=0",
        "GET /api/v1/incidents?limit=1",
    ]
    assert [request.content for request in irp.requests] == [b"", b"", b""]
    assert all("Content-Type" not in request.headers for request in irp.requests)
    assert [page.items for page in pages] == [[]]


async def test_a_token_can_travel_in_a_header_of_another_name_or_not_at_all() -> None:
    named, silent = Irp((200, {})), Irp((200, {}))
    header = changed_profile(('kind = "bearer"', 'kind = "header"\nname = "X-Token"'))
    nothing = changed_profile(('kind = "bearer"', 'kind = "none"'))

    async with client(named, profile=header) as irp_client:
        await irp_client.probe()
    async with client(silent, profile=nothing, secrets=token("")) as irp_client:
        await irp_client.probe()

    assert named.requests[0].headers["X-Token"] == "irp-token"
    assert "Authorization" not in named.requests[0].headers
    assert "Authorization" not in silent.requests[0].headers


async def test_a_token_the_profile_needs_must_be_configured() -> None:
    with pytest.raises(
        ConfigError, match=r"irp.token: is empty, but the profile's \[auth\] kind = \"bearer\" needs it"
    ):
        async with client(Irp((200, {})), secrets=token("")):
            pass


async def test_a_token_with_a_stray_line_in_it_stops_the_side_and_is_not_shown() -> None:
    irp = Irp((200, {}))

    async with client(irp, secrets=token("two\nlines")) as irp_client:
        with pytest.raises(AccessDenied) as caught:
            await irp_client.probe()

    assert irp.requests == []
    assert "two" not in str(caught.value)


async def test_headers_and_queries_of_a_profile_are_rendered() -> None:
    irp = Irp(CREATED)
    profile = small_profile(
        create="""
query = { dry = false, tag = ["{{ alert.priority }}", "{{ alert.assignee }}", "a&b"], none = "{{ alert.assignee }}" }
headers = { X-Priority = "{{ alert.priority }}" }
"""
    )

    async with client(irp, profile=profile) as irp_client:
        await irp_client.create(irp_client.draft("create", values_of(seen(priority="low"))))

    assert irp.lines == ["POST /incidents?dry=false&tag=low&tag=a%26b"]
    assert irp.requests[0].headers["X-Priority"] == "low"


@pytest.mark.parametrize("name", ["low\r\nX-Evil: 1", "Подбор", "tab\there"])
async def test_a_value_that_no_header_can_carry_is_refused(name: str) -> None:
    profile = small_profile(create='headers = { X-Name = "{{ alert.name }}" }')

    async with client(Irp(CREATED), profile=profile) as irp_client:
        with pytest.raises(Permanent, match=r"the template create.headers.X-Name failed"):
            irp_client.draft("create", values_of(seen(name=name)))


@pytest.mark.parametrize(
    ("incident_id", "path"),
    [
        ("a/../b", "/api/v1/incidents/a%2F..%2Fb"),
        ("a?x=1#y", "/api/v1/incidents/a%3Fx%3D1%23y"),
        ("a\r\nb", "/api/v1/incidents/a%0D%0Ab"),
        ("100%", "/api/v1/incidents/100%25"),
        ("ИНЦ 1", "/api/v1/incidents/%D0%98%D0%9D%D0%A6%201"),
        ("{{ 7*7 }}", "/api/v1/incidents/%7B%7B%207%2A7%20%7D%7D"),
    ],
)
async def test_an_id_cannot_lead_to_another_path(incident_id: str, path: str) -> None:
    irp = Irp(httpx.Response(204))

    async with client(irp) as irp_client:
        await irp_client.write(irp_client.draft("update", values_of(FULL, incident=Incident(id=incident_id))))

    assert irp.lines == [f"PATCH {path}"]


@pytest.mark.parametrize("incident_id", ["", ".", ".."])
async def test_an_id_that_would_shorten_the_path_is_refused(incident_id: str) -> None:
    async with client(Irp((204, None))) as irp_client:
        with pytest.raises(Permanent, match=r"the template update\.path failed") as caught:
            irp_client.draft("update", values_of(FULL, incident=Incident(id=incident_id)))

    assert caught.value.remote == "irp"


async def test_half_a_surrogate_pair_in_a_name_does_not_stop_the_delivery() -> None:
    irp = Irp(CREATED)

    async with client(irp) as irp_client:
        await irp_client.create(irp_client.draft("create", values_of(seen(name="broken \ud83d name"))))

    assert irp.bodies[0]["title"] == "broken ? name"


@pytest.mark.parametrize(
    "request_of",
    [
        'encoding = "form"\nbody = { name = "{{ alert.name }}" }',
        'encoding = "multipart"\nbody = { f = { file = "{{ alert.name }}", content = "{{ alert.name }}" } }',
        'encoding = "text"\nbody = "{{ alert.name }}"',
        'query = { name = "{{ alert.name }}" }',
    ],
)
async def test_half_a_surrogate_pair_becomes_a_question_mark_wherever_it_goes(request_of: str) -> None:
    text = f'[profile]\nname = "s"\n[create]\nmethod = "POST"\npath = "/x"\n{request_of}\n[create.extract]\nid = "id"'
    irp = Irp((201, {"id": "1"}))
    alert = values_of(seen(name="half \ud800"))

    async with client(irp, profile=parse_profile(text, source="s.toml")) as irp_client:
        await irp_client.create(irp_client.draft("create", alert))

    sent = irp.requests[0].content + irp.requests[0].url.raw_path
    assert b"half ?" in sent.replace(b"%20", b" ").replace(b"%3F", b"?")


async def test_a_file_of_a_type_that_no_header_can_carry_is_refused() -> None:
    profile = small_profile(
        'f = { file = "a", content = "b", type = "{{ alert.name }}" }', create='encoding = "multipart"'
    )

    async with client(Irp(CREATED), profile=profile) as irp_client:
        draft = irp_client.draft("create", values_of(seen(name="text/plain\r\nX-Other: 1")))
        with pytest.raises(Permanent, match=r"create.body.f has a type that no header can carry"):
            await irp_client.create(draft)


async def test_a_number_that_json_does_not_know_is_refused_before_sending() -> None:
    irp = Irp(CREATED)

    async with client(irp) as irp_client:
        draft = irp_client.draft("create", values_of(seen(events=[an_event(Score=float("nan"))])))
        with pytest.raises(Permanent, match="the body cannot be written as JSON"):
            await irp_client.create(draft)

    assert irp.requests == []
