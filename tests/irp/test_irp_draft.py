"""What of a request is sent: changed fields, cleared ones as null, events when there are new ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import an_account, an_asset, an_event, events, seen
from irp_desk import KEY, changed_profile, values_of

from kuma_sync.core.alert import EventDigest, Observation
from kuma_sync.core.steps import Compare, Update, update_of
from kuma_sync.irp.encoding import content
from kuma_sync.irp.load import load_profile
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.rendering import Draft
from kuma_sync.irp.validate import compile_profile

DEFAULT = load_profile("security-vision")
EVENTS = (EventDigest(b"e" * 16),)
KNOWN = seen(events=events("e1", "e2"), assets=[an_asset()], accounts=[an_account()], assignee="petrov")


def draft(operation: str, alert: Observation, *, profile: Profile = DEFAULT, **about: Any) -> Draft:
    return compile_profile(profile)[operation].rendering.draft(values_of(alert, **about))


def update(before: Draft, after: Draft, *, with_events: bool = False) -> dict[str, Any]:
    """Return the body of the update that follows what was sent before."""
    told = update_of(Compare(events=EVENTS if with_events else ()), after.rendered, before.rendered.digests)
    return dict(after.only(told or Update()).body or {})


def with_alert(known: Observation, **fields: Any) -> Observation:
    return replace(known, alert=replace(known.alert, **fields))


def test_an_update_sends_only_what_changed() -> None:
    after = draft("update", with_alert(KNOWN, priority="critical", status="assigned"), events=[])

    body = update(draft("create", KNOWN), after)

    assert body == {"severity": "Critical", "alertStatus": "assigned"}


def test_a_field_that_names_the_incident_goes_with_every_update_and_is_no_change() -> None:
    named = changed_profile(("[update.body]\n", '[update.body]\nuuid = "{{ incident.id }}"\n'))
    created = draft("create", KNOWN, profile=named)
    raised = draft("update", with_alert(KNOWN, priority="critical"), profile=named, events=[])
    again = draft("update", with_alert(KNOWN, priority="critical", status="assigned"), profile=named, events=[])

    assert update(created, raised) == {"uuid": "1001", "severity": "Critical"}
    assert update(raised, again) == {"uuid": "1001", "alertStatus": "assigned"}
    assert (
        update_of(Compare(), draft("update", KNOWN, profile=named, events=[]).rendered, created.rendered.digests)
        is None
    )


def test_our_key_goes_with_every_update_that_names_it() -> None:
    named = changed_profile(("[update.body]\n", '[update.body]\nref = "{{ key }}"\n'))
    raised = draft("update", with_alert(KNOWN, priority="critical"), profile=named, events=[])

    assert update(draft("create", KNOWN, profile=named), raised) == {"ref": KEY, "severity": "Critical"}


def test_nothing_that_create_alone_sends_is_ever_cleared() -> None:
    created = draft("create", KNOWN)

    body = update(created, draft("update", KNOWN, events=[]))

    assert "source" in created.rendered.digests
    assert body == {}


def test_a_field_that_became_empty_is_sent_as_null() -> None:
    after = draft("update", with_alert(KNOWN, assignee="", last_seen=None), events=[])

    body = update(draft("create", KNOWN), after)

    assert body == {"assignee": None, "lastSeenAt": None}


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("json", b'{"rule":null}'), ("form", b"rule="), ("multipart", b'name="rule"\r\n\r\n\r\n--')],
)
def test_a_field_that_became_empty_is_sent_as_its_encoding_can_say_that(encoding: str, body: bytes) -> None:
    cleared = draft("update", seen()).only(Update(clear=frozenset({"rule"})))

    assert body in content(replace(cleared, encoding=encoding))[0]


def test_a_field_that_was_never_sent_is_not_cleared() -> None:
    unassigned = with_alert(KNOWN, assignee="")

    assert update(draft("create", unassigned), draft("update", unassigned, events=[])) == {}


def test_events_travel_only_when_asked_for_and_are_never_null() -> None:
    created = draft("create", KNOWN)
    new = an_event(ID="e3")
    after = draft("update", KNOWN, events=[new])
    without = draft("update", KNOWN, events=[])

    assert "events" not in created.rendered.digests
    assert update(created, after, with_events=True) == {"events": [new]}
    assert update(created, after) == {}
    assert update(created, without, with_events=True) == {}
    assert update_of(Compare(events=EVENTS), without.rendered, created.rendered.digests | {"events": "1"}) is None


def test_a_field_that_is_made_from_events_counts_as_events() -> None:
    profile = changed_profile(
        ('tenant = "{{ alert.tenant_name }}"\n', 'tenant = "{{ alert.tenant_name }}: {{ events | length }} new"\n')
    )

    rendered = draft("update", KNOWN, profile=profile)

    assert rendered.rendered.event_fields == {"events", "tenant"}
    assert "tenant" not in rendered.rendered.digests


def test_what_is_not_known_now_is_neither_changed_nor_cleared() -> None:
    """An edit found in a listing comes without contents: the incident keeps its assets, accounts and observables."""
    created = draft("create", KNOWN)
    listed = seen(assignee="petrov", priority="low")
    after = draft("update", listed, before=KNOWN)

    assert after.rendered.unknown == {"assets", "accounts", "observables"}
    assert update(created, after) == {"severity": "Low"}
    assert after.rendered.held(created.rendered.digests) == created.rendered.digests | {
        "severity": after.rendered.digests["severity"]
    }


def test_an_alert_above_the_size_limit_says_so_and_leaves_the_total_out() -> None:
    oversize = seen(oversize=True)

    body = draft("create", oversize).body or {}

    assert "larger than the size limit (poll.max_alert_size)" in str(body["description"])
    assert not {"eventsTotal", "events", "assets", "accounts", "observables"} & body.keys()


def test_an_alert_that_grew_beyond_the_size_limit_keeps_what_was_sent() -> None:
    after = draft("update", Observation(alert=KNOWN.alert, oversize=True), before=KNOWN)

    assert after.rendered.unknown == {"assets", "accounts", "observables", "eventsTotal"}
    assert update(draft("create", KNOWN), after) == {}


def test_an_incident_made_anew_without_events_says_why() -> None:
    body = draft("create", Observation(alert=KNOWN.alert), before=KNOWN).body or {}

    assert "Events: 2; KUMA no longer has them" in str(body["description"])
    assert body["eventsTotal"] == 2


def test_what_the_incident_holds_is_what_was_sent_last_for_each_field() -> None:
    created = draft("create", KNOWN)
    after = draft("update", with_alert(KNOWN, assignee="", priority="low"), events=[])

    held = after.rendered.held(created.rendered.digests)

    assert held["source"] == created.rendered.digests["source"]
    assert held["severity"] == after.rendered.digests["severity"] != created.rendered.digests["severity"]
    assert "assignee" not in held


def test_an_update_of_all_fields_sends_all_but_old_events() -> None:
    profile = changed_profile(('method = "PATCH"', 'method = "PUT"\nfields = "all"'))
    after = draft("update", with_alert(KNOWN, assignee=""), profile=profile)

    body = update(draft("create", KNOWN), after)

    assert body.keys() == (after.rendered.names - {"events"})
    assert body["assignee"] is None


def test_equal_fields_have_equal_digests_and_others_have_not() -> None:
    one, same = draft("create", KNOWN), draft("create", KNOWN)
    other = draft("create", with_alert(KNOWN, name="Подбор пароля "))

    assert one.rendered.digests == same.rendered.digests
    assert {name for name in one.rendered.digests if one.rendered.digests[name] != other.rendered.digests[name]} == {
        "title",
        "description",
    }


def test_the_repr_of_a_draft_shows_nothing_of_the_alert() -> None:
    assert "Подбор" not in repr(draft("create", KNOWN))


@pytest.mark.parametrize("operation", ["probe", "find", "list_closed"])
def test_a_read_has_no_body(operation: str) -> None:
    values = values_of(KNOWN) | {"since": "2026-01-01T00:00:00Z", "offset": 0, "limit": 100, "page": 1}

    rendered = compile_profile(DEFAULT)[operation].rendering.draft(values)

    assert rendered.body is None
    assert rendered.rendered.digests == {}
