"""The first sentence of `status` and the console: whether alerts flow, and where they stand still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from builders import NOW

from kuma_sync.app.flow import Flowing, flow, told
from kuma_sync.app.processes import Running
from kuma_sync.app.pullers import Puller
from kuma_sync.core.condition import Trouble
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.store import Heartbeat, Process
from kuma_sync.store.activity import Counts
from kuma_sync.store.jobs import Depth
from kuma_sync.store.queue import QueueCounts
from kuma_sync.store.read_models.activity import Slot
from kuma_sync.store.read_models.groups import Group, Kind
from kuma_sync.store.read_models.overview import AlertState

AGO = NOW - timedelta(minutes=14)
NOTHING = Slot(start=NOW, kuma=Counts(), targets={})


def running(*troubles: tuple[str, str, str]) -> Running:
    process = Process(owner="vm:1:x", host="vm", pid=1, version="0.1.0", started_at=AGO, single_pass=False)
    condition = tuple(Trouble(part=part, state=state, reason=why, since=AGO) for part, state, why in troubles)
    return Running(daemons=(Heartbeat(process=process, heard_at=NOW, silent=timedelta(), condition=condition),))


def lately(new: int, **targets: Counts) -> Slot:
    return Slot(start=NOW, kuma=Counts(arrived=new), targets=targets)


def waiting(count: int, *, since: timedelta = timedelta()) -> QueueCounts:
    return QueueCounts(jobs={Depth.BACKOFF: count}, oldest=NOW - since)


def facts_of(*troubles: tuple[str, str, str], **facts: object) -> Flowing:
    known = Flowing(
        now=NOW,
        running=running(*troubles),
        deliveries=dict[str, QueueCounts](),
        closes=QueueCounts(),
        paused=(),
        lately=NOTHING,
    )
    return replace(known, **facts)  # type: ignore[arg-type]  # each test names the facts it has


def said(*troubles: tuple[str, str, str], **facts: object) -> str:
    return flow(facts_of(*troubles, **facts)).english(NOW)


def group(kind: Kind, count: int, *, oldest: datetime | None = AGO) -> Group:
    return Group(key=kind, kind=kind, target="irp", reason="", count=count, oldest=oldest, reasons=())


def test_when_all_is_well_it_says_how_many_came_and_how_fast_they_were_delivered() -> None:
    told = Counts(delivered=14, waited=20, longest=3.2)

    assert said(lately=lately(12, irp=told)) == (
        "Alerts flow: 12 new in the last hour, all delivered; the longest wait in the queue was 3 s"
    )
    assert said(lately=lately(1, irp=replace(told, longest=0.1))).endswith(
        "1 new in the last hour, all delivered; the longest wait in the queue was 1 s"
    )


def test_a_quiet_hour_flows_and_says_so() -> None:
    assert said() == "Alerts flow: nothing new in the last hour"


def test_what_is_on_its_way_is_not_called_delivered() -> None:
    told = lately(12, irp=Counts(delivered=9, waited=9, longest=1))

    assert said(lately=told, deliveries={"irp": waiting(3)}) == (
        "Alerts flow: 12 new in the last hour, 3 are on their way"
    )


def test_what_the_brake_holds_is_the_first_thing_said_with_how_many_of_how_many() -> None:
    alerts = {AlertState.HELD: 35, AlertState.OPEN: 4, AlertState.PENDING: 1, AlertState.CLOSED: 100}

    assert said(lately=lately(40), stopped=[group(Kind.HELD_CREATE, 35)], alerts=alerts) == (
        "35 of 40 open alerts wait for a person: 35 held by the brake since 2026-01-15 11:46:00Z, 14 min ago (look, "
        "then release or give up)"
    )


def test_alerts_without_a_route_and_parked_ones_are_said_too_and_alerts_do_not_flow() -> None:
    alerts = {AlertState.HELD: 9, AlertState.PARKED: 1, AlertState.OPEN: 3}
    both = [group(Kind.UNROUTED, 9), group(Kind.DELIVERY, 1)]

    assert said(lately=lately(12), stopped=both, alerts=alerts) == (
        "10 of 13 open alerts wait for a person: 9 without a route (the configuration needs one), 1 parked (try it "
        "again, or give it up)"
    )


def test_a_parked_piece_that_is_no_alert_waits_for_a_person_too() -> None:
    assert said(stopped=[group(Kind.PIECE, 1)]) == "1 parked (try it again, or give it up)"


def test_a_refused_configuration_is_said_with_its_time_and_that_a_restart_would_fail() -> None:
    assert said(("configuration", "refused", "poll.intervall: unknown key")) == (
        "The configuration on disk is refused since 2026-01-15 11:46:00Z, 14 min ago, the one before works on. "
        "Do not restart until it is mended: poll.intervall: unknown key"
    )
    assert said(refused="poll.intervall: unknown key").endswith("until it is mended: poll.intervall: unknown key")


def test_a_configuration_refused_where_no_daemon_runs_is_not_said_to_work_on() -> None:
    elsewhere = replace(running(), asked_on="another")

    assert said(refused="irp.tokn: unknown key", running=elsewhere) == (
        "The configuration here is refused; the daemon runs on vm. If it reads this file, too, do not restart it until "
        "it is mended: irp.tokn: unknown key"
    )
    assert "the one before works on" in said(refused="x", running=replace(running(), asked_on="vm"))


@pytest.mark.parametrize("part", ["store", "kuma", "poll", "irp", "delivery", "close", "irp:north", "another"])
def test_while_any_part_fails_it_is_never_said_that_alerts_flow(part: str) -> None:
    assert "Alerts flow" not in said((part, "failing", "x"), lately=lately(2))


def test_all_that_is_wrong_is_told_the_worst_first() -> None:
    facts = facts_of(("irp", "paused", "503"), ("configuration", "refused", "x"), stopped=[group(Kind.HELD_CREATE, 2)])

    assert [str(one).split(" ")[0] for one in told(facts)] == ["Deliveries", "The", "2"]


def test_a_refused_configuration_is_told_before_a_pause_that_somebody_wants() -> None:
    paused = Maintenance(part="north", since=AGO, until=None, by="anna")
    both = facts_of(("configuration", "refused", "x"), ("close", "failing", "x"), paused=[paused])

    assert [str(one).split(" ")[0] for one in told(both)] == ["The", "north", "Closings"]
    assert str(told(replace(both, running=running(), refused="x"))[0]).startswith(
        "The configuration on disk is refused"
    )


def test_an_irp_that_polls_us_and_never_asked_must_be_looked_at_there() -> None:
    asks = Puller(target="irp", waiting=12)
    reason = ("irp", "failing", "nobody asked for alerts for 14 s")

    for troubles in ([], [reason]):
        assert said(*troubles, polling=[asks]) == (
            "The IRP has never fetched its alerts: it must ask us. Look at its connector and its token; 12 wait"
        )
    assert said(reason, polling=[replace(asks, asked_at=AGO)]) == (
        "The IRP has fetched no alerts since 2026-01-15 11:46:00Z, 14 min ago: it must ask us. Look at its "
        "connector and its token; 12 wait"
    )


def test_what_is_to_be_fetched_is_on_its_way() -> None:
    sentence = said(lately=lately(3), polling=[Puller(target="irp", waiting=3, asked_at=NOW)])

    assert sentence == "Alerts flow: 3 new in the last hour, 3 are on their way"


def test_closings_in_the_irp_that_cannot_be_looked_for_are_no_trouble_of_kuma() -> None:
    assert said(("close", "failing", "watch:north: answered 503")) == (
        "Not well for 14 min, and tried again: looking for closed incidents in north: answered 503"
    )


def test_in_its_first_minute_a_daemon_does_not_claim_that_nothing_came() -> None:
    young = running()
    process = replace(young.daemons[0].process, started_at=NOW - timedelta(seconds=20))
    fresh = replace(young, daemons=(replace(young.daemons[0], process=process),))

    assert said(running=fresh) == "Alerts flow"
    assert said(running=fresh, deliveries={"irp": waiting(12)}) == "Alerts flow: 12 are on their way"


def test_a_target_that_stands_still_is_named_with_its_reason_and_what_waits() -> None:
    deliveries: Mapping[str, QueueCounts] = {"north": waiting(37), "irp": waiting(5)}

    assert said(("irp:north", "paused", "503 from north"), deliveries=deliveries) == (
        "Deliveries to north stand still for 14 min, and are tried again by themselves: 503 from north; 37 wait"
    )


def test_a_kuma_that_is_away_comes_before_an_irp_that_is() -> None:
    sentence = said(("irp", "paused", "x"), ("kuma", "failing", "refused"), ("poll", "failing", "refused"))

    assert sentence.startswith("KUMA is not read for 14 min, and is tried again by itself")


def test_where_kuma_lacks_the_path_of_closings_only_they_are_said_to_stand_still() -> None:
    sentence = said(("kuma", "paused", "close at https://kuma:7223/api/v1/alerts/close answered 404 Not Found"))

    assert sentence == (
        "Closings in KUMA stand still for 14 min, and are tried again by themselves: "
        "close at https://kuma:7223/api/v1/alerts/close answered 404 Not Found"
    )


@pytest.mark.parametrize("part", ["kuma", "irp"])
def test_a_refused_token_is_said_to_need_a_person_and_not_to_mend_itself(part: str) -> None:
    sentence = said((part, "paused", "token refused (answered 401)"))

    assert "Look at its token: token refused (answered 401)" in sentence
    assert "tried again" not in sentence


def test_where_it_is_known_when_a_side_is_tried_next_that_is_said() -> None:
    tries = {"kuma": NOW + timedelta(seconds=30), "irp:north": NOW + timedelta(seconds=20)}

    assert said(("poll", "failing", "503"), tries=tries) == (
        "KUMA is not read for 14 min, and is tried again at 2026-01-15 12:00:30Z, in 30 s; new alerts wait there: 503"
    )
    assert said(("delivery:north", "failing", "503"), tries=tries) == (
        "Deliveries to north stand still for 14 min, and are tried again at 2026-01-15 12:00:20Z, in 20 s: 503"
    )
    assert "by themselves" in said(("irp", "paused", "503"), tries=tries)
    assert "12:00:20" not in said(("irp:north", "paused", "token refused (answered 401)"), tries=tries)


def test_closings_that_wait_for_a_kuma_that_is_away_are_counted() -> None:
    assert said(("kuma", "paused", "x"), closes=waiting(2)).endswith(": x; 2 closings wait, too")


def test_a_start_and_a_standby_keep_nothing_from_flowing() -> None:
    assert said(("poll", "standby", ""), ("irp", "starting", "")).startswith("Alerts flow")


def test_a_pause_says_who_and_how_many_wait() -> None:
    paused = Maintenance(part="north", since=AGO, until=None, by="anna")

    assert said(paused=[paused], deliveries={"north": waiting(2)}) == (
        "north is paused (by anna; begun 2026-01-15 11:46:00Z, 14 min ago; until somebody resumes it); 2 wait"
    )
    assert said(paused=[replace(paused, until=AGO)]).startswith("Alerts flow")


@pytest.mark.parametrize(
    ("part", "troubles", "reason"),
    [
        ("north", [("irp:north", "503"), ("delivery:north", "nothing done"), ("irp", "other")], "503"),
        ("north", [("delivery:north", "nothing done")], "nothing done"),
        ("kuma", [("poll", "503"), ("close", "tenant")], "503"),
        ("close", [("kuma", "503"), ("close", "tenant")], "tenant"),
    ],
)
def test_what_fails_under_a_pause_is_told_behind_it(part: str, troubles: list[tuple[str, str]], reason: str) -> None:
    paused = Maintenance(part=part, since=AGO, until=None, by="anna")
    (heartbeat,) = running().daemons
    condition = tuple(
        Trouble(part=name, state="failing", reason=why, since=AGO, maintained=True) for name, why in troubles
    )
    beneath = Running(daemons=(replace(heartbeat, condition=condition),))
    facts = facts_of(paused=[paused], running=beneath, deliveries={"north": waiting(2)})
    count = "; 2 wait" if part == "north" else ""

    assert [one.english(NOW) for one in told(facts)] == [
        f"{part} is paused (by anna; begun 2026-01-15 11:46:00Z, 14 min ago; until somebody resumes it){count}. "
        f"It also fails since 2026-01-15 11:46:00Z, 14 min ago: {reason}"
    ]
    assert "It also fails" not in said(paused=[replace(paused, part="south")], running=beneath)


def test_jobs_that_wait_for_long_although_nothing_is_wrong_are_told() -> None:
    sentence = said(deliveries={"irp": waiting(4, since=timedelta(minutes=20))})

    assert sentence == "Alerts flow slowly: 4 wait for their delivery, the oldest since 20 min"


def test_without_a_daemon_nothing_flows() -> None:
    assert said(running=Running()) == "Nothing flows: no daemon runs"
    assert said(running=Running(), deliveries={"irp": waiting(1)}) == "Nothing flows: no daemon runs; 1 waits"


def test_closings_that_stand_still_are_told() -> None:
    sentence = said(("close", "failing", "tenant disabled 100%"), closes=waiting(2))

    assert sentence.startswith("Closings in KUMA stand still for 14 min")
    assert sentence.endswith("tenant disabled 100%; 2 wait")
