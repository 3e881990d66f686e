"""Whether an alert and its incident agree: every verdict, by what both sides and the store have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kuma_sync.core.agreement import Carried, Evidence, Jobs, Verdict, judge
from kuma_sync.core.alert import Alert, AlertId, AlertSnapshot
from kuma_sync.core.incident import Found, Incident, Origin
from kuma_sync.core.link import Closing, DeliveredState, Dropped, Ignored, InKuma, Link, Linked, NotMade, Offered
from kuma_sync.core.routing import IGNORE, NO_ROUTE

ID = AlertId("a")
ALERT = Alert(id=ID, status="new", priority="high")
CLOSED = replace(ALERT, status="closed")
SNAPSHOT = AlertSnapshot(alert=ALERT)
SENT = DeliveredState(fingerprint=SNAPSHOT.fingerprint)
INCIDENT = Incident(id="1", number="SV-1")
LINK = Link(alert_id=ID, state=Linked(incident=INCIDENT, sent=SENT))
OPEN, DONE = Found(incident=INCIDENT), Found(incident=INCIDENT, closed=True)
OTHER = Found(incident=Incident(id="2"))
ALL = Carried(to_kuma=True, to_irp=True, find_shows_closed=True)
BOTH = Closing(origin=Origin.IRP, alert=InKuma.CLOSED, incident=True)


def verdict(carried: Carried = ALL, **sides: Any) -> tuple[Verdict, str]:
    known: dict[str, Any] = {"alert": ALERT, "snapshot": SNAPSHOT, "link": LINK, "found": [OPEN], "target": "irp"}
    judged = judge(Evidence(alert_id=ID, **(known | sides)), carried)
    return judged.verdict, judged.why


@pytest.mark.parametrize(
    "sides",
    [
        {},
        {"found": None},
        {"alert": CLOSED, "link": replace(LINK, closing=BOTH), "found": [DONE]},
        {"found": [OPEN, replace(OTHER, closed=True)]},
        {"alert": CLOSED, "link": replace(LINK, state=Offered(sent=SENT, closed=True)), "found": None},
    ],
)
def test_sides_that_say_the_same_agree(sides: dict[str, Any]) -> None:
    assert verdict(**sides) == (Verdict.AGREES, "")


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ({"link": None, "snapshot": None, "found": []}, Verdict.LOST),
        ({"link": None, "snapshot": None, "found": [OPEN]}, Verdict.DIFFERING),
        ({"link": replace(LINK, state=NotMade()), "found": []}, Verdict.LOST),
        ({"link": replace(LINK, state=NotMade())}, Verdict.DIFFERING),
        ({"found": []}, Verdict.LOST),
        ({"alert": None, "found": []}, Verdict.LOST),
        ({"found": [OPEN, OTHER]}, Verdict.DOUBLED),
        ({"found": [OPEN, OTHER], "jobs": Jobs(parked=True)}, Verdict.DOUBLED),
        ({"found": [OTHER]}, Verdict.DIFFERING),
        ({"alert": replace(ALERT, priority="low")}, Verdict.DIFFERING),
        ({"snapshot": replace(SNAPSHOT, oversize=True)}, Verdict.DIFFERING),
        ({"found": [DONE]}, Verdict.HALF_CLOSED),
        ({"alert": CLOSED}, Verdict.HALF_CLOSED),
    ],
)
def test_sides_that_differ_are_told_by_how(sides: dict[str, Any], expected: Verdict) -> None:
    assert verdict(**sides)[0] is expected


@pytest.mark.parametrize(
    ("sides", "why"),
    [
        ({"jobs": Jobs(parked=True)}, "parked"),
        ({"jobs": Jobs(held=True)}, "held by the brake"),
        ({"jobs": Jobs(waits=True)}, "waits on a queue"),
        ({"link": replace(LINK, state=NotMade(held=True))}, "held by the brake"),
        ({"link": replace(LINK, state=Dropped(was=NotMade()))}, "dropped"),
        ({"link": replace(LINK, state=Ignored(missed=True))}, "missed"),
        ({"link": replace(LINK, state=Ignored())}, "ignored"),
        ({"link": Link(alert_id=ID, target=NO_ROUTE)}, "no route"),
        ({"link": replace(LINK, closing=BOTH)}, "closed, deleted in the IRP"),
        ({"link": None, "snapshot": None, "target": IGNORE}, "ignored by a route"),
    ],
)
def test_what_the_store_explains_is_not_lost(sides: dict[str, Any], why: str) -> None:
    assert verdict(**{"found": [], **sides}) == (Verdict.EXPLAINED, why)


@pytest.mark.parametrize(
    ("carried", "sides", "why"),
    [
        (replace(ALL, to_kuma=False), {"found": [DONE]}, "closed in the IRP, close.to_kuma is off"),
        (replace(ALL, to_irp=False), {"alert": CLOSED}, "closed in KUMA, closings are not carried to the IRP"),
        (ALL, {"alert": CLOSED, "link": replace(LINK, closing=BOTH)}, "reopened in the IRP"),
        (ALL, {"alert": None}, "gone from KUMA"),
    ],
)
def test_a_closing_that_is_not_carried_explains_itself(carried: Carried, sides: dict[str, Any], why: str) -> None:
    assert verdict(carried, **sides) == (Verdict.EXPLAINED, why)


def test_where_find_tells_no_closing_the_store_is_believed() -> None:
    unshown = replace(ALL, find_shows_closed=False)

    assert verdict(unshown, alert=CLOSED, link=replace(LINK, closing=BOTH)) == (Verdict.AGREES, "")
    assert verdict(unshown, link=replace(LINK, closing=replace(BOTH, alert=InKuma.OPEN)))[0] is Verdict.HALF_CLOSED
