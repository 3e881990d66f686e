"""Which fields `[privacy]` hides, how a masked value looks, and that nothing else changes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from builders import an_account, an_asset, an_event
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import canonical_json, event_digest
from kuma_sync.core.privacy import STAYS, Privacy

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
CANARY = "canary-4717"
NAMES = ("SourceUserName", "FilePassword", "BaseEvents", "Extra", "displayName", "Message", "ID", "Timestamp")


def hidden(value: Any, *, drop: tuple[str, ...] = (), mask: tuple[str, ...] = (), key: bytes = KEY) -> Any:
    copied = json.loads(json.dumps(value))
    Privacy(drop=drop, mask=mask, key=key).hide(copied)
    return copied


def test_a_dropped_field_is_gone_at_every_depth_and_its_neighbours_are_not() -> None:
    inner = an_event(ID="inner", SourceUserName="petrov")
    event = an_event(SourceUserName="ivanov", BaseEvents=[inner, [inner]], Extra={"SourceUserName": "x", "kept": 1})

    shown = hidden(event, drop=("SourceUserName",))

    assert "SourceUserName" not in canonical_json(shown)
    assert shown["Name"] == event["Name"]
    assert shown["BaseEvents"][0]["ID"] == "inner"
    assert shown["Extra"] == {"kept": 1}


@pytest.mark.parametrize(
    ("pattern", "name", "gone"),
    [
        ("SourceUserName", "SourceUserName", True),
        ("sourceusername", "SourceUserName", True),
        ("*password*", "OldPasswordHash", True),
        ("*Password*", "password", True),
        ("Source*", "SourceAddress", True),
        ("Source*", "DestinationSource", False),
        ("?ource", "Source", True),
        ("UserName", "SourceUserName", False),
        ("*имя*", "ПолноеИмя", True),
        ("a.c", "abc", False),
    ],
)
def test_names_are_compared_whole_and_without_case(pattern: str, name: str, gone: bool) -> None:
    assert (name not in hidden({name: "x"}, drop=(pattern,))) is gone


def test_what_tells_events_apart_and_orders_them_stays_whatever_a_wildcard_says() -> None:
    event = an_event()

    assert hidden(event, drop=("*",)) == {name: event[name] for name in ("ID", "Timestamp")}
    assert event_digest(hidden(event, mask=("*",))) == event_digest(event)


def test_a_field_that_is_to_be_dropped_and_masked_is_dropped() -> None:
    assert hidden({"a": "x"}, drop=("a",), mask=("a",)) == {}


def test_equal_values_have_equal_masks_in_whatever_field_and_only_with_the_same_key() -> None:
    event = {"SourceUserName": "ivanov", "DestinationUserName": "ivanov", "SourcePort": 22, "DeviceCustomNumber1": "22"}

    one, again, other = (hidden(event, mask=("*",), key=key) for key in (KEY, KEY, OTHER_KEY))

    assert one == again
    assert one["SourceUserName"] == one["DestinationUserName"] != other["SourceUserName"]
    assert one["SourcePort"] == one["DeviceCustomNumber1"] != one["SourceUserName"]
    assert one["SourceUserName"].startswith("masked-")
    assert len(one["SourceUserName"]) == len("masked-") + 20


def test_empty_values_stay_empty_lists_are_masked_one_by_one_and_objects_whole() -> None:
    value = {"a": None, "b": "", "c": [], "d": {}, "e": ["x", "", "x"], "f": {"g": "x"}, "h": False, "i": 0}

    shown = hidden(value, mask=("?",))

    assert {name: shown[name] for name in "abcd"} == {"a": None, "b": "", "c": [], "d": {}}
    assert shown["e"][0] == shown["e"][2] != shown["e"][1] == ""
    assert isinstance(shown["f"], str)
    assert all(shown[name].startswith("masked-") for name in "fhi")


def test_what_is_masked_is_not_masked_again() -> None:
    once = hidden({"a": "x", "b": [{"a": "y"}]}, mask=("a",))

    assert hidden(once, mask=("a",)) == once
    assert hidden(once, mask=("a", "b")) != once


def test_of_an_alert_its_own_fields_stay_and_all_that_is_inside_them_goes() -> None:
    item = {"id": "a", "name": "R001", "status": "new", "assignee": "анна", "odd": "x", "priority": {"name": "x"}}
    item |= {"events": [an_event(Name="x")], "affectedAssets": [an_asset()], "affectedAccounts": [an_account()]}

    Privacy(drop=("name", "*e", "odd", "events")).hide_in_alert(item)

    assert {name: item[name] for name in ("id", "name", "assignee")} == {"id": "a", "name": "R001", "assignee": "анна"}
    assert "odd" not in item
    assert item["priority"] == {}
    assert item["events"][0].keys() == an_event().keys() - {"Name", "Type", "DestinationUserName"}
    assert item["affectedAssets"][0].keys() == an_asset().keys() - {"name"}


def test_a_piece_that_is_no_json_is_not_kept_and_another_without_its_fields() -> None:
    privacy = Privacy(drop=("SourceUserName",))

    assert privacy.hidden_piece(b'[{"SourceUserName": "x", "b": 1}]') == b'[{"b":1}]'
    assert [privacy.hidden_piece(piece) for piece in (b'{"SourceUserName": "iva', b'"ivanov"', b"\xff", b"")] == [
        b""
    ] * 4
    assert Privacy().hidden_piece(b'{"SourceUserName": "iva') == b'{"SourceUserName": "iva'


def test_a_mask_without_a_key_fails_and_shows_nothing() -> None:
    with pytest.raises(ValueError, match="needs a key"):
        Privacy(mask=("a",)).hide({"a": CANARY})


def test_what_stands_for_the_names_is_equal_for_equal_ones() -> None:
    assert Privacy(drop=("a", "B")).mark == Privacy(drop=("b", "a", "A")).mark
    assert len({Privacy(drop=("a",)).mark, Privacy(mask=("a",)).mark, Privacy().mark}) == 3


def test_names_that_never_end_take_no_more_than_some_room() -> None:
    privacy = Privacy(drop=("*7",))

    for start in range(0, 60_000, 500):
        privacy.hide({f"name-{number}": 1 for number in range(start, start + 500)})

    assert len(privacy._names.known) <= 10_500
    assert "again-7" not in _after(privacy, {"again-7": 1})


def _after(privacy: Privacy, value: dict[str, Any]) -> dict[str, Any]:
    privacy.hide(value)
    return value


def test_threads_that_learn_names_at_the_same_time_let_nothing_through() -> None:
    privacy = Privacy(drop=("*7",))

    def work(thread: int) -> list[str]:
        left = list[str]()
        for start in range(0, 30_000, 100):
            shown = _after(privacy, {f"name-{thread}-{number}": 1 for number in range(start, start + 100)})
            left += [name for name in shown if name.endswith("7")]
        return left

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, [1, 2, 1, 2])) == [[], [], [], []]


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
names = st.sampled_from(NAMES) | st.text(max_size=8)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4))
spiked = st.recursive(
    plain | st.just(CANARY), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)
)


@given(st.dictionaries(names, values, max_size=6), spiked, st.booleans())
def test_a_canary_below_a_named_field_is_nowhere_and_the_rest_is_as_it_was(
    item: dict[str, Any], spike: Any, masks: bool
) -> None:
    rules: dict[str, Any] = {"mask" if masks else "drop": ("*password*",)}
    spiked_item = {**item, "FilePassword": spike, "BaseEvents": [{"OldPassword": CANARY, "kept": 1}]}

    shown = hidden(spiked_item, **rules)

    assert CANARY not in canonical_json(shown).replace("\\", "")
    assert shown["BaseEvents"][0]["kept"] == 1
    others = {name: value for name, value in item.items() if name not in ("FilePassword", "BaseEvents")}
    assert {name: shown[name] for name in others} == hidden(others, **rules)
    if "password" not in canonical_json(others).casefold():
        assert hidden(others, **rules) == json.loads(json.dumps(others))


@given(values)
def test_without_names_nothing_changes(value: Any) -> None:
    assert canonical_json(hidden(value)) == canonical_json(json.loads(json.dumps(value)))
    assert not Privacy().on
    assert {"ID", "Timestamp"} == STAYS
