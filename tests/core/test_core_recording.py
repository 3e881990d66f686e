"""Facts about what a chunk of a read becomes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, events, seconds, seen
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import AlertId, Observation, first_snapshot
from kuma_sync.core.comparison import Changed, Unseen, Wanted, diff
from kuma_sync.core.incident import Incident, Origin
from kuma_sync.core.link import Closing, Doubt, Dropped, Ignored, Link, Linked, NotMade, Sought, State
from kuma_sync.core.plan import Brake
from kuma_sync.core.recording import Known, ReadFacts, Recording, RecordSettings, concerned, decide
from kuma_sync.core.routing import IGNORE, NO_ROUTE, Route, Routing
from kuma_sync.core.steps import TargetCapabilities

A, B, C = AlertId("a"), AlertId("b"), AlertId("c")
LINKED = Linked(incident=Incident(id="1"))
LISTING = ReadFacts(listing=True, server_now=NOW)
LATE = ReadFacts(listing=True, any_status=True, server_now=NOW, first_read=NOW - timedelta(hours=1))
OLD = NOW - timedelta(days=1)


def rules(**given: Any) -> RecordSettings:
    usual: dict[str, Any] = {
        "overlap": timedelta(minutes=5),
        "ignore_before": None,
        "brake": Brake(max_closed_percent=100, min_alerts=1),
        "routing": Routing(),
        "targets": {"irp": TargetCapabilities()},
        "wanted": Wanted(statuses=frozenset({"new"}), unseen=Unseen.OPEN),
    }
    return RecordSettings(**usual | given)


def asked(**given: Any) -> dict[str, TargetCapabilities]:
    return {"irp": TargetCapabilities(**given)}


def known(*shown: Observation, state: State = LINKED) -> Known:
    return Known(
        snapshots={item.alert.id: first_snapshot(item) for item in shown},
        links={item.alert.id: Link(alert_id=item.alert.id, state=state) for item in shown},
    )


def recording(
    *items: Observation,
    before: Known | None = None,
    facts: ReadFacts | None = None,
    given: RecordSettings | None = None,
) -> Recording:
    return decide(items, before or known(), given or rules(), facts or ReadFacts(server_now=NOW))


# New alerts


def test_a_new_alert_with_contents_gets_a_link_and_is_ready() -> None:
    made = recording(seen(id=A, events=events("x")))

    assert [link.alert_id for link in made.links] == [link.alert_id for link in made.ready] == [A]
    assert made.saved[0].contents is not None
    assert (len(made.new), made.updated, made.creates) == (1, 0, 1)


def test_a_read_of_new_alerts_alone_leaves_known_ones_as_they_are() -> None:
    grown, fresh = seen(id=A, events=events("x", "y")), seen(id=B, events=events("z"))
    before = known(seen(id=A, events=events("x")))

    made = recording(grown, fresh, before=before, facts=ReadFacts(server_now=NOW, new_alone=True))

    assert [item.snapshot.alert.id for item in made.saved] == [B]
    assert (list(made.changed), made.left_alone) == ([], {A})


def test_a_new_alert_of_a_listing_is_linked_at_once_and_its_contents_are_wanted() -> None:
    made = recording(seen(id=A), facts=LISTING)

    assert [link.alert_id for link in made.links] == [A]
    assert (list(made.wanted), made.unread, made.ready) == ([A], {A}, [])


def test_a_new_alert_of_a_listing_whose_contents_are_too_large_is_ready_without_them() -> None:
    made = recording(seen(id=A), facts=ReadFacts(listing=True, server_now=NOW, oversize=frozenset({A})))

    assert ([link.alert_id for link in made.ready], list(made.wanted)) == ([A], [])
    assert made.saved[0].snapshot.oversize


@pytest.mark.parametrize(
    ("facts", "first_seen", "state"),
    [
        (ReadFacts(server_now=NOW, swept_since=NOW - seconds(60)), NOW - seconds(60), NotMade()),
        (ReadFacts(server_now=NOW, swept_since=NOW - seconds(60)), NOW + seconds(0.9), NotMade()),
        (ReadFacts(server_now=NOW, swept_since=NOW - seconds(60)), NOW - seconds(61), Sought(doubt=Doubt.UNKNOWN)),
        (ReadFacts(server_now=NOW, swept_since=NOW - seconds(60)), NOW + seconds(1), Sought(doubt=Doubt.UNKNOWN)),
        (ReadFacts(server_now=NOW, swept_since=NOW - seconds(60)), None, Sought(doubt=Doubt.UNKNOWN)),
        (ReadFacts(server_now=NOW), NOW, Sought(doubt=Doubt.UNKNOWN)),
        (ReadFacts(swept_since=NOW - seconds(60)), NOW, Sought(doubt=Doubt.UNKNOWN)),
    ],
)
def test_only_an_alert_younger_than_the_first_read_is_created_without_find(
    facts: ReadFacts, first_seen: Any, state: State
) -> None:
    (link,) = recording(seen(id=A, events=[], first_seen=first_seen), facts=facts).links

    assert link.state == state


def test_with_find_always_a_new_alert_is_looked_for_and_without_find_never() -> None:
    proven = ReadFacts(server_now=NOW, swept_since=NOW - timedelta(hours=1))
    item = seen(id=A, events=[])

    (always,) = recording(item, facts=proven, given=rules(targets=asked(find_always=True))).links
    (never,) = recording(item, given=rules(targets=asked(find_always=True, can_find=False))).links

    assert always.state == Sought(doubt=Doubt.UNKNOWN)
    assert never.state == NotMade()


def test_the_brake_holds_the_creates_beyond_its_limit_counting_those_of_the_round() -> None:
    given = rules(brake=Brake(max_closed_percent=100, min_alerts=1, max_new=3))

    made = recording(
        *(seen(id=key, events=[]) for key in (A, B, C)), facts=ReadFacts(server_now=NOW, creates=1), given=given
    )

    assert (made.held, made.creates) == ({C}, 3)
    assert [link.held_create for link in made.links] == [False, False, True]


def test_an_alert_older_than_ignore_before_gets_a_link_and_no_incident() -> None:
    made = recording(seen(id=A, events=[], last_seen=OLD), given=rules(ignore_before=NOW))

    assert [link.state for link in made.links] == [Ignored(unknown=True)]
    assert (list(made.ready), made.creates, made.saved[0].contents) == ([], 0, None)


# Alerts that left the statuses asked for before they were read


def test_an_alert_of_another_status_from_before_the_first_read_is_left_alone() -> None:
    made = recording(seen(id=A, status="closed", first_seen=OLD), facts=LATE)

    assert made.left_alone == {A}
    assert (list(made.links), list(made.saved), dict(made.wanted)) == ([], [], {})


def test_an_alert_that_was_closed_unread_is_missed_and_gets_no_incident() -> None:
    made = recording(seen(id=A, status="closed"), facts=LATE)

    assert [alert.id for alert in made.missed] == [A]
    assert [link.missed for link in made.links] == [True]
    assert (list(made.ready), dict(made.wanted), list(made.new)) == ([], {}, [])


def test_an_alert_that_was_taken_unread_is_wanted_and_looked_for_first() -> None:
    facts = ReadFacts(
        listing=True, any_status=True, server_now=NOW, first_read=OLD, swept_since=NOW - timedelta(hours=1)
    )

    made = recording(seen(id=A, status="assigned"), facts=facts)

    assert list(made.wanted) == [A]
    assert [link.state for link in made.links] == [Sought(doubt=Doubt.UNKNOWN)]


def test_new_alerts_of_the_late_listing_dated_before_the_watermark_count_as_late() -> None:
    facts = ReadFacts(listing=True, any_status=True, server_now=NOW, first_read=OLD, watermark=NOW)

    made = recording(seen(id=A, last_seen=NOW - seconds(1)), seen(id=B, last_seen=NOW), facts=facts)

    assert made.late == 1


# Known alerts


def test_a_known_alert_as_it_was_changes_nothing() -> None:
    item = seen(id=A, events=events("x"))

    made = recording(item, before=known(item))

    assert (list(made.saved), list(made.changed), made.updated) == ([], [], 0)


def test_a_known_alert_that_grew_is_told_with_its_contents() -> None:
    made = recording(seen(id=A, events=events("x", "y")), before=known(seen(id=A, events=events("x"))))

    assert [link.alert_id for link in made.changed] == [A]
    assert made.saved[0].contents is not None
    assert made.updated == 1


def test_a_known_alert_of_a_listing_whose_scalars_differ_is_wanted_and_not_written() -> None:
    made = recording(seen(id=A, name="new name"), before=known(seen(id=A, events=[])), facts=LISTING)

    assert (list(made.wanted), list(made.saved), list(made.changed)) == ([A], [], [])


def test_contents_of_an_alert_that_is_new_in_this_round_count_as_no_update() -> None:
    facts = ReadFacts(server_now=NOW, unread=frozenset({A}))

    made = recording(seen(id=A, events=events("x")), before=known(seen(id=A), state=NotMade()), facts=facts)

    assert [link.alert_id for link in made.changed] == [A]
    assert made.updated == 0


def test_an_ignored_alert_wakes_when_it_changes_and_its_create_is_counted() -> None:
    before = known(seen(id=A, events=[]), state=Ignored())

    made = recording(seen(id=A, events=events("x")), before=before)

    assert ([link.alert_id for link in made.changed], made.creates) == ([A], 1)


def test_first_contents_or_an_unwanted_status_do_not_wake_an_ignored_alert() -> None:
    unread = known(seen(id=A), state=Ignored())
    read = known(seen(id=A, events=[]), state=Ignored(missed=True))

    first = recording(seen(id=A, events=events("x")), before=unread)
    closed = recording(seen(id=A, events=[], status="closed"), before=read)

    assert (list(first.changed), first.saved[0].contents) == ([], None)
    assert (list(closed.changed), closed.creates) == ([], 0)


def test_the_contents_of_an_ignored_alert_with_an_unwanted_status_are_not_wanted() -> None:
    before = known(seen(id=A, events=[]), state=Ignored(missed=True))

    made = recording(seen(id=A, status="closed"), before=before, facts=LATE)

    assert dict(made.wanted) == {}
    assert [item.recheck for item in made.saved] == [False]


def test_a_dropped_alert_that_changes_is_told_and_plans_no_create() -> None:
    before = known(seen(id=A, events=[]), state=Dropped(was=Ignored()))

    made = recording(seen(id=A, events=events("x")), before=before)

    assert ([link.alert_id for link in made.changed], made.creates) == ([A], 0)


# Another look


@pytest.mark.parametrize(
    ("facts", "last_seen", "recheck"),
    [
        (ReadFacts(server_now=NOW), NOW - timedelta(minutes=5), True),
        (ReadFacts(server_now=NOW), NOW - timedelta(minutes=5, seconds=1), False),
        (ReadFacts(server_now=NOW), None, False),
        (ReadFacts(), OLD, True),
    ],
)
def test_contents_are_looked_at_again_only_while_a_listing_may_hide_growth(
    facts: ReadFacts, last_seen: Any, recheck: bool
) -> None:
    (item,) = recording(seen(id=A, events=[], last_seen=last_seen), facts=facts).saved

    assert item.recheck is recheck


def test_an_alert_shown_by_a_listing_only_is_looked_at_again() -> None:
    (item,) = recording(seen(id=A, last_seen=OLD), facts=LISTING).saved

    assert item.recheck


# Links that decide


LISTED = st.builds(
    lambda key, name, contents, large: seen(id=key, name=name, events=contents, oversize=large),
    st.sampled_from([A, B, C]),
    st.sampled_from(["one", "two"]),
    st.sampled_from([None, [], events("x"), events("x", "y")]),
    st.booleans(),
)


@given(
    known_before=st.lists(LISTED, max_size=3),
    shown=st.lists(LISTED, max_size=3),
    large=st.sets(st.sampled_from([A, B, C])),
)
def test_every_alert_that_changed_has_its_link_asked_for(
    known_before: list[Observation], shown: list[Observation], large: set[AlertId]
) -> None:
    snapshots = known(*known_before).snapshots
    items = list({item.alert.id: item for item in shown}.values())
    as_recorded = [replace(item, oversize=item.oversize or item.alert.id in large) for item in items]
    changed = {one.snapshot.alert.id for one in diff(as_recorded, snapshots) if isinstance(one, Changed)}

    assert changed <= concerned(items, snapshots, large)


def test_only_links_of_known_alerts_that_may_have_changed_are_asked_for() -> None:
    same, renamed, grown = seen(id=A, events=[]), seen(id=B, events=[]), seen(id=C, events=[])
    before = known(same, renamed, grown).snapshots

    assert concerned([seen(id=A), seen(id=B, name="x"), seen(id=C)], before, frozenset({C})) == {B, C}
    assert concerned([seen(id=A, events=[]), seen(id=AlertId("new"), events=[])], before, frozenset()) == {A}


# Routes


def routed(*routes: Route, default: str = "irp") -> RecordSettings:
    return rules(routing=Routing(routes=routes, default=default), targets=asked() | {"north": TargetCapabilities()})


def test_the_first_route_that_takes_a_new_alert_names_its_target() -> None:
    given = routed(Route(target="north", priorities=frozenset({"high"})), Route(target="south"))

    made = recording(seen(id=A, priority="high"), seen(id=B, priority="low"), given=given)

    assert {link.alert_id: link.target for link in made.links} == {A: "north", B: "south"}


def test_a_target_that_cannot_be_asked_is_not_asked_and_one_that_is_unknown_is() -> None:
    given = rules(routing=Routing(default="north"), targets={"north": TargetCapabilities(can_find=False)})
    broken = rules(routing=Routing(default="broken"), targets={})

    (unasked,) = recording(seen(id=A), given=given).links
    (found_first,) = recording(seen(id=A), given=broken).links

    assert isinstance(unasked.state, NotMade)
    assert found_first.state == Sought(doubt=Doubt.UNKNOWN)


def test_an_alert_that_a_route_ignores_is_recorded_and_makes_no_incident() -> None:
    made = recording(seen(id=A), given=routed(Route(target=IGNORE)))

    (link,) = made.links
    assert (link.target, isinstance(link.state, Ignored), list(made.ready), made.creates) == (IGNORE, True, [], 0)


def test_an_alert_that_a_route_ignored_is_looked_at_anew_when_it_changes() -> None:
    given = routed(Route(target=IGNORE, priorities=frozenset({"low"})), default="north")
    before = seen(id=A, priority="low")
    ignored = Link(alert_id=A, target=IGNORE, state=Ignored())
    known_before = Known(snapshots={A: first_snapshot(before)}, links={A: ignored})

    still = recording(seen(id=A, priority="low", name="other"), before=known_before, given=given)
    woken = recording(seen(id=A, priority="high"), before=known_before, given=given)

    assert (list(still.changed), still.creates) == ([], 0)
    assert [(link.alert_id, link.target) for link in woken.changed] == [(A, "north")]
    assert woken.creates == 1


def test_an_alert_keeps_its_target_when_the_routes_change() -> None:
    before = seen(id=A, events=events("x"))
    known_before = known(before)

    (link,) = recording(
        seen(id=A, events=events("x", "y")), before=known_before, given=routed(Route(target="north"))
    ).changed

    assert link.target == "irp"


def test_an_alert_without_a_route_has_no_target() -> None:
    (link,) = recording(seen(id=A), given=routed(default=NO_ROUTE)).links

    assert link.target == NO_ROUTE


# Targets that came and went

TO_NORTH = Routing(routes=[Route(target="north")])
NOWHERE = Routing(default=NO_ROUTE, targets=frozenset({"irp"}))


def of(target: str, item: Observation, state: State = LINKED, **given: Any) -> Known:
    link = Link(alert_id=A, target=target, state=state, **given)
    return Known(snapshots={A: first_snapshot(item)}, links={A: link})


@pytest.mark.parametrize(
    ("routing", "state"),
    [
        (TO_NORTH, Sought(doubt=Doubt.UNKNOWN)),
        (NOWHERE, Sought(doubt=Doubt.UNKNOWN)),
        (Routing(routes=[Route(target=IGNORE)]), Ignored(unknown=True)),
    ],
)
def test_where_no_target_works_even_the_youngest_alert_is_looked_for(routing: Routing, state: State) -> None:
    proven = ReadFacts(server_now=NOW, swept_since=NOW - timedelta(hours=1))

    (link,) = recording(seen(id=A, events=[]), facts=proven, given=rules(routing=routing)).links

    assert link.state == state


def test_an_alert_without_a_route_that_changes_goes_where_a_route_leads_by_then() -> None:
    before, after = seen(id=A, events=[]), seen(id=A, events=[], priority="critical")

    stays = recording(after, before=of(NO_ROUTE, before, NotMade()), given=rules(routing=NOWHERE))
    goes = recording(after, before=of(NO_ROUTE, before, NotMade()), given=rules(routing=TO_NORTH))
    ignored = recording(
        after, before=of(NO_ROUTE, before, NotMade()), given=rules(routing=Routing(routes=[Route(target=IGNORE)]))
    )

    anew = Link(alert_id=A, target="north", state=Sought(doubt=Doubt.UNKNOWN))
    assert (stays.routed, [link.target for link in stays.changed]) == ([], [NO_ROUTE])
    assert (goes.routed, goes.creates, [link.target for link in goes.changed]) == ([anew], 1, ["north"])
    assert (ignored.routed, ignored.changed) == ([replace(anew, target=IGNORE, state=Ignored(unknown=True))], [])


def test_the_brake_counts_and_holds_an_alert_that_a_route_takes_when_it_changes() -> None:
    before, after = seen(id=A, events=[]), seen(id=A, events=[], priority="critical")
    brake = Brake(max_closed_percent=100, min_alerts=1, max_new=1)

    made = recording(
        after,
        before=of(NO_ROUTE, before, NotMade()),
        facts=ReadFacts(server_now=NOW, creates=1),
        given=rules(routing=TO_NORTH, brake=brake),
    )

    assert [link.held_create for link in made.routed] == [True]


def test_nothing_more_is_told_of_an_incident_that_was_closed_in_a_gone_target() -> None:
    before, after = seen(id=A, events=[]), seen(id=A, events=[], priority="critical")
    over = Closing(origin=Origin.IRP, incident=True)

    closed = recording(after, before=of("north", before, closing=over), given=rules(routing=NOWHERE))
    served = recording(after, before=of("irp", before, closing=over), given=rules(routing=NOWHERE))
    still_open = recording(after, before=of("north", before), given=rules(routing=NOWHERE))

    assert [len(made.changed) for made in (closed, served, still_open)] == [0, 1, 1]
    assert len(closed.saved) == 1


def test_an_ignored_alert_of_a_gone_target_that_changes_goes_where_routes_say() -> None:
    before, after = seen(id=A, events=[]), seen(id=A, events=[], priority="critical")

    made = recording(
        after,
        before=of("north", before, Ignored()),
        given=rules(routing=Routing(targets=frozenset({"irp"}))),
    )

    assert [link.target for link in made.changed] == ["irp"]
