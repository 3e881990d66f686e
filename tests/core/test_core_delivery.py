"""Facts about deliveries: what an incident needs next, and what its link becomes after it was done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from builders import ALERT_ID, NOW, a_link, an_incident, changed, events, seconds, seen

from kuma_sync.core.alert import EventDigest, Fingerprint, first_snapshot
from kuma_sync.core.incident import Found, Origin
from kuma_sync.core.link import (
    UNSURE,
    BeingMade,
    Closing,
    DeliveredState,
    Doubt,
    Doubted,
    Dropped,
    Ignored,
    InKuma,
    Intent,
    Link,
    Linked,
    Live,
    NotMade,
    Sought,
)
from kuma_sync.core.retry import Park, RetryAt
from kuma_sync.core.steps import (
    AddEvents,
    Close,
    Compare,
    Create,
    EventStep,
    FindFirst,
    Nothing,
    RenderedFields,
    Step,
    TargetCapabilities,
    Update,
    Upsert,
    halved,
    next_step,
    update_of,
)
from kuma_sync.core.transitions import (
    absent,
    after_found,
    after_not_found,
    alert_closed,
    choose,
    close_ordered,
    created,
    duplicated,
    events_added,
    first_not_found,
    incident_closed,
    intended,
    missing,
    refused,
    released,
    resynced,
    retried,
    seen_twice,
    shown,
    unclosed,
    unidentified,
    updated,
    without_find,
)

SETTLE = seconds(5)
SNAPSHOT = first_snapshot(seen(events=events("a", "b")))
UP_TO_DATE = DeliveredState(fingerprint=SNAPSHOT.fingerprint, fields={"title": "t1"}, events=SNAPSHOT.event_ids)
FORGOTTEN = DeliveredState(fields={"title": UNSURE})
OUTDATED = DeliveredState(fingerprint=Fingerprint("1:older"), fields={"title": "t0"})
INCIDENT = an_incident()
INTENT = Intent(sent=UP_TO_DATE, at=NOW)
EVENT = EventDigest(b"e" * 16)


def new_events(number: int) -> tuple[EventDigest, ...]:
    return tuple(EventDigest(b"%016d" % one) for one in range(number))


def step(link: Link, *, unsent: int = 0, **capabilities: Any) -> Step:
    return next_step(SNAPSHOT, link, kept=new_events(unsent), capabilities=TargetCapabilities(**capabilities))


def a_true_link(**fields: Any) -> Link:
    """Return a link whose incident holds all there is to tell."""
    return a_link(**{"incident": INCIDENT, "sent": UP_TO_DATE} | fields)


def a_doubted_link(doubt: Doubt, **fields: Any) -> Link:
    known = doubt in (Doubt.MISSING, Doubt.UNCLOSED, Doubt.UNSHOWN)
    given = {"incident": INCIDENT if known else None, "intent": INTENT if doubt is Doubt.AMBIGUOUS else None}
    return a_link(**{"doubt": doubt} | given | fields)


def every_state() -> Iterator[Live | Ignored]:
    """Yield every state of an alert that was not dropped."""
    for held in (False, True):
        yield NotMade(held=held)
        for unmade in (Doubt.UNKNOWN, Doubt.DUPLICATE, Doubt.RESYNC):
            yield Sought(doubt=unmade, held=held)
    for once, again in product((False, True), repeat=2):
        yield Ignored(missed=once, unknown=again)
    for resync in (False, True):
        yield BeingMade(intent=INTENT, resync=resync)
    for sent in (DeliveredState(), OUTDATED, UP_TO_DATE):
        yield Linked(incident=INCIDENT, sent=sent)
        for made in (Doubt.MISSING, Doubt.UNCLOSED, Doubt.UNSHOWN, Doubt.RESYNC):
            yield Doubted(incident=INCIDENT, doubt=made, sent=sent)


def every_link() -> Iterator[Link]:
    """Yield every link that can be, as far as `next_step` may look at it."""
    states = [*every_state(), *(Dropped(was=state) for state in every_state())]
    closings = [
        Closing(origin=origin, alert=alert, incident=incident)
        for origin, alert, incident in product(Origin, InKuma, (False, True))
    ]
    for state, closing, gone in product(states, (None, *closings), (False, True)):
        yield Link(alert_id=ALERT_ID, state=state, closing=closing, gone=gone)


# What comes next


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (a_link(), Create()),
        (a_link(alert_closed=True, close_origin=Origin.KUMA), Create()),  # closed before its incident was made
        (a_link(gone=True), Create()),  # every alert KUMA ever showed gets its incident
        (a_link(held_create=True), Nothing()),
        (a_link(held_create=True, doubt=Doubt.UNKNOWN), Nothing()),
        (a_link(ignored=True), Nothing()),
        (a_link(dropped=True), Nothing()),
        (a_link(dropped=True, doubt=Doubt.AMBIGUOUS, intent=INTENT), Nothing()),
        (a_link(doubt=Doubt.UNKNOWN), FindFirst()),
        (a_link(doubt=Doubt.AMBIGUOUS, intent=INTENT), FindFirst()),
        (a_link(doubt=Doubt.DUPLICATE), FindFirst()),
        (a_true_link(doubt=Doubt.MISSING), FindFirst()),
        (a_true_link(doubt=Doubt.RESYNC), FindFirst()),
        (a_true_link(doubt=Doubt.RESYNC, incident_closed=True), FindFirst()),
        (a_true_link(), Nothing()),
        (a_true_link(sent=OUTDATED), Compare()),
        (a_true_link(sent=DeliveredState()), Compare()),
        (a_true_link(sent=OUTDATED, gone=True), Compare()),
        (a_true_link(sent=OUTDATED, alert_closed=True, held_close=True), Compare()),  # the brake never blocks updates
        (a_true_link(sent=OUTDATED, alert_closed=True), Compare()),  # grown and closed: update, then close
        (a_true_link(sent=OUTDATED, incident_closed=True), Nothing()),  # no more updates
        (a_true_link(alert_closed=True, close_origin=Origin.KUMA), Close()),
        (a_true_link(alert_closed=True, close_origin=Origin.OPERATOR), Close()),
        (a_true_link(alert_closed=True, close_origin=Origin.IRP), Nothing()),  # reopened there: no echo
        (a_true_link(alert_closed=True, held_close=True), Nothing()),
        (a_true_link(alert_closed=True, incident_closed=True), Nothing()),
        (a_true_link(alert_closed=True, dropped=True), Nothing()),
    ],
)
def test_the_stored_link_decides_what_comes_next(link: Link, expected: Step) -> None:
    assert step(link) == expected


@pytest.mark.parametrize(
    ("link", "unsent", "capabilities", "expected"),
    [
        (a_true_link(), 3, {}, AddEvents(events=new_events(3))),
        (a_true_link(), 3, {"batch": None}, Nothing()),
        (a_true_link(sent=OUTDATED), 3, {}, Compare(events=new_events(3))),  # fields first
        (a_true_link(alert_closed=True), 3, {}, AddEvents(events=new_events(3))),  # all events, then close
        (a_true_link(alert_closed=True), 3, {"batch": None}, Close()),
        (a_true_link(alert_closed=True, held_close=True), 3, {}, AddEvents(events=new_events(3))),
        (a_true_link(alert_closed=True), 0, {"may_close": False}, Nothing()),
        (a_true_link(incident_closed=True), 3, {}, Nothing()),
        (a_true_link(sent=OUTDATED), 0, {"can_update": False}, Upsert()),  # sent as the upsert
        (a_link(doubt=Doubt.UNKNOWN), 3, {"can_find": False}, FindFirst()),  # `without_find` decides
    ],
)
def test_the_desks_abilities_and_switches_count(
    link: Link, unsent: int, capabilities: dict[str, Any], expected: Step
) -> None:
    assert step(link, unsent=unsent, **capabilities) == expected


def test_over_all_links_no_step_breaks_a_promise() -> None:
    for link, unsent, may_close in product(every_link(), (0, 2), (False, True)):
        match step(link, unsent=unsent, may_close=may_close):
            case Create():
                assert link.incident is None, link
                assert link.doubt is None, link
                assert not link.held_create, link
            case FindFirst():
                assert link.doubt is not None, link
            case Compare() | Upsert():
                assert link.incident is not None, link
                assert not link.incident_closed, link
                assert link.sent != UP_TO_DATE, link
            case AddEvents():
                assert unsent, link
                assert not link.incident_closed, link
            case Close():
                assert may_close, link
                assert link.alert_closed or link.close_origin is Origin.OPERATOR, link
                assert not link.incident_closed, link
                assert not link.held_close, link
                assert (link.sent, unsent) == (UP_TO_DATE, 0), link
                assert link.close_origin is not Origin.IRP, link
            case Nothing():
                continue
        assert not link.dropped, link
        assert not link.ignored, link


def test_over_all_links_nothing_is_forgotten() -> None:
    """Nothing to do means: given up, held, closed in the IRP, or true."""
    for link in every_link():
        if step(link) != Nothing():
            continue
        given_up = link.dropped or link.ignored
        held = link.held_create and link.incident is None
        true = link.doubt is None and (link.incident_closed or link.sent == UP_TO_DATE)
        assert given_up or held or true, link


# Which events a request tells

ABC = new_events(3)
TOLD = replace(UP_TO_DATE, events=frozenset(ABC[:1]))
PARTLY = replace(TOLD, fingerprint=OUTDATED.fingerprint)


@pytest.mark.parametrize(
    ("link", "capabilities", "expected"),
    [
        (a_link(), {}, Create(events=ABC)),
        (a_link(), {"batch": 2}, Create(events=ABC[:2])),
        (a_link(), {"batch": None}, Create(events=ABC)),
        (a_link(), {"create_carries_events": False}, Create()),
        (a_true_link(sent=PARTLY), {}, Compare(events=ABC[1:])),
        (a_true_link(sent=PARTLY), {"batch": 1}, Compare(events=ABC[1:2])),
        (a_true_link(sent=PARTLY), {"batch": None}, Compare(events=ABC[1:])),
        (a_true_link(sent=PARTLY), {"update_carries_events": False}, Compare()),
        (a_true_link(sent=PARTLY), {"can_update": False}, Upsert(events=ABC)),
        (a_true_link(sent=PARTLY), {"can_update": False, "batch": 2}, Upsert(events=ABC[:2])),
        (a_true_link(sent=PARTLY), {"can_update": False, "create_carries_events": False}, Upsert()),
        (a_true_link(sent=TOLD), {}, AddEvents(events=ABC[1:])),
        (a_true_link(sent=TOLD), {"batch": 1}, AddEvents(events=ABC[1:2])),
    ],
)
def test_a_request_tells_the_first_batch_of_what_was_not_told(
    link: Link, capabilities: dict[str, Any], expected: Step
) -> None:
    assert step(link, unsent=3, **capabilities) == expected


@pytest.mark.parametrize(("kind", "least"), [(Create, 0), (Compare, 0), (Upsert, 0), (AddEvents, 1)])
def test_a_request_that_is_too_large_is_halved_as_far_as_it_goes(kind: type[EventStep], least: int) -> None:
    sizes, smaller = [], halved(kind(events=new_events(5)), TargetCapabilities())
    while smaller is not None:
        assert isinstance(smaller, kind)
        assert smaller.events == new_events(5)[: len(smaller.events)]
        sizes.append(len(smaller.events))
        smaller = halved(smaller, TargetCapabilities())

    assert sizes == [2, 1, 0][: 3 - least]


@pytest.mark.parametrize("kind", [Create, Compare, Upsert, AddEvents])
def test_nothing_is_halved_where_the_rest_could_not_follow(kind: type[EventStep]) -> None:
    assert halved(kind(events=new_events(5)), TargetCapabilities(batch=None)) is None


def test_what_tells_no_events_is_not_halved() -> None:
    assert [halved(one, TargetCapabilities()) for one in (Close(), FindFirst(), Nothing())] == [None] * 3


# Which fields an update carries


def rendered(digests: dict[str, str], **about: Any) -> RenderedFields:
    """Return what a template made that has the fields a to e."""
    usual = {"names": frozenset("abcde"), "present": frozenset(digests)}
    return RenderedFields(digests=digests, **usual | about)


@pytest.mark.parametrize(
    ("digests", "sent", "to_send", "to_clear"),
    [
        ({"a": "1"}, {}, {"a"}, set()),
        ({"a": "2"}, {"a": "1"}, {"a"}, set()),
        ({}, {"a": "1"}, set(), {"a"}),
        ({"a": "2", "b": "1"}, {"b": "1", "c": "1"}, {"a"}, {"c"}),
        ({"a": "2"}, {"a": "1", "of the create": "1"}, {"a"}, set()),
    ],
)
def test_only_fields_that_changed_are_sent_and_lost_ones_are_cleared(
    digests: dict[str, str], sent: dict[str, str], to_send: set[str], to_clear: set[str]
) -> None:
    told = update_of(Compare(), rendered(digests), sent)

    assert told == Update(fields=frozenset(to_send), clear=frozenset(to_clear))


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        (rendered({}), {}),
        (rendered({"a": "1"}), {"a": "1"}),
        (rendered({"a": "1"}, whole=True), {"a": "1"}),
        (rendered({"a": "1"}), {"a": "1", "of the create": "1"}),
        (rendered({}, unknown=frozenset("a")), {"a": "1"}),
        (rendered({}, present=frozenset("e"), event_fields=frozenset("e")), {}),
    ],
)
def test_where_nothing_differs_no_update_is_sent(fields: RenderedFields, sent: dict[str, str]) -> None:
    assert update_of(Compare(), fields, sent) is None


def test_new_events_go_with_the_fields_that_hold_them() -> None:
    fields = rendered({"a": "1"}, present=frozenset("ae"), event_fields=frozenset("e"))

    assert update_of(Compare(events=ABC), fields, {"a": "1"}) == Update(fields=frozenset("e"), events=ABC)


def test_an_update_of_all_fields_sends_all_but_events_and_clears_what_was_lost() -> None:
    fields = rendered({"a": "1", "b": "1"}, present=frozenset("abe"), event_fields=frozenset("e"), whole=True)

    told = update_of(Compare(), fields, {"a": "1", "c": "1"})

    assert told == Update(fields=frozenset("ab"), clear=frozenset("c"))


def test_an_upsert_sends_all_there_is_whatever_was_sent() -> None:
    fields = rendered({"a": "1"}, present=frozenset("ae"), event_fields=frozenset("e"))

    assert update_of(Upsert(events=ABC), fields, {"a": "1", "c": "1"}) == Update(fields=frozenset("ae"), events=ABC)


# A create, and how it may end


def test_from_the_intent_on_a_create_may_have_happened() -> None:
    link = intended(a_link(doubt=Doubt.UNKNOWN, not_found_at=NOW), UP_TO_DATE, NOW)

    assert (link.intent, link.doubt, link.not_found_at) == (INTENT, Doubt.AMBIGUOUS, None)
    assert step(link) == FindFirst()


def test_a_created_incident_holds_what_the_intent_held() -> None:
    link = created(intended(a_link(), UP_TO_DATE, NOW), INCIDENT)

    assert link == a_true_link()
    assert step(link) == Nothing()


def test_an_incident_made_without_an_intent_is_told_everything() -> None:
    assert step(created(a_link(), INCIDENT)) == Compare()


def test_a_refused_create_leaves_no_trace() -> None:
    assert refused(intended(a_link(), UP_TO_DATE, NOW), TargetCapabilities()) == a_link()


def test_where_find_always_comes_first_a_refused_create_is_looked_for_again() -> None:
    capabilities = TargetCapabilities(find_always=True)
    link = refused(intended(a_link(), UP_TO_DATE, NOW), capabilities)

    assert next_step(SNAPSHOT, link, kept=(), capabilities=capabilities) == FindFirst()
    assert next_step(SNAPSHOT, absent(link), kept=(), capabilities=capabilities) == Create()


def test_an_answer_without_an_id_is_remembered_with_the_intent() -> None:
    link = unidentified(intended(a_link(), UP_TO_DATE, NOW))

    assert link.intent == replace(INTENT, unidentified=True)
    assert step(link) == FindFirst()
    assert unidentified(a_link()) == a_link()


def test_an_incident_that_exists_already_is_not_known_to_hold_our_content() -> None:
    link = duplicated(intended(a_link(), UP_TO_DATE, NOW))

    assert (link.intent, link.doubt) == (None, Doubt.DUPLICATE)
    assert step(after_found(link, Found(incident=INCIDENT))) == Compare()


# An update, and what it leaves


def test_an_update_adds_its_events_to_those_sent_before() -> None:
    before = a_true_link(sent=replace(OUTDATED, events=SNAPSHOT.event_ids))

    link = updated(before, SNAPSHOT.fingerprint, {"title": "t2"}, frozenset({EVENT}))

    assert link.sent == DeliveredState(
        fingerprint=SNAPSHOT.fingerprint, fields={"title": "t2"}, events=SNAPSHOT.event_ids | {EVENT}
    )


def test_added_events_change_nothing_else() -> None:
    link = events_added(a_true_link(), frozenset({EVENT}))

    assert link == a_true_link(sent=replace(UP_TO_DATE, events=UP_TO_DATE.events | {EVENT}))


# Closings


def test_the_first_origin_and_reason_of_a_closing_stay() -> None:
    by_analyst = incident_closed(a_true_link(), Origin.IRP, "False positive", "seen it")

    both = alert_closed(by_analyst, Origin.KUMA, "responded", "me too")

    assert (both.alert_closed, both.incident_closed) == (True, True)
    assert (both.close_origin, both.close_reason, both.close_comment) == (Origin.IRP, "False positive", "seen it")
    assert incident_closed(alert_closed(a_true_link(), Origin.KUMA, "r"), Origin.IRP, "x").close_reason == "r"


def test_an_operators_closing_closes_the_incident_without_waiting_for_kuma() -> None:
    ordered = close_ordered(a_true_link(), "responded", "by hand")

    done = alert_closed(ordered, Origin.KUMA, "incorrect data")

    assert (step(ordered), step(done)) == (Close(), Close())
    assert (done.close_origin, done.close_reason, done.close_comment) == (Origin.OPERATOR, "responded", "by hand")


@pytest.mark.parametrize("closed", [False, True])
def test_what_is_tried_again_is_still_closed_where_an_operator_wanted_that(closed: bool) -> None:
    ordered = close_ordered(a_link(doubt=Doubt.UNKNOWN), "responded")

    made = created(retried(alert_closed(ordered, Origin.KUMA) if closed else ordered), INCIDENT)

    assert made.close_origin is Origin.OPERATOR
    assert step(updated(made, SNAPSHOT.fingerprint, {}, frozenset())) == Close()


def test_an_operators_closing_comes_second_to_an_analysts() -> None:
    by_analyst = incident_closed(a_true_link(), Origin.IRP, "False positive")

    assert close_ordered(by_analyst, "responded") == by_analyst


def test_a_closed_alert_is_not_gone() -> None:
    assert not alert_closed(a_true_link(gone=True), Origin.KUMA).gone


def test_what_the_brake_holds_stays_held_however_often_it_is_seen() -> None:
    held = alert_closed(a_true_link(), Origin.KUMA, held=True)

    again = alert_closed(held, Origin.KUMA)

    assert again.held_close
    assert step(again) == Nothing()
    assert step(released(again)) == Close()


def test_a_closing_without_incident_waits_for_the_create() -> None:
    closed = alert_closed(a_link(), Origin.KUMA, "responded")

    after_create = created(intended(closed, UP_TO_DATE, NOW), INCIDENT)

    assert (step(closed), step(after_create)) == (Create(), Close())
    assert after_create.close_reason == "responded"


# Found


@pytest.mark.parametrize(
    ("closed", "chosen"),
    [((False,), 0), ((True,), 0), ((True, False), 1), ((False, False), 0), ((True, True), 0), ((True, True, False), 2)],
)
def test_the_first_open_incident_is_chosen_else_the_first(closed: tuple[bool, ...], chosen: int) -> None:
    found = [Found(incident=an_incident(id=str(number)), closed=one) for number, one in enumerate(closed)]

    assert choose(found) is found[chosen]


def test_found_by_our_own_intent_its_content_counts_as_sent() -> None:
    link = after_found(a_doubted_link(Doubt.AMBIGUOUS), Found(incident=INCIDENT))

    assert link == a_true_link()


@pytest.mark.parametrize("doubt", [Doubt.UNKNOWN, Doubt.DUPLICATE, Doubt.RESYNC])
def test_found_otherwise_everything_is_sent_again(doubt: Doubt) -> None:
    before = a_true_link(doubt=doubt) if doubt is Doubt.RESYNC else a_doubted_link(doubt, sent=FORGOTTEN)
    link = after_found(before, Found(incident=INCIDENT))

    assert link == a_true_link(sent=FORGOTTEN)
    assert step(link) == Compare()


def test_an_incident_that_was_there_all_the_time_keeps_what_analysts_wrote() -> None:
    missed = missing(a_true_link(sent=OUTDATED))

    assert after_found(missed, Found(incident=INCIDENT)).sent == OUTDATED
    assert after_found(missed, Found(incident=an_incident(id="another"))).sent == FORGOTTEN
    assert after_found(first_not_found(missed, NOW), Found(incident=INCIDENT)).sent == FORGOTTEN, "restored, from when?"


def test_fields_of_a_create_that_may_have_happened_are_cleared_whatever_came_between() -> None:
    """KUMA cleared the assignee meanwhile: only the names that the create carried tell that it was ours."""
    first = DeliveredState(fingerprint=SNAPSHOT.fingerprint, fields={"title": "a", "assignee": "b"})
    second = DeliveredState(fingerprint=SNAPSHOT.fingerprint, fields={"title": "a"})
    lost = intended(a_link(), first, NOW)
    again = intended(absent(lost), second, NOW)
    ways = [
        duplicated(lost),
        duplicated(again),
        duplicated(intended(lost, second, NOW)),
        refused(intended(lost, second, NOW), TargetCapabilities()),
    ]

    fields = RenderedFields(digests=second.fields, names=frozenset(first.fields), present=frozenset(second.fields))
    sent = [after_found(link, Found(incident=INCIDENT)).sent.fields for link in ways]
    told = [update_of(Compare(), fields, held) for held in sent]

    assert [update and update.clear for update in told] == [{"assignee"}] * len(ways)


def test_a_resync_over_an_open_intent_sends_everything_again() -> None:
    link = after_found(a_link(doubt=Doubt.RESYNC, intent=INTENT), Found(incident=INCIDENT))

    assert link == a_true_link(sent=FORGOTTEN)


@pytest.mark.parametrize("doubt", Doubt)
def test_found_closed_it_is_linked_and_treated_as_closed_in_the_irp(doubt: Doubt) -> None:
    link = after_found(a_doubted_link(doubt), Found(incident=INCIDENT, closed=True))

    assert (link.incident, link.incident_closed, link.close_origin) == (INCIDENT, True, Origin.IRP)
    assert step(link) == Nothing()


def test_found_closed_after_the_alert_was_closed_keeps_the_first_origin() -> None:
    before = alert_closed(a_doubted_link(Doubt.AMBIGUOUS), Origin.KUMA, "responded")

    link = after_found(before, Found(incident=INCIDENT, closed=True))

    assert (link.incident_closed, link.close_origin, link.close_reason) == (True, Origin.KUMA, "responded")


def test_a_reopened_incident_is_kept_true_again_and_its_closing_is_undone() -> None:
    before = incident_closed(a_true_link(doubt=Doubt.RESYNC), Origin.IRP, "False positive", "seen it")

    link = after_found(before, Found(incident=INCIDENT))

    assert link == a_true_link(sent=FORGOTTEN)


def test_a_reopened_incident_is_not_closed_again_by_the_closing_that_came_from_it() -> None:
    """The closing was on its way to KUMA while an analyst reopened the incident and an operator asked for a resync."""
    reopened = after_found(incident_closed(a_true_link(doubt=Doubt.RESYNC), Origin.IRP), Found(incident=INCIDENT))

    after_kuma = updated(alert_closed(reopened, Origin.IRP), SNAPSHOT.fingerprint, {}, frozenset())

    assert step(after_kuma) == Nothing()


def test_a_reopened_incident_leaves_a_closed_alert_closed() -> None:
    before = alert_closed(incident_closed(a_true_link(doubt=Doubt.RESYNC), Origin.IRP), Origin.IRP)

    link = after_found(before, Found(incident=INCIDENT))

    assert (link.alert_closed, link.incident_closed) == (True, True)
    assert step(link) == Nothing()


def test_found_open_although_the_alert_is_closed_it_is_brought_up_to_date_and_closed() -> None:
    link = after_found(alert_closed(a_doubted_link(Doubt.AMBIGUOUS), Origin.KUMA), Found(incident=INCIDENT))

    assert step(link) == Close()


# Not found


@pytest.mark.parametrize("doubt", [Doubt.AMBIGUOUS, Doubt.DUPLICATE])
@pytest.mark.parametrize(
    ("first_at", "looked_again_at"),
    [
        (None, NOW + SETTLE),  # the first look
        (NOW, NOW + SETTLE),
        (NOW - seconds(4.9), NOW + seconds(0.1)),
        (NOW + seconds(3600), NOW + SETTLE),  # the clock was set back
    ],
)
def test_an_incident_that_may_exist_is_looked_for_again_after_settle(
    doubt: Doubt, first_at: datetime | None, looked_again_at: datetime
) -> None:
    link = a_doubted_link(doubt, not_found_at=first_at)

    again = after_not_found(link, asked_at=NOW, answered_at=NOW, settle=SETTLE)

    assert again == RetryAt(at=looked_again_at, reason="not found yet", counts=False)


@pytest.mark.parametrize("first_at", [NOW - SETTLE, NOW - timedelta(days=1)])
def test_an_ambiguous_create_not_found_twice_did_not_happen(first_at: datetime) -> None:
    link = a_doubted_link(Doubt.AMBIGUOUS, not_found_at=first_at)

    assert after_not_found(link, asked_at=NOW, answered_at=NOW, settle=SETTLE) is None
    assert absent(link) == a_link(sent=FORGOTTEN)
    assert step(absent(link)) == Create()


def test_the_looks_lie_settle_apart_from_an_answer_to_the_next_question() -> None:
    first = after_not_found(a_doubted_link(Doubt.AMBIGUOUS), asked_at=NOW - 2 * SETTLE, answered_at=NOW, settle=SETTLE)
    link = first_not_found(a_doubted_link(Doubt.AMBIGUOUS), NOW)
    soon = after_not_found(link, asked_at=NOW + SETTLE / 2, answered_at=NOW + 2 * SETTLE, settle=SETTLE)

    assert first == soon == RetryAt(at=NOW + SETTLE, reason="not found yet", counts=False)


def test_what_was_written_down_already_is_not_written_down_otherwise() -> None:
    """The answer to a commit was lost, and the same is written once more."""
    made = created(intended(a_link(), UP_TO_DATE, NOW), INCIDENT)
    found = after_found(intended(a_link(), UP_TO_DATE, NOW), Found(incident=INCIDENT))

    assert created(made, INCIDENT) == made
    assert after_found(found, Found(incident=INCIDENT)) == found


def test_a_duplicate_that_is_not_found_twice_is_for_a_human() -> None:
    parked = after_not_found(
        a_doubted_link(Doubt.DUPLICATE, not_found_at=NOW - SETTLE), asked_at=NOW, answered_at=NOW, settle=SETTLE
    )

    assert parked == Park(reason="the IRP says it exists already, but does not show it")


def test_a_create_answered_without_an_id_and_not_found_twice_is_for_a_human() -> None:
    link = unidentified(a_doubted_link(Doubt.AMBIGUOUS, not_found_at=NOW - SETTLE))

    assert after_not_found(link, asked_at=NOW, answered_at=NOW, settle=SETTLE) == Park(
        reason="created without an id, and not found"
    )
    assert isinstance(
        after_not_found(changed(link, not_found_at=NOW), asked_at=NOW, answered_at=NOW, settle=SETTLE), RetryAt
    )


def test_a_retry_makes_anew_what_was_never_found_although_a_resync_was_ordered_too() -> None:
    parked = unidentified(a_doubted_link(Doubt.AMBIGUOUS, not_found_at=NOW - SETTLE))

    again = retried(resynced(parked))

    assert (again.intent, again.doubt) == (None, Doubt.UNKNOWN)
    assert after_not_found(again, asked_at=NOW, answered_at=NOW, settle=SETTLE) is None, "nothing keeps it parked"


def test_a_missing_incident_that_is_not_found_was_deleted() -> None:
    assert after_not_found(a_doubted_link(Doubt.MISSING), asked_at=NOW, answered_at=NOW, settle=SETTLE) == Park(
        reason="incident deleted"
    )


def test_an_alert_unknown_to_the_irp_gets_its_incident_at_the_first_empty_answer() -> None:
    link = a_doubted_link(Doubt.UNKNOWN)

    assert after_not_found(link, asked_at=NOW, answered_at=NOW, settle=SETTLE) is None
    assert step(absent(link)) == Create()


def test_a_resync_that_finds_nothing_sends_everything_to_the_incident_it_knows() -> None:
    link = a_true_link(doubt=Doubt.RESYNC)

    assert after_not_found(link, asked_at=NOW, answered_at=NOW, settle=SETTLE) is None
    assert absent(link) == a_true_link(sent=FORGOTTEN)
    assert step(absent(link)) == Compare()


def test_a_later_doubt_does_not_hide_that_a_create_may_have_happened() -> None:
    link = a_link(doubt=Doubt.RESYNC, intent=INTENT)

    assert isinstance(after_not_found(link, asked_at=NOW, answered_at=NOW, settle=SETTLE), RetryAt)
    assert (
        after_not_found(changed(link, not_found_at=NOW - SETTLE), asked_at=NOW, answered_at=NOW, settle=SETTLE) is None
    )


@pytest.mark.parametrize(
    ("known", "remembered"),
    [
        (None, NOW),
        (NOW - SETTLE, NOW - SETTLE),  # a restart does not start over
        (NOW, NOW),
        (NOW + seconds(60), NOW),  # the clock was set back
    ],
)
def test_the_first_empty_answer_is_remembered(known: datetime | None, remembered: datetime) -> None:
    link = first_not_found(a_doubted_link(Doubt.AMBIGUOUS, not_found_at=known), NOW)

    assert link.not_found_at == remembered


def test_a_new_doubt_looks_twice_again() -> None:
    doubted = a_true_link(doubt=Doubt.RESYNC, not_found_at=NOW - timedelta(days=1))
    making = a_doubted_link(Doubt.AMBIGUOUS, not_found_at=NOW - timedelta(days=1))

    links = [missing(doubted), unclosed(doubted), duplicated(making), intended(making, UP_TO_DATE, NOW)]
    links += [refused(making, TargetCapabilities()), refused(making, TargetCapabilities(find_always=True))]

    assert [link.not_found_at for link in links] == [None] * 6


# Without `find`


@pytest.mark.parametrize(
    ("link", "can_update", "next_one"),
    [
        (a_doubted_link(Doubt.UNKNOWN), True, Create()),  # `auto` creates
        (a_doubted_link(Doubt.AMBIGUOUS), False, Create()),  # the create is the upsert: sent again
        (a_true_link(doubt=Doubt.RESYNC), True, Compare()),  # the full update
        (a_true_link(doubt=Doubt.RESYNC, incident_closed=True), True, Nothing()),
    ],
)
def test_a_profile_without_find_goes_on_where_nothing_can_be_doubled(
    link: Link, can_update: bool, next_one: Step
) -> None:
    assert without_find(link, TargetCapabilities(can_find=False, can_update=can_update)) is None
    assert step(absent(link), can_find=False, can_update=can_update) == next_one


@pytest.mark.parametrize(
    ("link", "can_update", "reason"),
    [
        (a_doubted_link(Doubt.AMBIGUOUS), True, "a create may have happened, and the profile cannot find it"),
        (a_link(doubt=Doubt.RESYNC, intent=INTENT), True, "a create may have happened, and the profile cannot find it"),
        (a_doubted_link(Doubt.DUPLICATE), False, "the IRP says it exists already, and the profile cannot find it"),
        (a_true_link(doubt=Doubt.MISSING), True, "incident deleted"),
    ],
)
def test_a_profile_without_find_leaves_the_rest_to_a_human(link: Link, can_update: bool, reason: str) -> None:
    assert without_find(link, TargetCapabilities(can_find=False, can_update=can_update)) == Park(reason=reason)


def test_a_deleted_incident_is_doubted_but_not_forgotten() -> None:
    link = missing(a_true_link())

    assert (link.incident, link.doubt) == (INCIDENT, Doubt.MISSING)
    assert step(link) == FindFirst()


# Whether find shows what create made, and a closing that met 404


def test_an_incident_of_an_unproven_profile_is_looked_for_before_anything_else() -> None:
    link = created(a_link(intent=INTENT, doubt=Doubt.AMBIGUOUS), INCIDENT, proven=False)

    assert link == a_link(incident=INCIDENT, sent=UP_TO_DATE, doubt=Doubt.UNSHOWN)
    assert step(link) == FindFirst()
    assert created(link, INCIDENT, proven=False) == link, "only the answer to the commit was lost"
    assert shown(link) == a_link(incident=INCIDENT, sent=UP_TO_DATE)


def test_an_incident_that_is_not_shown_is_looked_for_twice_and_never_made_anew() -> None:
    link = a_link(incident=INCIDENT, sent=UP_TO_DATE, doubt=Doubt.UNSHOWN)
    first = after_not_found(link, asked_at=NOW, answered_at=NOW, settle=SETTLE)
    noted = first_not_found(link, NOW)

    assert first == RetryAt(at=NOW + SETTLE, reason="not found yet", counts=False)
    assert not seen_twice(link, NOW + SETTLE, SETTLE)
    assert not seen_twice(noted, NOW + SETTLE - seconds(0.1), SETTLE)
    assert seen_twice(noted, NOW + SETTLE, SETTLE)
    assert absent(noted) == shown(noted) == a_link(incident=INCIDENT, sent=UP_TO_DATE)
    assert retried(noted) == noted


def test_an_incident_shown_under_another_id_is_linked_and_told_everything() -> None:
    link = a_link(incident=INCIDENT, sent=UP_TO_DATE, doubt=Doubt.UNSHOWN)
    other = an_incident(id="another")

    assert after_found(link, Found(incident=other)) == a_link(incident=other, sent=FORGOTTEN)


def test_a_closing_that_met_404_is_done_where_the_incident_is_not_found_twice() -> None:
    link = a_link(incident=INCIDENT, sent=UP_TO_DATE, alert_closed=True, close_origin=Origin.KUMA)
    doubted = unclosed(link)
    first = after_not_found(doubted, asked_at=NOW, answered_at=NOW, settle=SETTLE)
    noted = first_not_found(doubted, NOW)
    later = NOW + SETTLE
    second = after_not_found(noted, asked_at=later, answered_at=later, settle=SETTLE)

    assert step(doubted) == FindFirst()
    assert first == RetryAt(at=later, reason="not found yet", counts=False)
    assert second is None
    assert absent(noted) == changed(link, incident_closed=True)
    assert step(absent(noted)) == Nothing()


def test_a_closing_that_met_404_is_tried_again_where_the_incident_is_found() -> None:
    link = a_link(incident=INCIDENT, sent=UP_TO_DATE, alert_closed=True, close_origin=Origin.KUMA)

    found = after_found(unclosed(link), Found(incident=INCIDENT))

    assert found == link
    assert step(found) == Close()
    assert retried(unclosed(link)) == unclosed(link), "it is there: a human's retry makes no other one"


def test_without_find_a_closing_that_met_404_is_done() -> None:
    link = unclosed(a_link(incident=INCIDENT, sent=UP_TO_DATE, alert_closed=True, close_origin=Origin.KUMA))

    assert without_find(link, TargetCapabilities(can_find=False)) is None
    assert absent(link).incident_closed
