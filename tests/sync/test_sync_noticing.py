"""What needs a human, made of conditions, counts and certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kuma_sync.core.condition import CONFIGURATION, REFUSED, Condition, Trouble
from kuma_sync.core.notices import Event, Notice, Severity
from kuma_sync.sync.runtime.noticing import is_judged, of_backlog, of_certificates, of_conditions
from kuma_sync.telemetry.health import Health

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def condition(*troubles: tuple[str, str, str]) -> Condition:
    return tuple(Trouble(part=part, state=state, reason=reason, since=NOON) for part, state, reason in troubles)


def said(notices: list[Notice]) -> list[tuple[str, str, str]]:
    return [(one.event.value, one.severity.value, one.target) for one in notices]


@pytest.mark.parametrize(
    ("part", "state", "reason", "expected"),
    [
        ("kuma", "paused", "token refused (answered 401)", ("paused", "critical", "kuma")),
        ("irp", "paused", "token refused (answered 401)", ("paused", "critical", "irp")),
        ("irp:north", "paused", "create answered 302: is the address right?", ("paused", "critical", "north")),
        ("irp:north", "paused", "out of service: no connection", ("stuck", "critical", "north")),
        ("irp:north", "failing", "the profile cannot be read", ("stuck", "critical", "north")),
        ("irp:south", "failing", "nobody asked for alerts for 700 s; …", ("nobody_asks", "critical", "south")),
        ("delivery", "failing", "nothing done for 900 s, though work waits", ("stuck", "critical", "irp")),
        ("poll", "failing", "no success for 70 s", ("stuck", "critical", "kuma")),
        ("close", "failing", "nothing done for 900 s, though work waits", ("stuck", "critical", "kuma")),
        ("close", "failing", "watch:north: answered 500", ("stuck", "warning", "north")),
        ("close", "failing", "watch: answered 500", ("stuck", "warning", "irp")),
        ("store", "failing", "the disk is full", ("store_unavailable", "critical", "store")),
        (CONFIGURATION, REFUSED, "irp.url: cannot change", ("configuration_refused", "warning", "")),
    ],
)
def test_a_trouble_becomes_a_notice(part: str, state: str, reason: str, expected: tuple[str, str, str]) -> None:
    (notice,) = of_conditions([condition((part, state, reason))])

    assert said([notice]) == [expected]
    assert reason in notice.text
    assert notice.since == NOON


@pytest.mark.parametrize("state", ["starting", "standby"])
def test_what_begins_or_stands_by_needs_nobody(state: str) -> None:
    assert of_conditions([condition(("poll", state, ""), ("kuma", state, ""))]) == []


def test_what_fails_only_for_its_side_is_told_of_the_side() -> None:
    refused = "token refused (answered 401)"
    known = condition(
        ("kuma", "paused", refused), ("poll", "failing", refused), ("irp:north", "paused", "out of service: 503")
    ) + condition(("delivery:north", "failing", "nothing done for 900 s"), ("close", "failing", "watch:north: 503"))

    assert said(of_conditions([known])) == [("paused", "critical", "kuma"), ("stuck", "critical", "north")]


def test_two_copies_with_the_same_trouble_tell_it_once_with_its_begin() -> None:
    earlier = Trouble(part="kuma", state="paused", reason="token refused", since=NOON - timedelta(hours=1))

    (notice,) = of_conditions([condition(("kuma", "paused", "token refused")), (earlier,)])

    assert notice.since == NOON - timedelta(hours=1)


def test_what_waits_for_a_human_is_told_by_target() -> None:
    found = list(of_backlog({"irp": 0, "north": 3, "kuma": 1}, {"irp": 12, "": 2}, NOON))

    assert said(found) == [
        ("parked", "warning", "north"),
        ("parked", "warning", "kuma"),
        ("held", "warning", "irp"),
        ("held", "warning", "no route"),
    ]
    assert "3 jobs" in found[0].text
    assert found[1].words.startswith("parked towards KUMA: 1 job; see `kuma-sync")


@pytest.mark.parametrize(("days", "severity"), [(13, "warning"), (-1, "critical")])
def test_a_certificate_is_told_fourteen_days_before_its_end(days: int, severity: str) -> None:
    ends = {"irp:north": NOON + timedelta(days=days), "kuma": NOON + timedelta(days=15)}

    assert said(list(of_certificates(ends, NOON))) == [("certificate_expires", severity, "north")]


def test_a_pass_judges_only_the_sides_that_it_asked() -> None:
    health = Health(monotonic=lambda: 0.0)
    health.expect_targets(["irp", "north", "south"])
    health.succeeded("irp")
    health.failed("irp:north", "answered 503")
    health.maintained({"kuma": "an operator paused kuma"})
    parts = health.ready().parts

    def judged(event: Event, target: str) -> bool:
        notice = Notice(event=event, severity=Severity.CRITICAL, text="", target=target, since=NOON)
        return is_judged(notice, parts, {"kuma": NOON})

    assert [name for name in ("irp", "north", "south", "kuma", "gone") if judged(Event.STUCK, name)] == ["irp", "gone"]
    assert [name for name in ("irp", "kuma", "door") if judged(Event.CERTIFICATE, name)] == ["kuma"]
    assert [event.value for event in Event if judged(event, "south")] == [
        *("parked", "held", "configuration_refused", "store_unavailable")
    ]
