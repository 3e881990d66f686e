"""The list of closed incidents: pages to their end, whatever the server does with our filters."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from builders import NOW
from irp_desk import Irp, changed_profile, client
from structlog.testing import capture_logs

from kuma_sync.core.errors import Transient
from kuma_sync.core.incident import Resolution
from kuma_sync.irp import client as client_module
from kuma_sync.irp.client import IrpClient


def item(number: int, **fields: Any) -> dict[str, Any]:
    plausible = {"id": number, "externalId": f"kuma:kuma:{number}", "status": "closed", "resolution": "Done"}
    return {**plausible, "updatedAt": "2026-01-15T11:00:00.5Z", **fields}


class Shelf:
    """A server with this many closed incidents; knows `limit` and `offset` unless told to ignore the latter."""

    def __init__(self, items: list[dict[str, Any]], *, ignore_offset: bool = False) -> None:
        self.items = items
        self.ignore_offset = ignore_offset
        self.asked: list[tuple[int, int]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        offset, limit = int(request.url.params["offset"]), int(request.url.params["limit"])
        self.asked.append((offset, limit))
        start = 0 if self.ignore_offset else offset
        return httpx.Response(200, json={"items": self.items[start : start + limit]})


async def closed_ids(desk: IrpClient) -> list[str]:
    return [resolution.incident_id async for page in desk.list_closed(NOW) for resolution in page.items]


async def test_a_closed_incident_comes_with_all_we_need_to_close_its_alert() -> None:
    answer = httpx.Response(
        200, json={"items": [item(1)]}, headers={"Date": format_datetime(datetime(2026, 1, 15, 12, tzinfo=UTC))}
    )

    async with client(Irp(answer)) as desk:
        pages = [page async for page in desk.list_closed(NOW)]

    updated = datetime(2026, 1, 15, 11, 0, 0, 500_000, tzinfo=UTC)
    assert [page.items for page in pages] == [
        [Resolution(incident_id="1", key="kuma:kuma:1", resolution="Done", updated=updated)]
    ]
    assert [page.server_date for page in pages] == [datetime(2026, 1, 15, 12, tzinfo=UTC)]


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+03:00", "9999-12-31T23:59:59-05:00", 7])
async def test_a_time_that_was_never_set_is_not_known(stamp: object) -> None:
    """Taken for a time, it would be the last one that was read, and no arithmetic reaches beyond it."""
    async with client(Irp(httpx.Response(200, json={"items": [item(1, updatedAt=stamp)]}))) as desk:
        pages = [page async for page in desk.list_closed(NOW)]

    assert [resolution.updated for page in pages for resolution in page.items] == [None]


@pytest.mark.parametrize(
    ("count", "asked"),
    [
        (0, [(0, 100)]),
        (99, [(0, 100)]),
        (100, [(0, 100), (100, 100)]),
        (250, [(0, 100), (100, 100), (200, 100)]),
    ],
)
async def test_pages_are_read_until_one_is_short(count: int, asked: list[tuple[int, int]]) -> None:
    shelf = Shelf([item(number) for number in range(count)])

    async with client(shelf) as desk:  # type: ignore[arg-type]  # it answers by what is asked
        ids = await closed_ids(desk)

    assert ids == [str(number) for number in range(count)]
    assert shelf.asked == asked


async def test_a_server_that_ignores_the_offset_is_asked_twice_and_each_incident_comes_once() -> None:
    shelf = Shelf([item(number) for number in range(150)], ignore_offset=True)

    async with client(shelf) as desk:  # type: ignore[arg-type]  # it answers by what is asked
        ids = await closed_ids(desk)

    assert ids == [str(number) for number in range(100)]
    assert len(shelf.asked) == 2


async def test_a_server_that_ignores_the_filter_closes_nothing_and_that_is_said_once() -> None:
    items = [item(1, status="open"), item(2), item(3, status=None), {"status": "closed"}, None, "x"]

    with capture_logs() as logged:
        async with client(Irp((200, {"items": items}))) as desk:
            first, second = await closed_ids(desk), await closed_ids(desk)

    assert first == second == ["2"]
    assert logged == [{"event": "irp_list_closed_shows_others", "log_level": "warning", "discarded": 5}]


async def test_a_page_without_a_new_id_is_the_last_even_if_it_is_full() -> None:
    page = (200, {"items": [item(7)] * 100})

    async with client(Irp(page)) as desk:
        ids = await closed_ids(desk)

    assert ids == ["7"]


async def test_an_incident_without_an_id_is_known_by_its_key() -> None:
    async with client(Irp((200, {"items": [item(1, id=None), item(2, updatedAt="soon", resolution=5)]}))) as desk:
        items = [one async for page in desk.list_closed(NOW) for one in page.items]

    assert items[0].incident_id == ""
    assert items[0].key == "kuma:kuma:1"
    assert (items[1].resolution, items[1].updated) == ("5", None)


async def test_a_time_without_a_zone_is_utc() -> None:
    async with client(Irp((200, {"items": [item(1, updatedAt="2026-01-15T11:00:00")]}))) as desk:
        items = [one async for page in desk.list_closed(NOW) for one in page.items]

    assert items[0].updated == datetime(2026, 1, 15, 11, tzinfo=UTC)


async def test_a_list_without_end_is_given_up_after_its_pages_were_handed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "MOST_PAGES", 3)
    shelf = Shelf([item(number) for number in range(1000)])
    ids: list[str] = []

    async with client(shelf) as desk:  # type: ignore[arg-type]  # it answers by what is asked
        with pytest.raises(Transient, match="did not end after 3 pages"):  # noqa: PT012  # the pages before it count
            async for page in desk.list_closed(NOW):
                ids += [one.incident_id for one in page.items]

    assert len(ids) == 300


@pytest.mark.parametrize("answer", [(200, {"total": 0}), (500, {}), (200, "text")])
async def test_a_page_that_is_none_fails_the_round(answer: tuple[int, object]) -> None:
    async with client(Irp(answer)) as desk:
        with pytest.raises(Transient):
            await closed_ids(desk)


async def test_pages_can_be_numbered() -> None:
    irp = Irp((200, {"items": [item(number) for number in range(100)]}), (200, {"items": []}))
    profile = changed_profile(('offset = "{{ offset }}"', 'page = "{{ page }}"'))

    async with client(irp, profile=profile) as desk:
        await closed_ids(desk)

    assert [line.rpartition("&")[2] for line in irp.lines] == ["page=1", "page=2"]
