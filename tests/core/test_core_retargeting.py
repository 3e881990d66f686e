"""What a link becomes where its alert gets another target, or its first one."""

from __future__ import annotations

import pytest

from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import Doubt, Dropped, Ignored, Link, NotMade, Sought, State
from kuma_sync.core.retargeting import noticed, routed
from kuma_sync.core.routing import IGNORE, NO_ROUTE

A = AlertId("a")
LOOKED_FOR = Sought(doubt=Doubt.UNKNOWN)
HELD = Sought(doubt=Doubt.UNKNOWN, held=True)


@pytest.mark.parametrize(
    ("before", "target", "held", "after"),
    [
        (NotMade(), "north", False, LOOKED_FOR),
        (NotMade(held=True), "north", False, HELD),
        (NotMade(), "north", True, HELD),
        (LOOKED_FOR, "north", False, LOOKED_FOR),
        (NotMade(), IGNORE, False, Ignored(unknown=True)),
        (Dropped(was=NotMade()), "north", False, Dropped(was=LOOKED_FOR)),
    ],
)
def test_an_alert_that_gets_a_route_is_looked_for_before_its_incident_is_made(
    before: State, target: str, held: bool, after: State
) -> None:
    link = routed(Link(alert_id=A, target=NO_ROUTE, state=before), target, held=held)

    assert link == Link(alert_id=A, target=target, state=after)


def test_an_alert_that_has_a_target_keeps_it_whatever_the_routes_say() -> None:
    link = Link(alert_id=A, target="north", state=NotMade())

    assert routed(link, "south") == link
    assert routed(Link(alert_id=A, target=NO_ROUTE), NO_ROUTE) == Link(alert_id=A, target=NO_ROUTE)


def test_an_alert_that_was_ignored_is_looked_for_where_its_target_is_another_one() -> None:
    ignored = Link(alert_id=A, target=IGNORE, state=Ignored())

    goes = noticed(ignored, held=False, target="north")
    stays = noticed(Link(alert_id=A, target="irp", state=Ignored()), held=False, target="irp")

    assert goes == Link(alert_id=A, target="north", state=LOOKED_FOR)
    assert stays == Link(alert_id=A, target="irp", state=NotMade())
