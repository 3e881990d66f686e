"""The list of closed incidents: pages to their end, whatever the server does with our filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from builders import NOW
from irp_desk import Irp, changed_profile, client
from structlog.testing import capture_logs

from kuma_sync.core.errors import RemoteError, Transient
from kuma_sync.core.incident import Resolution
from kuma_sync.irp.client import IrpClient


def item(number: int, **fields: Any) -> dict[str, Any]:
    plausible = {"id": number, "externalId": f"kuma:kuma:{number}", "status": "closed", "resolution": "Done"}
    return {**plausible, "updatedAt": "2026-01-15T11:00:00.5Z", **fields}


class Shelf:
    """A server with these closed incidents; knows `limit` and `offset` unless told to ignore the latter.

    No page holds more than `largest` rows; behind the end it answers `past_end`; `moved` is called after every page.
    """

    def __init__(
        self,
        items: list[dict[str, Any]],
        *,
        ignore_offset: bool = False,
        largest: int = 1000,
        past_end: int = 200,
        moved: Callable[[list[dict[str, Any]]], object] = len,
    ) -> None:
        self.items = items
        self.ignore_offset = ignore_offset
        self.largest = largest
        self.past_end = past_end
        self.moved = moved
        self.asked: list[tuple[int, int]] = []

    @property
    def offsets(self) -> list[int]:
        return [offset for offset, _limit in self.asked]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        offset, limit = int(request.url.params["offset"]), int(request.url.params["limit"])
        self.asked.append((offset, limit))
        start = 0 if self.ignore_offset else offset
        page = self.items[start : start + min(limit, self.largest)]
        self.moved(self.items)
        if not page and offset and self.past_end != 200:
            return httpx.Response(self.past_end, json={"message": "no such page"})
        return httpx.Response(200, json={"items": page})


async def closed_ids(irp_client: IrpClient) -> list[str]:
    return [resolution.incident_id async for page in irp_client.list_closed(NOW) for resolution in page.items]


async def test_a_closed_incident_comes_with_all_we_need_to_close_its_alert() -> None:
    answer = httpx.Response(
        200, json={"items": [item(1)]}, headers={"Date": format_datetime(datetime(2026, 1, 15, 12, tzinfo=UTC))}
    )

    async with client(Irp(answer)) as irp_client:
        pages = [page async for page in irp_client.list_closed(NOW)]

    updated = datetime(2026, 1, 15, 11, 0, 0, 500_000, tzinfo=UTC)
    assert pages[-1].proven
    assert [page.items for page in pages if page.items] == [
        [Resolution(incident_id="1", key="kuma:kuma:1", resolution="Done", updated=updated)]
    ]
    assert [page.server_date for page in pages if page.items] == [datetime(2026, 1, 15, 12, tzinfo=UTC)]


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+03:00", "9999-12-31T23:59:59-05:00", 7])
async def test_a_time_that_was_never_set_is_not_known(stamp: object) -> None:
    """Taken for a time, it would be the last one that was read, and no arithmetic reaches beyond it."""
    async with client(Irp(httpx.Response(200, json={"items": [item(1, updatedAt=stamp)]}))) as irp_client:
        pages = [page async for page in irp_client.list_closed(NOW)]

    assert [resolution.updated for page in pages for resolution in page.items] == [None]


@pytest.mark.parametrize(
    ("count", "asked"),
    [
        (0, [0]),
        (9, [0, 9]),  # no server cuts that short
        (99, [0, 99, 0]),  # may have been cut: the first page is looked at again, in case a row slipped onto it
        (100, [0, 100, 0]),
        (250, [0, 100, 200, 250, 0, 100, 200]),
    ],
)
async def test_pages_are_read_until_one_is_empty_and_several_once_more(count: int, asked: list[int]) -> None:
    shelf = Shelf([item(number) for number in range(count)])

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        ids = await closed_ids(irp_client)

    assert ids == [str(number) for number in range(count)]
    assert shelf.offsets == asked
    assert {limit for _offset, limit in shelf.asked} == {100}


@pytest.mark.parametrize("largest", [1, 20, 50, 99])
async def test_pages_that_are_cut_shorter_than_asked_for_end_nothing(largest: int) -> None:
    shelf = Shelf([item(number) for number in range(120)], largest=largest)

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        ids = await closed_ids(irp_client)

    assert ids == [str(number) for number in range(120)]


async def test_a_list_that_shows_nothing_new_costs_one_request_and_a_second_now_and_then() -> None:
    shelf = Shelf([item(number) for number in range(5)])

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        rounds = []
        for _ in range(21):
            shelf.asked.clear()
            pages = [page async for page in irp_client.list_closed(NOW)]
            rounds.append((shelf.offsets, pages[-1].proven, len(pages[0].items)))

    proven, unchanged = ([0, 5], True, 5), ([0], False, 5)
    assert rounds == [proven, *[unchanged] * 9, proven, *[unchanged] * 9, proven]


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items.pop(),
        lambda items: items.append(item(99)),
        lambda items: items[0].update(resolution="Duplicate"),
        lambda items: items[0].update(updatedAt="2026-01-15T11:00:01Z"),
    ],
)
async def test_whatever_changed_in_a_list_has_it_read_to_its_end(change: Callable[[list[Any]], object]) -> None:
    shelf = Shelf([item(number) for number in range(5)])

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        for _ in range(2):
            await closed_ids(irp_client)
        change(shelf.items)
        pages = [page async for page in irp_client.list_closed(NOW)]

    assert pages[-1].proven


async def test_a_row_behind_a_page_that_tiny_servers_cut_is_found_within_ten_rounds() -> None:
    shelf = Shelf([item(number) for number in range(5)], largest=5)

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        await closed_ids(irp_client)
        shelf.items.append(item(99))
        rounds = [await closed_ids(irp_client) for _ in range(10)]

    assert "99" in rounds[-1]


@pytest.mark.parametrize("status", [204, 404, 416])
@pytest.mark.parametrize("count", [1, 20, 100, 200])
async def test_a_page_refused_as_none_behind_the_end_is_the_end(status: int, count: int) -> None:
    shelf = Shelf([item(number) for number in range(count)], past_end=status)

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        pages = [page async for page in irp_client.list_closed(NOW)]

    assert len([one for page in pages for one in page.items]) == count
    assert pages[-1].proven


@pytest.mark.parametrize("status", [400, 422])
async def test_another_refusal_behind_a_short_first_page_is_the_end_and_said_once(status: int) -> None:
    shelf = Shelf([item(number) for number in range(7)], past_end=status)

    with capture_logs() as logged:
        async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
            for _ in range(12):
                pages = [page async for page in irp_client.list_closed(NOW)]

    assert len(pages[0].items) == 7
    assert logged == [{"event": "irp_list_closed_ended_by_refusal", "log_level": "warning", "status": status}]


@pytest.mark.parametrize(("status", "count"), [(400, 100), (422, 120), (500, 7), (401, 7), (405, 100), (429, 7)])
async def test_any_other_failure_behind_a_page_fails_the_round_after_what_was_read(status: int, count: int) -> None:
    shelf = Shelf([item(number) for number in range(count)], past_end=status)
    ids: list[str] = []

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        with pytest.raises(RemoteError) as failed:  # noqa: PT012  # the pages before it count
            async for page in irp_client.list_closed(NOW):
                ids += [one.incident_id for one in page.items]

    assert len(ids) == count
    assert failed.value.status == status


@pytest.mark.parametrize("status", [204, 400, 404, 416])
async def test_a_first_page_that_is_refused_is_no_end(status: int) -> None:
    async with client(Irp((status, {}))) as irp_client:
        with pytest.raises(RemoteError):
            await closed_ids(irp_client)


@pytest.mark.parametrize("count", [101, 150, 350])
async def test_a_row_that_slips_onto_a_page_read_before_is_found(count: int) -> None:
    reopened = iter([17])
    shelf = Shelf(
        [item(number) for number in range(count)],
        moved=lambda items: [items.pop(position) for position in reopened],
    )

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        ids = await closed_ids(irp_client)

    assert sorted(map(int, ids)) == list(range(count))


async def test_a_resolution_given_while_the_list_is_read_is_the_one_that_counts() -> None:
    shelf = Shelf([item(number, resolution="") for number in range(150)])
    shelf.moved = lambda items: items[3].update(resolution="Duplicate") if len(shelf.asked) == 2 else None
    last: dict[str, str] = {}

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        async for page in irp_client.list_closed(NOW):
            last |= {one.incident_id: one.resolution for one in page.items}

    assert last["3"] == "Duplicate"


async def test_what_is_closed_while_the_list_is_read_keeps_no_reading_from_its_end() -> None:
    def more(items: list[Any]) -> None:
        if len(shelf.asked) % 3 == 2:
            items.append(item(len(items), updatedAt="2026-01-15T12:00:00Z"))

    shelf = Shelf([item(number) for number in range(150)], moved=more)

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        pages = [page async for page in irp_client.list_closed(NOW)]

    assert pages[-1].proven
    assert len(shelf.asked) < 12


async def test_a_list_that_moves_at_every_reading_is_given_up() -> None:
    earlier = "2026-01-15T10:00:00Z"
    shelf = Shelf(
        [item(number) for number in range(150)],
        moved=lambda items: items.insert(0, item(len(items), updatedAt=earlier)),
    )
    ids: list[str] = []

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        with pytest.raises(Transient, match="kept moving while it was read 5 times"):  # noqa: PT012  # as above
            async for page in irp_client.list_closed(NOW):
                ids += [one.incident_id for one in page.items]

    assert len(set(ids)) >= 150


async def test_a_server_that_ignores_the_offset_is_asked_twice_and_doubles_nothing() -> None:
    shelf = Shelf([item(number) for number in range(150)], ignore_offset=True)

    async with client(shelf) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        ids = await closed_ids(irp_client)

    assert ids == [str(number) for number in range(100)]
    assert len(shelf.asked) == 2


async def test_a_server_that_ignores_the_filter_closes_nothing_and_that_is_said_once() -> None:
    items = [item(1, status="open"), item(2), item(3, status=None), {"status": "closed"}, None, "x"]

    with capture_logs() as logged:
        async with client(Irp((200, {"items": items}))) as irp_client:
            first, second = await closed_ids(irp_client), await closed_ids(irp_client)

    assert first == second == ["2"]
    assert logged == [{"event": "irp_list_closed_shows_others", "log_level": "warning", "discarded": 5}]


async def test_a_page_without_a_new_id_is_the_last_even_if_it_is_full() -> None:
    page = (200, {"items": [item(7)] * 100})

    async with client(Irp(page)) as irp_client:
        ids = await closed_ids(irp_client)

    assert ids == ["7"]


async def test_an_incident_without_an_id_is_known_by_its_key() -> None:
    async with client(Irp((200, {"items": [item(1, id=None), item(2, updatedAt="soon", resolution=5)]}))) as irp_client:
        items = [one async for page in irp_client.list_closed(NOW) for one in page.items]

    assert items[0].incident_id == ""
    assert items[0].key == "kuma:kuma:1"
    assert (items[1].resolution, items[1].updated) == ("5", None)


async def test_a_time_without_a_zone_is_utc() -> None:
    async with client(Irp((200, {"items": [item(1, updatedAt="2026-01-15T11:00:00")]}))) as irp_client:
        items = [one async for page in irp_client.list_closed(NOW) for one in page.items]

    assert items[0].updated == datetime(2026, 1, 15, 11, tzinfo=UTC)


async def test_a_list_without_end_is_given_up_after_its_pages_were_handed_out() -> None:
    shelf = Shelf([item(number) for number in range(1000)])
    ids: list[str] = []

    async with client(shelf, most_pages=3) as irp_client:  # type: ignore[arg-type]  # it answers by what is asked
        with pytest.raises(Transient, match="did not end after 3 pages"):  # noqa: PT012  # the pages before it count
            async for page in irp_client.list_closed(NOW):
                ids += [one.incident_id for one in page.items]

    assert len(ids) == 300
    assert len(shelf.asked) == 3


@pytest.mark.parametrize("answer", [(200, {"total": 0}), (500, {}), (200, "text")])
async def test_a_page_that_is_none_fails_the_round(answer: tuple[int, object]) -> None:
    async with client(Irp(answer)) as irp_client:
        with pytest.raises(Transient):
            await closed_ids(irp_client)


async def test_pages_can_be_numbered() -> None:
    page = {"items": [item(number) for number in range(100)]}
    irp = Irp((200, page), (200, {"items": []}), (200, page))
    profile = changed_profile(('offset = "{{ offset }}"', 'page = "{{ page }}"'))

    async with client(irp, profile=profile) as irp_client:
        await closed_ids(irp_client)

    assert [line.rpartition("&")[2] for line in irp.lines] == ["page=1", "page=2", "page=1"]
