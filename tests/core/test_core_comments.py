"""Facts about comments: what is told, when, and never twice."""

from __future__ import annotations

import pytest
from builders import a_link, an_incident, seen

from kuma_sync.core import comments
from kuma_sync.core.alert import first_snapshot
from kuma_sync.core.comments import MOST, due, not_sent, owing, sending
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import DeliveredState, Link
from kuma_sync.core.steps import Close, Comment, Compare, Nothing, Step, TargetCapabilities, next_step

SNAPSHOT = first_snapshot(seen(events=[]))
TRUE = DeliveredState(fingerprint=SNAPSHOT.fingerprint)


def a_true_link(*owed: str, sent: DeliveredState = TRUE, comment: str = "", closing: bool = False) -> Link:
    about = {"alert_closed": True, "close_origin": Origin.KUMA, "close_reason": "responded"} if closing else {}
    link = a_link(incident=an_incident(), sent=sent, close_comment=comment, **about)
    for line in owed:
        link = owing(link, line)
    return link


def step(link: Link, **can: bool) -> Step:
    return next_step(SNAPSHOT, link, kept=(), capabilities=TargetCapabilities(**{"can_comment": True} | can))


@pytest.mark.parametrize(
    ("link", "can", "expected"),
    [
        (a_true_link(), {}, Nothing()),
        (a_true_link("a", "b"), {}, Comment(lines=("a", "b"))),
        (a_true_link("a"), {"can_comment": False}, Nothing()),
        (a_true_link("a", sent=DeliveredState()), {}, Compare()),
        (a_true_link(closing=True), {}, Close()),
        (a_true_link(closing=True), {"can_comment": False, "audit_comments": True}, Close()),
        (a_true_link(closing=True, comment="why"), {}, Comment(lines=("why",), closing=True)),
        (a_true_link(closing=True, comment="why"), {"may_close": False}, Nothing()),
        (
            a_true_link("a", closing=True, comment="why"),
            {"audit_comments": True},
            Comment(lines=("a", "why", "kuma-sync: closed: responded"), closing=True),
        ),
    ],
)
def test_it_is_told_after_what_it_tells_of_and_before_the_incident_is_closed(
    link: Link, can: dict[str, bool], expected: Step
) -> None:
    assert step(link, **can) == expected


def test_nothing_is_told_twice_and_the_closing_follows() -> None:
    link = a_true_link("a", closing=True, comment="why")

    told = sending(link, closing=True)

    assert due(told, closing=True, audit=True) == ()
    assert step(told, audit_comments=True) == Close()


def test_a_line_told_before_the_closing_leaves_the_words_of_the_closing_to_be_told() -> None:
    link = a_true_link("a", closing=True, comment="why")

    told = sending(link, closing=False)

    assert due(told, closing=True, audit=False) == ("why",)


def test_what_surely_did_not_arrive_is_told_again_before_what_came_after() -> None:
    before = a_true_link("a", closing=True, comment="why")

    again = not_sent(owing(sending(before, closing=True), "b"), before)

    assert due(again, closing=True, audit=False) == ("a", "b", "why")


def test_where_none_gets_through_the_oldest_are_given_up() -> None:
    link = a_true_link(*(str(number) for number in range(MOST + 5)))

    assert len(link.owed) == MOST
    assert link.owed[-1] == str(MOST + 4)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (comments.created(1), "kuma-sync: created, with 1 event"),
        (comments.created(0), "kuma-sync: created, with 0 events"),
        (comments.updated({"title", "rule"}, 2), "kuma-sync: updated: rule, title; 2 events"),
        (comments.updated({"title"}, 0), "kuma-sync: updated: title"),
        (comments.updated((), 1), "kuma-sync: updated: 1 event"),
        (comments.updated([f"a rather long name {n}" for n in range(20)], 0), "kuma-sync: updated: 20 fields"),
        (comments.added(400), "kuma-sync: 400 events added"),
    ],
)
def test_a_line_says_what_was_done(line: str, expected: str) -> None:
    assert line == expected
