"""Facts about whose a field is: which values count as the same, what counts as an edit, what is not forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import NOW, a_link, an_incident
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import Fingerprint
from kuma_sync.core.incident import Found
from kuma_sync.core.link import UNSURE, DeliveredState, Doubt, Intent
from kuma_sync.core.ownership import (
    EMPTY,
    as_sent,
    digest,
    edited,
    left_to_analysts,
    likeness,
    marks,
    to_look_at,
    update_begun,
    update_refused,
)
from kuma_sync.core.steps import Compare, RenderedFields, Update, update_of
from kuma_sync.core.transitions import absent, after_found, resynced, updated

TITLE = frozenset({"title"})
INCIDENT = an_incident()


def fields(title: object = None, **about: Any) -> RenderedFields:
    """Return a body of which title is sent until somebody edits it; None: it is empty, and not in the body."""
    body = {} if title is None else {"title": title}
    usual: dict[str, Any] = {
        "digests": {name: digest(value) for name, value in body.items()},
        "names": TITLE,
        "present": frozenset(body),
        "until_edited": TITLE,
        "likeness": {name: likeness(value) for name, value in body.items()},
    }
    return RenderedFields(**usual | about)


def sent(title: object, **about: Any) -> DeliveredState:
    usual: dict[str, Any] = {
        "fingerprint": Fingerprint("1:a"),
        "fields": {"title": digest(title)},
        "ours": {"title": frozenset({likeness(title)})},
    }
    return DeliveredState(**usual | about)


# Which values are the same


@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        (5, "5"),
        (5.0, 5),
        (True, "true"),
        ("a\nb", "a\r\nb"),
        ("a", "  a\n"),
        ([3, "b", None], ["b", "3"]),
        ({"a": 1, "b": None}, {"a": "1"}),
        ({"a": [2, 1]}, {"a": ["1", "2"], "b": ""}),
        (None, ""),
        ([], None),
        ({}, [""]),
        ("  ", None),
    ],
)
def test_a_value_that_an_irp_shows_in_another_form_is_the_same(ours: object, shown: object) -> None:
    assert likeness(ours) == likeness(shown)


@pytest.mark.parametrize(
    ("ours", "shown"),
    [("a", "A"), (0, None), (False, None), (False, 0), (1, True), ("5.0", 5), (["a"], "a"), (["a", "a"], ["a"])],
)
def test_a_value_that_says_something_else_is_another_one(ours: object, shown: object) -> None:
    assert likeness(ours) != likeness(shown)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r")))
def test_a_text_without_blanks_around_it_is_known_by_its_digest_to_older_links(text: str) -> None:
    assert likeness(text) == (digest(text.strip()) if text.strip() else EMPTY)


@given(st.lists(st.one_of(st.integers(), st.text(), st.booleans())))
def test_the_order_of_a_list_says_nothing(values: list[object]) -> None:
    assert likeness(values) == likeness(values[::-1])


# What is an edit


@pytest.mark.parametrize(
    ("before", "now", "shown", "expected"),
    [
        pytest.param(sent("t0"), fields("t1"), "t0", False, id="as we left it"),
        pytest.param(sent("t0"), fields("t1"), "t1", False, id="as we want it"),
        pytest.param(sent("t0"), fields("t1"), "x", True, id="somebody's"),
        pytest.param(sent("t0"), fields("t1"), None, True, id="emptied by somebody"),
        pytest.param(sent("t0"), fields(), "t0", False, id="to be emptied"),
        pytest.param(sent("t0"), fields(), "x", True, id="to be emptied, and somebody's"),
        pytest.param(sent("t0"), fields(), None, False, id="emptied already"),
        pytest.param(sent([1, 2]), fields([3]), ["2", "1"], False, id="as we left it, in another form"),
        pytest.param(sent("t0", ours={}), fields("t1"), "t0", False, id="an older link, a text"),
        pytest.param(sent("t0", ours={}), fields("t1"), "x", True, id="an older link, somebody's"),
        pytest.param(sent([1, 2], ours={}), fields([3]), [1, 2], False, id="an older link, the very value"),
        pytest.param(DeliveredState(), fields("t1"), "x", True, id="nobody knows what was sent"),
        pytest.param(DeliveredState(), fields("t1"), None, False, id="nobody knows, and it is empty"),
        pytest.param(DeliveredState(), fields("t1"), "t1", False, id="nobody knows, and it is as we want it"),
        pytest.param(DeliveredState(fields={"title": UNSURE}), fields("t1"), "x", True, id="surely not what we know"),
    ],
)
def test_a_field_is_edited_where_it_shows_neither_what_was_sent_nor_what_would_be(
    before: DeliveredState, now: RenderedFields, shown: object, expected: bool
) -> None:
    assert edited(TITLE, now, before, {"title": marks(shown)}) == (TITLE if expected else frozenset())


def test_a_field_that_the_answer_does_not_have_is_empty() -> None:
    assert edited(TITLE, fields("t1"), sent("t0"), {}) == TITLE
    assert edited(TITLE, fields(), sent("t0"), {}) == frozenset()


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (fields("t1"), sent("t0"), TITLE),
        (fields(), sent("t0"), TITLE),
        (fields("t0"), sent("t0"), frozenset()),
        (fields("t1", until_edited=frozenset()), sent("t0"), frozenset()),
    ],
)
def test_only_a_field_that_would_change_is_looked_at(
    now: RenderedFields, before: DeliveredState, expected: frozenset[str]
) -> None:
    assert to_look_at(update_of(Compare(), now, before.fields), now) == expected


def test_what_is_the_analysts_is_neither_sent_nor_cleared_nor_recorded() -> None:
    both = RenderedFields(
        digests={"title": "t1", "rule": "r1"}, names=frozenset({"title", "rule"}), present=frozenset({"title", "rule"})
    )
    left = both.without(TITLE)
    before = {"title": "t0", "rule": "r0"}

    assert update_of(Compare(), left, before) == Update(fields=frozenset({"rule"}))
    assert left.held(before) == {"title": "t0", "rule": "r1"}
    assert update_of(Compare(), fields().without(TITLE), before) is None


# What is not forgotten


def test_while_an_update_is_on_its_way_the_field_may_hold_one_value_or_the_other() -> None:
    link = a_link(incident=INCIDENT, sent=sent("t0"))

    begun = update_begun(link, TITLE, fields("t1"))

    for title, ours in (("t0", True), ("t1", True), ("x", False)):
        assert as_sent(begun.sent, "title", marks(title)) is ours
    assert begun.sent.fields == {"title": UNSURE}
    assert update_refused(begun, TITLE, fields("t1"), before=link.sent) == link
    arrived = updated(begun, Fingerprint("1:b"), {"title": digest("t1")}, frozenset(), {"title": likeness("t1")})
    assert as_sent(arrived.sent, "title", marks("t0")) is False


def test_a_field_never_sent_may_still_be_empty_while_its_update_is_on_its_way() -> None:
    never = DeliveredState(fingerprint=Fingerprint("1:a"))

    begun = update_begun(a_link(incident=INCIDENT, sent=never), TITLE, fields("t1"))

    assert edited(TITLE, fields("t2"), begun.sent, {"title": marks(None)}) == frozenset()
    assert edited(TITLE, fields("t2"), begun.sent, {"title": marks("x")}) == TITLE


def test_an_update_of_an_older_link_that_did_not_arrive_leaves_its_old_value_known() -> None:
    begun = update_begun(a_link(incident=INCIDENT, sent=sent("t0", ours={})), TITLE, fields("t1"))

    assert as_sent(begun.sent, "title", marks("t0")) is True


def test_what_is_the_analysts_outlives_updates_and_a_resync() -> None:
    link = left_to_analysts(a_link(incident=INCIDENT, sent=sent("t0")), TITLE)
    later = updated(link, Fingerprint("1:b"), {"title": digest("t0")}, frozenset())
    found = after_found(resynced(later), Found(incident=INCIDENT))

    assert (link.sent.ours, link.sent.theirs) == ({}, TITLE)
    assert (later.sent.theirs, found.sent.theirs, absent(resynced(later)).sent.theirs) == (TITLE, TITLE, TITLE)
    assert left_to_analysts(link, frozenset()) is link


def test_a_resync_still_knows_what_we_sent_last() -> None:
    found = after_found(resynced(a_link(incident=INCIDENT, sent=sent("t0"))), Found(incident=INCIDENT))

    assert found.sent.fields == {"title": UNSURE}
    assert as_sent(found.sent, "title", marks("t0")) is True


def test_what_was_edited_in_one_incident_says_nothing_of_another_one() -> None:
    link = left_to_analysts(a_link(incident=INCIDENT, sent=sent("t0")), TITLE)
    another = after_found(resynced(link), Found(incident=replace(INCIDENT, id="1002")))

    assert (another.sent.theirs, another.sent.ours) == (frozenset(), {})


def test_an_incident_that_our_own_intent_made_holds_what_the_intent_says() -> None:
    intent = Intent(sent=sent("t0"), at=NOW)
    found = after_found(a_link(doubt=Doubt.AMBIGUOUS, intent=intent), Found(incident=INCIDENT))

    assert found.sent == sent("t0")
