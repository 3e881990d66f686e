"""Facts about alerts: when two snapshots are the same, which events are kept, and how an event is recognised."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from builders import NOW, an_account, an_alert, an_asset, an_event, events, seen
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import (
    Alert,
    AlertSnapshot,
    Contents,
    JsonObject,
    canonical_json,
    event_digest,
    event_time,
    first_snapshot,
    take_contents,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=True) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
JSON_OBJECT = st.dictionaries(ANY_TEXT | st.sampled_from(["ID", "Timestamp"]), JSON, max_size=6)
MILLISECONDS = st.integers(0, 10)


def kept(given_events: Sequence[JsonObject], max_events: int) -> list[Any]:
    contents = take_contents(given_events, assets=(), accounts=(), max_events=max_events)
    return [event["ID"] for event in contents.events]


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"BaseEvents": [value]}
    return value


# Sameness


@given(st.permutations(events("a", "b", "c")), st.permutations([an_asset(id="1"), an_asset(id="2")]))
def test_the_order_of_events_and_assets_does_not_count(
    shuffled_events: list[dict[str, Any]], shuffled_assets: list[dict[str, Any]]
) -> None:
    as_listed = seen(events=events("a", "b", "c"), assets=[an_asset(id="1"), an_asset(id="2")])

    shuffled = seen(events=shuffled_events, assets=shuffled_assets)

    assert first_snapshot(shuffled).fingerprint == first_snapshot(as_listed).fingerprint


@given(st.permutations([an_account(cn="1"), an_account(cn="2"), an_account(cn="3")]))
def test_the_order_of_accounts_does_not_count(shuffled: list[dict[str, Any]]) -> None:
    as_listed = Contents(accounts=(an_account(cn="1"), an_account(cn="2"), an_account(cn="3")))

    assert Contents(accounts=tuple(shuffled)).affected == as_listed.affected


def test_an_asset_is_not_an_account() -> None:
    thing = {"name": "x"}

    assert Contents(assets=(thing,)).affected != Contents(accounts=(thing,)).affected


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Alert)])
def test_every_scalar_field_counts(field: str) -> None:
    before = an_alert()
    value = getattr(before, field)
    match value:
        case bool():
            other: Any = not value
        case datetime():
            other = value + timedelta(seconds=1)
        case _:
            other = f"{value}!"

    after = dataclasses.replace(before, **{field: other})

    assert AlertSnapshot(alert=after).fingerprint != AlertSnapshot(alert=before).fingerprint
    assert not AlertSnapshot(alert=before).same_scalars(after)


@pytest.mark.parametrize("field", ["first_seen", "last_seen"])
def test_a_missing_time_is_different_from_any_time(field: str) -> None:
    with_time, without = an_alert(), an_alert(**{field: None})

    assert AlertSnapshot(alert=with_time).fingerprint != AlertSnapshot(alert=without).fingerprint


def test_one_moment_in_two_zones_is_one_moment() -> None:
    moscow = NOW.astimezone(timezone(timedelta(hours=3)))

    in_utc, in_moscow = an_alert(last_seen=NOW), an_alert(last_seen=moscow)

    assert AlertSnapshot(alert=in_moscow).fingerprint == AlertSnapshot(alert=in_utc).fingerprint
    assert AlertSnapshot(alert=in_utc).same_scalars(in_moscow)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (seen(events=events("a")), seen(events=events("a", "b"))),
        (seen(events=events("a")), seen(events=events("a"), assets=[an_asset()])),
        (seen(assets=[an_asset()]), seen(assets=[an_asset(name="renamed")])),
        (seen(), seen(oversize=True)),
        (seen(), seen(events=[])),
    ],
    ids=["another event", "an asset", "an asset's field", "over the size limit", "contents read at last"],
)
def test_contents_count(before: Any, after: Any) -> None:
    assert first_snapshot(after).fingerprint != first_snapshot(before).fingerprint


def test_a_fingerprint_names_its_scheme_so_that_a_new_one_is_not_taken_for_a_change() -> None:
    assert AlertSnapshot(alert=an_alert()).fingerprint.startswith("1:")


@pytest.mark.parametrize(
    ("status", "closed"), [("new", False), ("assigned", False), ("escalated", False), ("closed", True), ("", False)]
)
def test_only_closed_is_closed(status: str, closed: bool) -> None:
    assert an_alert(status=status).closed is closed


# What a read adds to what is known


def test_a_listing_leaves_the_contents_as_they_were_known() -> None:
    known = first_snapshot(seen(events=events("a", "b"), assets=[an_asset()]))

    after = known.with_seen(seen(status="assigned"))

    assert (after.event_ids, after.affected) == (known.event_ids, known.affected)
    assert after.alert.status == "assigned"


def test_a_listing_that_shows_nothing_new_changes_nothing() -> None:
    known = first_snapshot(seen(events=events("a")))

    assert known.with_seen(seen()).fingerprint == known.fingerprint


def test_events_that_kuma_no_longer_shows_stay_counted() -> None:
    known = first_snapshot(seen(events=events("a", "b")))

    after = known.with_seen(seen(events=events("b", "c")))

    assert after.event_ids == {event_digest({"ID": name}) for name in "abc"}


def test_an_alert_that_grew_beyond_the_limit_keeps_what_was_known_of_its_contents() -> None:
    known = first_snapshot(seen(events=events("a"), assets=[an_asset()]))

    after = known.with_seen(seen(oversize=True))

    assert (after.event_ids, after.affected, after.oversize) == (known.event_ids, known.affected, True)
    assert after.with_seen(seen()).oversize


def test_an_alert_whose_contents_were_read_after_all_is_no_longer_oversize() -> None:
    known = first_snapshot(seen(oversize=True))

    after = known.with_seen(seen(events=events("a")))

    assert not after.oversize
    assert after.affected is not None


# The identity of an event


def test_an_event_is_known_by_its_id_whatever_else_it_says() -> None:
    assert event_digest(an_event(ID="a", Name="x")) == event_digest(an_event(ID="a", Name="y"))


def test_an_id_that_is_a_number_is_the_same_as_its_text() -> None:
    assert event_digest({"ID": 2**63}) == event_digest({"ID": str(2**63)})


@pytest.mark.parametrize("identity", ["", None, True, 1.5, [], {}])
def test_an_event_without_a_usable_id_is_known_by_all_it_says(identity: object) -> None:
    event = {"ID": identity, "Name": "x"}

    assert event_digest(event) == event_digest(dict(reversed(event.items())))
    assert event_digest(event) != event_digest(event | {"Name": "y"})


def test_an_id_cannot_be_mistaken_for_a_whole_event() -> None:
    nameless = {"Name": "x"}

    assert event_digest({"ID": canonical_json(nameless)}) != event_digest(nameless)


@given(JSON_OBJECT)
def test_no_event_that_json_can_hold_breaks_the_digest(event: dict[str, Any]) -> None:
    digest = event_digest(event)

    assert len(digest) == 16
    assert event_digest(dict(reversed(event.items()))) == digest


@given(st.lists(JSON_OBJECT, max_size=5), st.lists(JSON_OBJECT, max_size=3), st.integers(0, 3))
def test_no_contents_that_json_can_hold_break_the_picture(
    some_events: list[dict[str, Any]], some_things: list[dict[str, Any]], max_events: int
) -> None:
    contents = take_contents(some_events, assets=some_things, accounts=some_things, max_events=max_events)

    assert Contents(assets=contents.assets, accounts=contents.accounts).affected == contents.affected
    assert len(contents.events) == (min(max_events, len(contents.event_ids)) if max_events else len(contents.event_ids))


def test_base_events_nested_two_hundred_deep_are_digested() -> None:
    assert event_digest(nested(200)) != event_digest(nested(201))


def test_integers_beyond_a_double_stay_apart() -> None:
    assert event_digest({"BytesIn": 2**63 - 1}) != event_digest({"BytesIn": 2**63 - 2})


def test_what_is_no_json_is_refused_rather_than_guessed_at() -> None:
    with pytest.raises(TypeError, match="cannot be digested: set"):
        canonical_json({"x": {1}})


# Which events are kept


@pytest.mark.parametrize(
    ("stamps", "max_events", "expected"),
    [
        ({"a": 1, "b": 2, "c": 3}, 2, ["b", "c"]),
        ({"c": 3, "a": 1, "b": 2}, 2, ["c", "b"]),  # KUMA's order stays
        ({"a": 1, "b": 2, "c": 3}, 0, ["a", "b", "c"]),  # 0 = all
        ({"a": 1, "b": 2, "c": 3}, 3, ["a", "b", "c"]),
        ({"a": 1, "b": 2, "c": 3}, 4, ["a", "b", "c"]),
        ({"a": 5, "b": 5, "c": 5}, 2, ["b", "c"]),  # a tie: the later ones in KUMA's order
        ({"a": None, "b": 1, "c": "rubbish"}, 1, ["b"]),  # unknown is oldest
        ({"a": "2026-01-15T12:00:01Z", "b": 1768478400000, "c": "2026-01-15T12:00:02Z"}, 2, ["a", "c"]),
        ({"a": "2026-01-15T12:00:01Z", "b": 1768478402500, "c": "2026-01-15T15:00:02+03:00"}, 2, ["b", "c"]),
        ({"a": float("nan"), "b": 3, "c": float("nan"), "d": 2}, 2, ["b", "d"]),
        ({"a": 10**400, "b": 3, "c": 2}, 2, ["b", "c"]),
    ],
)
def test_the_newest_events_are_kept_in_kumas_order(
    stamps: dict[str, object], max_events: int, expected: list[str]
) -> None:
    given_events = [{"ID": event_id, "Timestamp": stamp} for event_id, stamp in stamps.items()]

    assert kept(given_events, max_events) == expected


@given(st.lists(MILLISECONDS, min_size=1, max_size=8), st.integers(1, 8))
def test_nothing_left_out_is_newer_than_anything_kept(stamps: list[int], max_events: int) -> None:
    given_events = [{"ID": position, "Timestamp": stamp} for position, stamp in enumerate(stamps)]

    chosen = kept(given_events, max_events)

    left_out = [stamp for position, stamp in enumerate(stamps) if position not in chosen]
    assert chosen == sorted(chosen)
    assert len(chosen) == min(max_events, len(stamps))
    assert max(left_out, default=0) <= min(stamps[position] for position in chosen)


def test_all_distinct_events_are_counted_although_only_some_are_kept() -> None:
    contents = take_contents(events("a", "b", "a", "c"), assets=(), accounts=(), max_events=1)

    assert [event["ID"] for event in contents.events] == ["c"]
    assert len(contents.event_ids) == 3


def test_an_event_given_twice_is_kept_once() -> None:
    assert kept(events("a", "b", "a"), 0) == ["a", "b"]


@pytest.mark.parametrize(
    ("stamp", "milliseconds"),
    [
        (1704067200000, 1704067200000.0),
        (1704067200000.5, 1704067200000.5),
        ("2024-01-01T00:00:00Z", 1704067200000.0),
        ("2024-01-01T03:00:00.250+03:00", 1704067200250.0),
        ("2024-01-01T00:00:00.123456789Z", 1704067200123.456),
        ("2024-01-01T00:00:00", 1704067200000.0),  # without a zone: UTC
        ("0001-01-01T00:00:00Z", 0.0),  # Go's never-set time
        ("0001-01-01T00:00:00+14:00", 0.0),
        ("yesterday", 0.0),
        ("\ud800", 0.0),
        ("", 0.0),
        (True, 0.0),
        (None, 0.0),
        ([1], 0.0),
        (10**400, 0.0),
        (float("inf"), 0.0),
        (float("nan"), 0.0),
    ],
)
def test_a_timestamp_is_read_from_a_number_or_from_text(stamp: object, milliseconds: float) -> None:
    assert event_time({"Timestamp": stamp}) == milliseconds


def test_an_event_without_timestamp_is_the_oldest() -> None:
    assert event_time({}) == 0.0
