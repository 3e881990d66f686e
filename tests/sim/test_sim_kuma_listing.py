"""KUMA's listing over a real socket: paging, order, filters, forms, and every knob that changes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from kuma_sync.sim.content import tenant_id
from kuma_sync.sim.kuma import KumaSim

KEYS = [
    "id",
    "tenantID",
    "tenantName",
    "name",
    "correlationRuleID",
    "priority",
    "status",
    "firstSeen",
    "lastSeen",
    "assignee",
    "closingReason",
    "overflow",
    "events",
    "affectedAssets",
    "affectedAccounts",
]


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [alert["id"] for alert in answer.json()]


@pytest.mark.parametrize("version", ["v1", "v2", "v2.1", "v3"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_version_lists_a_bare_array_of_fifteen_keys(reach, version, slash):
    kuma = KumaSim()
    id_ = kuma.raise_alert()

    async with reach(kuma) as client:
        answer = await client.get(f"/api/{version}/alerts{slash}?status=new")

    [alert] = answer.json()
    assert list(alert) == KEYS
    assert (alert["id"], alert["events"], alert["affectedAssets"]) == (id_, [], [])
    assert answer.headers["content-type"] == "application/json"


async def test_pages_hold_250_newest_first_and_the_one_past_the_end_is_empty(reach):
    kuma = KumaSim()
    for second in range(260):
        kuma.raise_alert(seen=f"2025-03-01T08:{second // 60:02d}:{second % 60:02d}Z", events=0)

    async with reach(kuma) as client:
        pages = [(await client.get(f"/api/v1/alerts/?page={page}")).json() for page in (1, 2, 3)]

    seen = [alert["lastSeen"] for page in pages for alert in page]
    assert [len(page) for page in pages] == [250, 10, 0]
    assert seen == sorted(seen, reverse=True)


async def test_alerts_of_one_second_come_in_the_same_order_every_time(reach):
    kuma = KumaSim()
    everyone = sorted(kuma.raise_alert(seen="2025-03-01T08:00:00Z", events=0) for _ in range(20))

    async with reach(kuma) as client:
        first, second = await client.get("/api/v1/alerts"), await client.get("/api/v1/alerts")

    assert ids(first) == ids(second) == everyone


async def test_growth_moves_an_alert_up_by_last_seen_but_not_by_first_seen(reach, clock):
    kuma = KumaSim(clock=clock)
    old = kuma.raise_alert()
    clock.forward(5)
    young = kuma.raise_alert()
    clock.forward(5)
    kuma.grow(old)

    async with reach(kuma) as client:
        by_last = await client.get("/api/v1/alerts/")
        by_first = await client.get("/api/v1/alerts/?timestampField=firstSeen")

    assert ids(by_last) == [old, young]
    assert ids(by_first) == [young, old]


async def test_from_and_to_are_inclusive_at_both_ends(reach):
    kuma = KumaSim()
    for minute in range(5):
        kuma.raise_alert(id=str(minute), seen=f"2025-03-01T08:0{minute}:00Z")

    async with reach(kuma) as client:
        window = await client.get("/api/v1/alerts/?from=2025-03-01T08:01:00.000Z&to=2025-03-01T11:03:00%2B03:00")

    assert ids(window) == ["3", "2", "1"]


async def test_filters_repeat_as_or_and_combine_as_and(reach):
    kuma = KumaSim()
    here = kuma.raise_alert(name="Мой алерт {1}", tenant="Main")
    there = kuma.raise_alert(name="мой другой", tenant="Филиал Казань")
    closed = kuma.raise_alert(name="Third", tenant="Main")
    kuma.close(closed)

    async with reach(kuma) as client:

        async def found(**params) -> set[str]:
            return set(ids(await client.get("/api/v1/alerts/", params=params)))

        assert await found(status=["new", "closed"]) == {here, there, closed}
        assert await found(status="new", tenantID=tenant_id("Main")) == {here}
        assert await found(tenantID=[tenant_id("Main"), tenant_id("Филиал Казань")]) == {here, there, closed}
        assert await found(tenantID="nobody's") == set()
        assert await found(name="^МОЙ") == {here, there}
        assert await found(id=[here, closed, "unknown"]) == {here, closed}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("page=0", "invalid query parameter value"),
        ("page=x", "invalid query parameter value"),
        ("name=(", "invalid query parameter value"),
        ("status=open", "invalid status"),
        ("timestampField=updatedAt", "invalid timestamp field"),
        ("from=2025-03-01", "cannot parse from"),
        ("from=2025-03-01T08:00:00+03:00", "cannot parse from"),
        ("to=now", "cannot parse to"),
        ("from=2025-03-02T00:00:00Z&to=2025-03-01T00:00:00Z", "from cannot be greater than to"),
    ],
)
async def test_a_bad_query_is_refused_in_kumas_words(reach, query, message):
    async with reach(KumaSim()) as client:
        answer = await client.get(f"/api/v1/alerts/?{query}")

    assert (answer.status_code, answer.json()["message"]) == (400, message)


async def test_flags_are_on_by_being_there_whatever_they_say(reach):
    kuma = KumaSim()
    kuma.raise_alert(events=3)

    async with reach(kuma) as client:
        [full] = (await client.get("/api/v1/alerts/?withEvents=false&withAffected")).json()

    assert len(full["events"]) == 3
    assert full["events"][0]["BaseEventCount"] == len(full["events"][0]["BaseEvents"]) >= 1
    assert full["affectedAssets"][0]["fqdn"].endswith(".example.test")
    assert full["affectedAccounts"]


async def test_content_is_seeded_and_full_of_what_breaks_parsers(reach):
    alike = [KumaSim(seed=7), KumaSim(seed=7), KumaSim(seed=8)]
    for kuma in alike:
        kuma.raise_alert(seen="2025-03-01T08:00:00Z", events=30)
    first, second, other = (list(kuma.alerts.values()) for kuma in alike)

    async with reach(alike[0]) as client:
        text = (await client.get("/api/v1/alerts/?withEvents&withAffected")).text

    assert first == second != other
    assert json.loads(text) == first
    assert all(part in text for part in ("}]", '\\"', "\\\\", "Неверный пароль"))
    assert max(event.get("BytesOut", 0) for one in first[0]["events"] for event in one["BaseEvents"]) > 2**53


async def test_what_was_shown_is_remembered_only_for_answers_sent_whole(reach):
    kuma = KumaSim()
    kuma.raise_alert(id="cut")
    kuma.faults.add("cut", times=1)

    async with reach(kuma) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/api/v1/alerts/?withEvents")
        shown_after_cut = set(kuma.shown)
        await client.get("/api/v1/alerts/")

    assert shown_after_cut == set()
    assert kuma.shown == {"cut"}
    assert [(seen.status, seen.complete) for seen in kuma.requests] == [(200, False), (200, True)]


async def test_the_page_size_knob_cuts_smaller_pages(reach):
    kuma = KumaSim()
    for _ in range(5):
        kuma.raise_alert(events=0)
    kuma.knobs.page_size = 2

    async with reach(kuma) as client:
        sizes = [len((await client.get(f"/api/v1/alerts/?page={page}")).json()) for page in (1, 2, 3, 4)]

    assert sizes == [2, 2, 1, 0]


async def test_a_row_hidden_after_the_cut_leaves_its_page_short_and_the_next_as_it_is(reach):
    kuma = KumaSim()
    ids = sorted(kuma.raise_alert(events=0, seen=kuma.clock()) for _ in range(5))
    kuma.knobs.page_size, kuma.knobs.hidden = 2, {ids[0]}

    async with reach(kuma) as client:
        pages = [(await client.get(f"/api/v1/alerts/?page={page}")).json() for page in (1, 2, 3, 4)]
        by_id = (await client.get(f"/api/v1/alerts/?id={ids[0]}")).json()

    assert [len(page) for page in pages] == [1, 2, 1, 0]
    assert by_id == []


async def test_only_v3_leaves_the_other_versions_not_found(reach):
    kuma = KumaSim()
    kuma.knobs.only_v3 = True

    async with reach(kuma) as client:
        versions = ("v1", "v2", "v2.1", "v3", "v9")
        codes = [(await client.get(f"/api/{version}/alerts/")).status_code for version in versions]
        close = await client.post("/api/v1/alerts/close", json={})
        whoami = await client.get("/api/v1/users/whoami")

    assert codes == [404, 404, 404, 200, 404]
    assert (close.status_code, whoami.status_code) == (404, 404)


async def test_slash_redirects_go_either_way_and_keep_the_query(reach):
    kuma = KumaSim()

    async with reach(kuma) as client:
        kuma.knobs.slash_redirect = "add"
        added = await client.get("/api/v1/alerts?withEvents&page=2")
        kuma.knobs.slash_redirect, kuma.knobs.redirect_status = "drop", 301
        dropped = await client.get("/api/v1/alerts/?page=2")
        straight = await client.get("/api/v1/alerts?page=2")

    assert (added.status_code, added.headers["location"]) == (307, "/api/v1/alerts/?withEvents&page=2")
    assert (dropped.status_code, dropped.headers["location"]) == (301, "/api/v1/alerts?page=2")
    assert straight.status_code == 200


async def test_an_empty_page_can_be_null(reach):
    kuma = KumaSim()
    kuma.raise_alert()
    kuma.knobs.past_end_null = True

    async with reach(kuma) as client:
        full, past = await client.get("/api/v1/alerts/"), await client.get("/api/v1/alerts/?page=2")

    assert len(full.json()) == 1
    assert past.text == "null"


async def test_a_clamped_page_number_gives_the_first_page_for_ever(reach):
    kuma = KumaSim()
    kuma.raise_alert()
    kuma.knobs.clamp_page = True

    async with reach(kuma) as client:
        first, far = await client.get("/api/v1/alerts/"), await client.get("/api/v1/alerts/?page=9")

    assert ids(first) == ids(far) != []


async def test_the_hook_runs_between_pages_and_not_for_reads_by_id(reach, clock):
    kuma = KumaSim(clock=clock)
    kuma.knobs.page_size = 1
    victim = kuma.raise_alert(id="b")
    kuma.raise_alert(id="a")
    calls: list[int] = []

    def close_one(page: int) -> None:
        calls.append(page)
        if page == 1:
            kuma.close("a")

    kuma.knobs.after_page = close_one
    async with reach(kuma) as client:
        pages = [ids(await client.get(f"/api/v1/alerts/?status=new&page={page}")) for page in (1, 2)]
        await client.get(f"/api/v1/alerts/?id={victim}")

    assert pages == [["a"], []]
    assert calls == [1, 2]


@pytest.mark.parametrize(("form", "expected"), [("[]", []), ("null", None), ("absent", "nothing")])
async def test_events_not_asked_for_take_three_forms(reach, form, expected):
    kuma = KumaSim()
    kuma.raise_alert()
    kuma.knobs.without_events = form

    async with reach(kuma) as client:
        [alert] = (await client.get("/api/v1/alerts/")).json()

    assert alert.get("events", "nothing") == expected


async def test_values_take_their_other_documented_forms(reach):
    kuma = KumaSim()
    id_ = kuma.raise_alert(priority="high", events=2, seen="2025-03-01T08:00:00Z")
    base_events = sum(len(event["BaseEvents"]) for event in kuma.alerts[id_]["events"])
    knobs = kuma.knobs
    knobs.numeric_priority = knobs.fraction_seconds = knobs.fqdn_array = True
    knobs.flat_events = knobs.rfc3339_event_time = True

    async with reach(kuma) as client:
        [alert] = (await client.get("/api/v1/alerts/?withEvents&withAffected")).json()
        again = await client.get(f"/api/v1/alerts/?from={alert['lastSeen']}&to={alert['lastSeen']}")

    assert 9 <= alert["priority"] <= 12
    assert alert["lastSeen"].startswith("2025-03-01T08:00:00.")
    assert isinstance(alert["affectedAssets"][0]["fqdn"], list)
    assert len(alert["events"]) == 2 + base_events
    assert all(event.get("BaseEvents") is None for event in alert["events"])
    assert alert["events"][0]["Timestamp"] == "2025-03-01T08:00:00.000Z"
    assert ids(again) == [id_]
    assert kuma.alerts[id_]["priority"] == "high"


async def test_strays_stand_on_the_first_page_of_a_listing_only(reach):
    kuma = KumaSim()
    id_ = kuma.raise_alert()
    kuma.knobs.strays = [None, 17, {"name": "без id"}]

    async with reach(kuma) as client:
        first, second = await client.get("/api/v1/alerts/"), await client.get("/api/v1/alerts/?page=2")
        by_id = await client.get(f"/api/v1/alerts/?id={id_}")

    assert first.json()[:3] == kuma.knobs.strays
    assert first.json()[3]["id"] == id_
    assert second.json() == []
    assert ids(by_id) == [id_]


async def test_bytes_can_be_escaped_compressed_and_cut_small_without_changing_the_values(reach):
    kuma = KumaSim()
    kuma.raise_alert(name="R077. <EPP> & друзья", events=2)
    knobs = kuma.knobs

    async with reach(kuma) as client:
        plain = await client.get("/api/v1/alerts/?withEvents", headers={"accept-encoding": "gzip"})
        knobs.html_escape = knobs.gzip = True
        knobs.piece = 1
        odd = await client.get("/api/v1/alerts/?withEvents", headers={"accept-encoding": "gzip"})
        knobs.content_type = "text/plain"
        other = await client.get("/api/v1/alerts/?withEvents", headers={"accept-encoding": "identity"})

    assert "<EPP> &" in plain.text
    assert "\\u003cEPP\\u003e \\u0026" in odd.text
    assert odd.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in {**plain.headers, **other.headers}
    assert other.headers["content-type"].startswith("text/plain")
    assert plain.json() == odd.json() == other.json()


async def test_pieces_cut_through_characters(reach):
    kuma = KumaSim()
    kuma.raise_alert(name="Я", events=0)
    kuma.knobs.piece = 1

    async with reach(kuma) as client, client.stream("GET", "/api/v1/alerts/") as answer:
        chunks = [chunk async for chunk in answer.aiter_raw(1)]

    assert len(chunks) > 100
    assert any(chunk == "Я".encode()[:1] for chunk in chunks)


async def test_the_date_header_is_kumas_clock_with_its_skew(reach, clock):
    kuma = KumaSim(clock=clock)
    kuma.knobs.clock_skew = -90

    async with reach(kuma) as client:
        answer = await client.get("/api/v1/alerts/")

    assert answer.headers.get_list("date") == [answer.headers["date"]]
    assert parsedate_to_datetime(answer.headers["date"]) == datetime(2025, 3, 1, 8, 13, 32, tzinfo=UTC)
