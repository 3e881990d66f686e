"""What templates see of an alert."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from builders import NOW, an_event, seen
from irp_desk import small_profile, subject_of, values_of

from kuma_sync.core.alert import Alert, AlertId, Contents, Observation, first_snapshot
from kuma_sync.irp.context import NAMES, SHAPES, UNKNOWN, values
from kuma_sync.irp.validate import compile_profile


def test_the_values_are_those_the_contract_names() -> None:
    given = values_of(seen(events=[an_event()]), reason="responded", comment="Done")

    assert given["key"] == "kuma:kuma:5c0de1a4-0000-4000-8000-000000000001"
    assert given["alert"] == {
        "id": "5c0de1a4-0000-4000-8000-000000000001",
        "tenant_id": "7e0a0000-0000-4000-8000-000000000001",
        "tenant_name": "Main",
        "name": "Подбор пароля",
        "rule_id": "a11e0000-0000-4000-8000-000000000001",
        "priority": "high",
        "status": "new",
        "first_seen": "2026-01-15T11:50:00Z",
        "last_seen": "2026-01-15T12:00:00Z",
        "assignee": "",
        "closing_reason": "",
        "overflow": False,
        "url": "https://kuma.example.com:7220/alerts/5c0de1a4-0000-4000-8000-000000000001",
        "contents": "complete",
        "raw": {},
    }
    assert given["incident"] == {"id": "1001", "number": "INC-1001", "url": ""}
    assert (given["reason"], given["comment"], given["now"]) == ("responded", "Done", "2026-01-15T12:00:00Z")
    assert given["events_total"] == 1


def test_every_name_a_template_may_use_has_a_value() -> None:
    given = values_of(seen(events=[an_event()]))

    assert NAMES["close"] == given.keys() - {UNKNOWN}
    for name, keys in SHAPES.items():
        value = given[name]
        assert isinstance(value, dict)
        assert value.keys() == keys


def test_times_are_utc_whatever_zone_they_came_in() -> None:
    moscow = datetime(2026, 1, 15, 15, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=3)))

    alert: Any = values_of(seen(first_seen=moscow, last_seen=None))["alert"]

    assert alert["first_seen"] == "2026-01-15T12:00:00.250000Z"
    assert alert["last_seen"] is None


def test_without_the_address_of_the_web_interface_there_is_no_link() -> None:
    subject = subject_of(first_snapshot(seen()), None)

    given: Any = values(subject, web_url="", options={}, now=NOW)

    assert given["alert"]["url"] == ""


def test_a_strange_alert_id_stays_inside_its_link() -> None:
    subject = subject_of(first_snapshot(seen(id="a/../b?c")), None)

    given: Any = values(subject, web_url="https://kuma.example.com/", options={}, now=NOW)

    assert given["alert"]["url"] == "https://kuma.example.com/alerts/a%2F..%2Fb%3Fc"


def test_an_unpromised_field_of_kuma_reaches_templates_and_an_absent_one_is_null() -> None:
    contents = Contents(raw={"id": "a", "score": {"value": 7}})
    shown = Observation(alert=Alert(id=AlertId("a")), contents=contents)
    profile = small_profile('score = "{{ alert.raw.score.value }}"\nnone = "{{ alert.raw.nothing }}"')

    body = compile_profile(profile)["create"].rendering.draft(values_of(shown)).body

    assert body == {"score": 7}


def test_a_field_made_of_what_is_not_at_hand_is_neither_changed_nor_emptied() -> None:
    profile = small_profile(
        'raw = "{{ alert.raw.score }}"\nall = "{{ alert | json }}"\nname = "{{ alert.name }}"\n'
        """key = '{{ alert["raw"] }}'"""
    )

    draft = compile_profile(profile)["create"].rendering.draft(values_of(seen()))

    assert draft.rendered.unknown == {"raw", "all", "key"}


@pytest.mark.parametrize(
    ("shown", "total", "state"),
    [
        (seen(events=[an_event(), an_event(ID="e2")]), 2, "complete"),
        (seen(oversize=True), None, "oversize"),
        (seen(), None, "absent"),
    ],
)
def test_the_total_of_events_is_told_only_where_it_is_known(shown: Observation, total: int | None, state: str) -> None:
    given: Any = values_of(shown)

    assert given["events_total"] == total
    assert given["alert"]["contents"] == state


def test_the_total_counts_events_that_kuma_no_longer_shows() -> None:
    before = seen(events=[an_event(ID="e1"), an_event(ID="e2")])
    after = seen(events=[an_event(ID="e3")])
    snapshot = first_snapshot(before).with_seen(after)

    given = values(subject_of(snapshot, after.contents), web_url="", options={}, now=NOW)

    assert given["events_total"] == 3


def test_now_is_utc() -> None:
    given = values(subject_of(first_snapshot(seen()), None), web_url="", options={}, now=NOW.astimezone(UTC))

    assert given["now"] == "2026-01-15T12:00:00Z"
