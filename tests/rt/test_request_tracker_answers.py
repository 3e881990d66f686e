"""What Request Tracker answers to the built-in profile: each oddity of the real server, and what we make of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from request_tracker import Tracker

from kuma_sync.app.build import utc_now
from kuma_sync.app.remotes import open_remotes
from kuma_sync.core.errors import AccessDenied, Permanent
from kuma_sync.core.incident import Incident
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.errors import Missing
from kuma_sync.irp.load import profile_text
from kuma_sync.irp.sample import sample_subject, sample_values
from kuma_sync.settings import load
from kuma_sync.sync.limits import Limits

CONFIGURATION = """
[kuma]
url = "http://127.0.0.1:9"
token = "none"
[irp]
profile = "{profile}"
url = "{url}"
token = "{token}"
{more}
[irp.options]
queue = "SOC"
"""


@asynccontextmanager
async def asking(
    folder: Path, tracker: Tracker, *, token: str = "", profile: str = "request-tracker", more: str = ""
) -> AsyncIterator[IrpClient]:
    """Give the daemon's own client of this tracker."""
    config = folder / "config.toml"
    config.write_text(CONFIGURATION.format(profile=profile, url=tracker.url, token=token or tracker.token, more=more))
    config.chmod(0o600)
    async with AsyncExitStack() as stack:
        yield (await open_remotes(load(config, {}), utc_now, Limits(), stack)).targets["irp"].irp


def values(
    key: str, incident: Incident | None = None, *, queue: str = "SOC", name: str = "R001. Подбор пароля"
) -> Mapping[str, Any]:
    """Return the sample alert's values under another key."""
    sample: dict[str, Any] = sample_values(sample_subject(), {"queue": queue})
    told = {"id": incident.id, "number": incident.number, "url": incident.url} if incident else None
    return {**sample, "alert": {**sample["alert"], "name": name}, "key": key, "incident": told}


async def made(client: IrpClient, key: str, **about: Any) -> Incident:
    return await client.create(client.draft("create", values(key, **about)))


async def test_a_ticket_is_found_by_its_exact_key(tmp_path: Path, tracker: Tracker) -> None:
    keys = ["kuma:kuma:it's", r"kuma:kuma:\ and \"two words\"", "kuma:kuma:Алерт", "kuma:kuma:Алерт 1"]
    async with asking(tmp_path, tracker) as client:
        tickets = {key: (await made(client, key)).id for key in keys}

        found = {key: [one.incident.id for one in await client.find(key)] for key in keys}
        nothing = await client.find("kuma:kuma:it")

    assert found == {key: [ticket] for key, ticket in tickets.items()}
    assert nothing == []


async def test_a_ticket_holds_what_the_alert_says(tmp_path: Path, tracker: Tracker) -> None:
    async with asking(tmp_path, tracker) as client:
        ticket = await made(client, "kuma:kuma:whole")
    with tracker.client() as rest:
        shown = rest.get(f"/ticket/{ticket.id}").json()
        text = rest.get(f"/ticket/{ticket.id}/attachments", params={"fields": "Content"}).json()["items"][0]["Content"]

    fields = {one["name"]: one["values"] for one in shown["CustomFields"]}
    assert (shown["Subject"], shown["Priority"], shown["Status"]) == ("R001. Подбор пароля", "100", "new")
    assert fields["KUMA link"] == ["https://kuma.example.com:7220/alerts/5f0c2a3e-6b1d-4a77-9c55-2b7f0e4d1a01"]
    assert (fields["KUMA last seen"], fields["KUMA events"]) == (["2025-03-01T09:41:37Z"], ["1"])
    assert "Users: svc-backup" in text


async def test_a_ticket_closed_already_is_closed_again_without_complaint(tmp_path: Path, tracker: Tracker) -> None:
    async with asking(tmp_path, tracker) as client:
        ticket = await made(client, "kuma:kuma:twice")
        for _ in range(2):
            await client.write(client.draft("close", values("kuma:kuma:twice", ticket)))

        (found,) = await client.find("kuma:kuma:twice")

    assert (found.closed, found.resolution) == (True, "resolved")


async def test_a_status_that_was_kept_is_a_refused_closing_though_rt_answers_201(
    tmp_path: Path, tracker: Tracker
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(profile_text("request-tracker").replace('Status = "resolved"', 'Status = "no such status"'))
    async with asking(tmp_path, tracker, profile=str(own)) as client:
        ticket = await made(client, "kuma:kuma:kept")

        with pytest.raises(Permanent, match="refused by ok_when") as refused:
            await client.write(client.draft("close", values("kuma:kuma:kept", ticket)))

    assert refused.value.status == 201


async def test_a_field_that_was_kept_is_a_refused_update_though_rt_answers_200(
    tmp_path: Path, tracker: Tracker
) -> None:
    async with asking(tmp_path, tracker) as client:
        ticket = await made(client, "kuma:kuma:no-right", queue="Bare")

        with pytest.raises(Permanent, match="refused by ok_when") as refused:
            await client.write(client.draft("update", values("kuma:kuma:no-right", ticket, name="another")))

    assert refused.value.status == 200


async def test_an_update_of_a_ticket_that_is_not_there_says_so(tmp_path: Path, tracker: Tracker) -> None:
    async with asking(tmp_path, tracker) as client:
        nobody = Incident(id="999999")

        with pytest.raises(Missing):
            await client.write(client.draft("update", values("kuma:kuma:gone", nobody)))


@pytest.mark.parametrize("operation", ["add_events", "close"])
async def test_a_write_to_a_ticket_that_is_not_there_says_so_to_who_sees_all(
    tmp_path: Path, tracker: Tracker, operation: str
) -> None:
    """RT answers a comment with 400 and a sentence; to a user with rights in some queues with another one."""
    text = profile_text("request-tracker")
    begin, end = text.index("[auth]"), text.index("[maps.priority]")
    own = tmp_path / "own.toml"
    own.write_text(f'{text[:begin]}[auth]\nkind = "basic"\n\n{text[end:]}', encoding="utf-8")
    gone = values("kuma:kuma:gone", Incident(id="999999"))

    async with asking(tmp_path, tracker, profile=str(own), more='username = "root"\npassword = "password"') as client:
        with pytest.raises(Missing):
            await client.write(client.draft(operation, gone))
    async with asking(tmp_path, tracker) as client:
        with pytest.raises(Permanent) as refused:
            await client.write(client.draft(operation, gone))

    assert (refused.value.status, refused.value.detail) == (400, "Permission Denied")
    assert not isinstance(refused.value, Missing)


async def test_a_queue_that_is_closed_to_us_is_no_matter_of_the_token(tmp_path: Path, tracker: Tracker) -> None:
    async with asking(tmp_path, tracker) as client:
        with pytest.raises(AccessDenied):
            await made(client, "kuma:kuma:elsewhere", queue="General")

        await client.probe()


async def test_a_wrong_token_is_refused(tmp_path: Path, tracker: Tracker) -> None:
    async with asking(tmp_path, tracker, token="1-14-00000000000000000000000000000000") as client:
        with pytest.raises(AccessDenied):
            await client.probe()


async def test_closed_tickets_are_listed_from_the_moment_asked_for(tmp_path: Path, tracker: Tracker) -> None:
    now = datetime.now(UTC)
    async with asking(tmp_path, tracker) as client:
        closed, rejected = await made(client, "kuma:kuma:closed"), await made(client, "kuma:kuma:rejected")
        stays = await made(client, "kuma:kuma:stays")
        await client.write(client.draft("close", values("kuma:kuma:closed", closed)))
        with tracker.client() as rest:
            rest.put(
                f"/ticket/{rejected.id}", json={"Status": "rejected", "CustomFields": {"KUMA resolution": "Noise"}}
            )

        listed = [item async for page in client.list_closed(now - timedelta(minutes=1)) for item in page.items]
        later = [item async for page in client.list_closed(now + timedelta(hours=1)) for item in page.items]

    told = {item.key: item for item in listed if item.incident_id in {closed.id, rejected.id, stays.id}}
    assert {key: item.resolution for key, item in told.items()} == {
        "kuma:kuma:closed": "resolved",
        "kuma:kuma:rejected": "Noise",
    }
    assert all(item.updated and abs(item.updated - now) < timedelta(minutes=1) for item in told.values())
    assert later == [], "RT reads the time in a search without its zone, as the user's"


async def test_the_list_of_closed_tickets_is_read_page_by_page(tmp_path: Path, tracker: Tracker) -> None:
    now = datetime.now(UTC)
    quick = tmp_path / "quick.toml"
    quick.write_text(profile_text("request-tracker").replace('per_page = "{{ limit }}"', "per_page = 2"))
    async with asking(tmp_path, tracker, profile=str(quick)) as client:
        keys = [f"kuma:pages:{number}" for number in range(3)]
        for key in keys:
            ticket = await made(client, key)
            await client.write(client.draft("close", values(key, ticket)))

        pages = [page.items async for page in client.list_closed(now - timedelta(minutes=1))]

    assert {item.key for page in pages for item in page} >= set(keys)
    assert max(len(page) for page in pages) <= 2
