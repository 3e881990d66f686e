"""Rows of links: whatever stands in them, a create is made blindly of none, and what is held stays held."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any

from builders import NOW, a_link, an_incident, events, seen

from kuma_sync.core.alert import first_snapshot
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import UNSURE, DeliveredState, Doubt, Intent, Link
from kuma_sync.core.steps import Close, Create, FindFirst, Nothing, TargetCapabilities, next_step
from kuma_sync.store.link_rows import as_link, as_row

SNAPSHOT = first_snapshot(seen(events=events("a", "b")))
SENT = DeliveredState(fingerprint=SNAPSHOT.fingerprint, fields={"title": "t"}, events=SNAPSHOT.event_ids)
BARE = as_row(a_link(), NOW)
TRIED = as_row(a_link(sent=DeliveredState(fields={"title": UNSURE})), NOW)
MADE = as_row(a_link(incident=an_incident(), sent=SENT), NOW)
BEGUN = as_row(a_link(intent=Intent(sent=SENT, at=NOW), doubt=Doubt.AMBIGUOUS), NOW)
MARKS = ("alert_closed", "incident_closed", "held_create", "held_close", "ignored", "dropped", "missed")


def every_row() -> Iterator[dict[str, Any]]:
    """Yield rows with everything beside everything, most of which no daemon writes."""
    for known, intent, doubt, origin, marks in product(
        (BARE, TRIED, MADE), (False, True), (None, *Doubt), (None, *Origin), product((False, True), repeat=len(MARKS))
    ):
        begun = {name: BEGUN[name] for name in ("intent", "intent_events")} if intent else {}
        yield known | begun | {"doubt": doubt, "close_origin": origin} | dict(zip(MARKS, marks, strict=True))


def read(row: dict[str, Any]) -> Link:
    return as_link(SimpleNamespace(**row))


def step(link: Link) -> object:
    return next_step(SNAPSHOT, link, kept=(), capabilities=TargetCapabilities())


def test_no_row_makes_a_create_that_find_should_come_before() -> None:
    for row in every_row():
        if step(read(row)) == Create():
            assert row["incident_id"] is None, row
            assert row["intent"] is None, row
            assert row["doubt"] is None, row


def test_what_a_row_holds_or_gives_up_stays_so() -> None:
    for row in every_row():
        link = read(row)
        nothing_made = row["incident_id"] is None
        if row["dropped"] or (row["held_create"] and nothing_made):
            assert step(link) == Nothing(), row
        if row["held_close"] and row["alert_closed"]:
            assert step(link) != Close(), row
        if row["ignored"]:
            assert step(link) in (Nothing(), FindFirst()), row


def test_what_a_row_is_in_doubt_of_is_found_first() -> None:
    for row in every_row():
        given_up = row["dropped"] or row["ignored"] or row["held_create"]
        if (row["doubt"] is not None or row["intent"] is not None) and not given_up:
            assert step(read(row)) == FindFirst(), row


def test_a_closing_is_read_from_no_row_that_does_not_tell_of_one() -> None:
    for row in every_row():
        link = read(row)
        assert link.alert_closed == row["alert_closed"], row
        assert link.incident_closed == (row["incident_closed"] and row["incident_id"] is not None), row
        assert row["close_origin"] in (None, link.close_origin), row


def test_what_was_read_from_a_row_is_read_again_from_its_own() -> None:
    for row in every_row():
        link = read(row)
        assert read(as_row(link, NOW)) == link, row
