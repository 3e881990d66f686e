"""What becomes of an alert's JSON, above all of the kinds that KUMA should not send."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kuma_sync.core.alert import Alert, AlertId, Contents, first_snapshot
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.privacy import Privacy
from kuma_sync.kuma.parse import Parsed, parse_alert

WHOLE = {
    "id": "5f0c2a3e-6b1d-4a77-9c55-2b7f0e4d1a01",
    "tenantID": "1a2b3c4d-0000-4000-8000-000000000001",
    "tenantName": "Главный",
    "name": "R001. Подбор пароля",
    "correlationRuleID": "c0ffee00-1111-4222-8333-444455556666",
    "priority": "High",
    "status": "New",
    "firstSeen": "2025-03-01T08:15:02Z",
    "lastSeen": "2025-03-01T09:41:37Z",
    "assignee": "",
    "closingReason": "",
    "overflow": True,
    "events": [{"ID": "e1", "Timestamp": 1740816902000, "BytesIn": 9223372036854775807}],
    "affectedAssets": [{"id": "a1", "fqdn": ["dc01.example.test"]}],
    "affectedAccounts": [{"cn": "svc-backup"}],
}


def parsed(value: object, *, with_events: bool = True, max_events: int = 0) -> Parsed:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    found = parse_alert(raw, with_events=with_events, max_events=max_events, privacy=Privacy())
    assert isinstance(found, Parsed)
    return found


def contents(value: object) -> Contents:
    found = parsed(value).seen.contents
    assert found is not None
    return found


def test_the_alert_as_it_came_is_kept_without_its_lists_and_is_no_part_of_any_digest():
    odd = {**WHOLE, "priority": [1], "newInVersion5": {"score": 7}}
    kept = contents(odd)

    lists = ("events", "affectedAssets", "affectedAccounts")
    assert kept.raw == {key: value for key, value in odd.items() if key not in lists}
    each = [parsed(one).seen for one in (WHOLE, {**WHOLE, "newInVersion5": 1}, {**WHOLE, "newInVersion5": 2})]
    assert len({first_snapshot(seen).fingerprint for seen in each}) == 1


def test_a_whole_alert_is_read_field_for_field():
    found = parsed(WHOLE)

    assert found.left_out == ()
    assert found.seen.alert == Alert(
        id=AlertId("5f0c2a3e-6b1d-4a77-9c55-2b7f0e4d1a01"),
        tenant_id="1a2b3c4d-0000-4000-8000-000000000001",
        tenant_name="Главный",
        name="R001. Подбор пароля",
        rule_id="c0ffee00-1111-4222-8333-444455556666",
        priority="high",
        status="new",
        first_seen=datetime(2025, 3, 1, 8, 15, 2, tzinfo=UTC),
        last_seen=datetime(2025, 3, 1, 9, 41, 37, tzinfo=UTC),
        overflow=True,
    )
    assert list(contents(WHOLE).events) == WHOLE["events"]
    assert list(contents(WHOLE).assets) == WHOLE["affectedAssets"]
    assert list(contents(WHOLE).accounts) == WHOLE["affectedAccounts"]


def test_a_listing_has_no_contents():
    assert parsed(WHOLE, with_events=False).seen.contents is None


def test_only_the_newest_events_are_kept_and_all_are_counted():
    events = [{"ID": str(n), "Timestamp": n} for n in (3, 1, 4, 2)]

    found = parsed({"id": "a", "events": events}, max_events=2).seen.contents

    assert found is not None
    assert [event["ID"] for event in found.events] == ["3", "4"]
    assert len(found.event_ids) == 4


@pytest.mark.parametrize(
    "empty", [{}, {"events": None, "affectedAssets": None}, {"events": [], "affectedAccounts": []}]
)
def test_null_absent_and_empty_are_the_same(empty):
    found = parsed({"id": "a", "overflow": None, "priority": None, "firstSeen": None, **empty})

    assert found.seen.alert == Alert(id=AlertId("a"))
    assert found.seen.contents == Contents(raw={"id": "a", "overflow": None, "priority": None, "firstSeen": None})
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'"text"', "not an object"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b"{}", "no usable id"),
        (b'{"id":""}', "no usable id"),
        (b'{"id":"  "}', "no usable id"),
        (b'{"id":null}', "no usable id"),
        (b'{"id":true}', "no usable id"),
        (b'{"id":["a"]}', "no usable id"),
        (b'{"id":NaN}', "no usable id"),
        (b'{"id":"a\\u0000"}', "no usable id"),
        (b'{"id":"\\ud800"}', "no usable id"),
        (b'{"id":"' + b"x" * 201 + b'"}', "no usable id"),
        (b'{"id":' + b"9" * 5000 + b"}", "no usable id"),
        (b'{"id":"a"', "not valid JSON"),
        (b'{"id":"a"}]', "not valid JSON"),
        (b"{" * 100_000, "not valid JSON"),
        (b"[" * 100_000 + b'"', "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_only_what_is_no_object_or_has_no_id_is_rejected(raw, reason):
    found = parse_alert(raw, with_events=True, max_events=0, privacy=Privacy())

    assert found == Rejected(digest="sha256:" + hashlib.sha256(raw).hexdigest(), reason=reason, raw=raw)


@pytest.mark.parametrize(("value", "text"), [(42, "42"), (" a ", "a"), (2**70, str(2**70)), (1.5, "1.5")])
def test_an_id_becomes_text(value, text):
    assert parsed({"id": value}).seen.alert.id == text


@pytest.mark.parametrize(
    ("value", "priority"),
    [
        (1, "low"),
        (4, "low"),
        (5, "medium"),
        (8, "medium"),
        (9, "high"),
        (12.0, "high"),
        (13, "critical"),
        (16, "critical"),
        ("CRITICAL ", "critical"),
        ("unheard-of", "unheard-of"),
    ],
)
def test_a_priority_is_a_name_or_a_number_in_four_bands(value, priority):
    one, named = (parsed({"id": "a", "priority": given}) for given in (value, priority))
    assert (one.seen.alert, one.left_out) == (named.seen.alert, named.left_out)
    assert one.seen.alert.priority == priority


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2025-03-01T08:15:02Z", datetime(2025, 3, 1, 8, 15, 2, tzinfo=UTC)),
        ("2025-03-01T11:15:02.123456789+03:00", datetime(2025, 3, 1, 8, 15, 2, 123456, tzinfo=UTC)),
        ("2025-03-01T08:15:02", datetime(2025, 3, 1, 8, 15, 2, tzinfo=UTC)),
        (1740816902000, datetime(2025, 3, 1, 8, 15, 2, tzinfo=UTC)),
        ("", None),
        ("0001-01-01T00:00:00Z", None),
    ],
)
def test_a_time_is_text_or_epoch_milliseconds(value, moment):
    found = parsed({"id": "a", "lastSeen": value})

    assert found.seen.alert.last_seen == moment
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lastSeen", "yesterday"),
        ("lastSeen", True),
        ("lastSeen", 10**30),
        ("lastSeen", [1]),
        ("firstSeen", "1601-01-01"),
        ("firstSeen", "0001-01-01T00:00:00+03:00"),
        ("priority", 0),
        ("priority", 17),
        ("priority", True),
        ("priority", {}),
        ("name", 5),
        ("status", []),
        ("overflow", "yes"),
        ("events", {}),
        ("events", "x"),
        ("affectedAssets", 1),
        ("events[]", ["no object"]),
        ("affectedAccounts[]", [None]),
    ],
)
def test_a_bad_field_is_left_out_and_named_and_the_rest_stays(key, value):
    found = parsed({"id": "a", "tenantName": "Main", key.removesuffix("[]"): value})

    assert found.seen.alert == Alert(id=AlertId("a"), tenant_name="Main")
    assert found.seen.contents is not None
    assert replace(found.seen.contents, raw={}) == Contents()
    assert found.left_out == (key,)


def test_every_event_that_is_no_object_is_counted_and_its_neighbours_stay():
    found = parsed({"id": "a", "events": [None, {"ID": "1"}, "x", 5, {"ID": "2"}]})

    assert found.left_out == ("events[]",) * 3
    assert [event["ID"] for event in contents({"id": "a", "events": [None, {"ID": "1"}, {"ID": "2"}]}).events] == [
        "1",
        "2",
    ]


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000])
def test_a_number_that_nothing_can_carry_becomes_null(number):
    found = parsed(b'{"id":"a","events":[{"ID":"1","Timestamp":' + number + b"}]}", max_events=1)

    assert found.left_out == ("a number",)
    assert found.seen.contents is not None
    assert list(found.seen.contents.events) == [{"ID": "1", "Timestamp": None}]


def test_text_that_no_database_can_carry_is_replaced():
    found = parsed(
        b'{"id":"a","name":"x\\ud800y","tenantName":"nul\\u0000","events":[{"ID":"1","M":"\\ud83d\\ude00"}]}'
    )

    assert (found.seen.alert.name, found.seen.alert.tenant_name) == ("x\ufffdy", "nul\ufffd")
    assert found.left_out == ("half a character",)
    assert found.seen.contents is not None
    assert list(found.seen.contents.events) == [{"ID": "1", "M": "😀"}]


def test_broken_utf8_is_replaced_and_named():
    found = parsed(b'{"id":"a","name":"x\xff\xed\xa0\x80y"}')

    assert found.seen.alert.name.startswith("x\ufffd")
    assert found.left_out == ("broken UTF-8",)


@pytest.mark.parametrize("depth", [70, 900, 50_000])
def test_what_is_nested_too_deeply_is_left_out_and_the_alert_stays(depth):
    deep = b'{"k":' * depth + b"1" + b"}" * depth

    found = parsed(b'{"id":"a","events":[{"Extra":' + deep + b',"Name":"kept"}],"name":"after"}')

    assert found.seen.alert.name == "after"
    assert found.left_out == ("deeper values",)
    assert found.seen.contents is not None
    assert found.seen.contents.events[0]["Name"] == "kept"


def test_duplicate_keys_and_raw_control_characters_do_no_harm():
    found = parsed(b'{"id":"first","id":"last","name":"tab\there"}')

    assert (found.seen.alert.id, found.seen.alert.name) == ("last", "tab\there")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WHOLE, "x"]), inner, max_size=8),
    max_leaves=25,
)


@settings(deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), st.booleans(), st.integers(0, 3))
def test_nothing_makes_it_raise_and_what_it_returns_can_be_stored(raw, with_events, max_events):
    found = parse_alert(raw, with_events=with_events, max_events=max_events, privacy=Privacy())

    if isinstance(found, Parsed):
        json.dumps(
            list(found.seen.contents.events) if found.seen.contents else [], allow_nan=False, ensure_ascii=False
        ).encode()
        assert found.seen.alert.id
        assert "\x00" not in found.seen.alert.name
