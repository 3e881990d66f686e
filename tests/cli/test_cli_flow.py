"""The first sentence of `status` and the console: whether alerts flow, and where they stand still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from builders import NOW

from kuma_sync.app.flow import Flowing, flow
from kuma_sync.app.processes import Running
from kuma_sync.core.condition import Trouble
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.store import Heartbeat, Process
from kuma_sync.store.activity import Counts
from kuma_sync.store.jobs import Depth
from kuma_sync.store.queue import QueueCounts
from kuma_sync.store.read_models.activity import Slot

AGO = NOW - timedelta(minutes=14)
NOTHING = Slot(start=NOW, kuma=Counts(), targets={})


def running(*troubles: tuple[str, str, str]) -> Running:
    process = Process(owner="vm:1:x", host="vm", pid=1, version="0.1.0", started_at=NOW, single_pass=False)
    condition = tuple(Trouble(part=part, state=state, reason=why, since=AGO) for part, state, why in troubles)
    return Running(daemons=(Heartbeat(process=process, heard_at=NOW, silent=timedelta(), condition=condition),))


def lately(new: int, **targets: Counts) -> Slot:
    return Slot(start=NOW, kuma=Counts(arrived=new), targets=targets)


def waiting(count: int, *, since: timedelta = timedelta()) -> QueueCounts:
    return QueueCounts(jobs={Depth.BACKOFF: count}, oldest=NOW - since)


def said(*troubles: tuple[str, str, str], **facts: object) -> str:
    known = Flowing(
        now=NOW,
        running=running(*troubles),
        deliveries=dict[str, QueueCounts](),
        closes=QueueCounts(),
        stopped=0,
        paused=(),
        lately=NOTHING,
    )
    return flow(replace(known, **facts)).english(NOW)  # type: ignore[arg-type]  # each test names the facts it has


def test_when_all_is_well_it_says_how_many_came_and_how_fast_they_were_delivered() -> None:
    told = Counts(delivered=14, waited=20, longest=3.2)

    assert said(lately=lately(12, irp=told)) == "Alerts flow: 12 new in the last hour, all delivered within 3 s"
    assert said(lately=lately(1, irp=replace(told, longest=0.1))).endswith(
        "1 new in the last hour, all delivered within 1 s"
    )


def test_a_quiet_hour_flows_and_says_so() -> None:
    assert said() == "Alerts flow: nothing new in the last hour"


def test_what_is_on_its_way_is_not_called_delivered() -> None:
    told = lately(12, irp=Counts(delivered=9, waited=9, longest=1))

    assert said(lately=told, deliveries={"irp": waiting(3)}) == (
        "Alerts flow: 12 new in the last hour, 3 are on their way"
    )


def test_what_waits_for_a_human_is_not_called_delivered() -> None:
    told = lately(12, irp=Counts(delivered=9, waited=9, longest=2))

    assert said(lately=told, stopped=3).endswith("12 new in the last hour, delivered within 2 s; 3 wait for you")


def test_everything_parked_does_not_look_as_if_all_were_delivered() -> None:
    sentence = said(lately=lately(12), stopped=12)

    assert "all delivered" not in sentence
    assert sentence.endswith("12 wait for you")


def test_a_target_that_stands_still_is_named_with_its_reason_and_what_waits() -> None:
    deliveries: Mapping[str, QueueCounts] = {"north": waiting(37), "irp": waiting(5)}

    assert said(("irp:north", "paused", "503 from north"), deliveries=deliveries) == (
        "Deliveries to north stand still for 14 min, and are tried again by themselves: 503 from north; 37 wait"
    )


def test_a_kuma_that_is_away_comes_before_an_irp_that_is() -> None:
    sentence = said(("irp", "paused", "x"), ("kuma", "failing", "refused"), ("poll", "failing", "refused"))

    assert sentence.startswith("KUMA is not read for 14 min, and is tried again by itself")


def test_a_start_and_a_standby_keep_nothing_from_flowing() -> None:
    assert said(("poll", "standby", ""), ("irp", "starting", "")).startswith("Alerts flow")


def test_a_pause_says_who_and_how_many_wait() -> None:
    paused = Maintenance(part="north", since=AGO, until=None, by="anna")

    assert said(paused=[paused], deliveries={"north": waiting(2)}) == (
        "north is paused (by anna; begun 2026-01-15 11:46:00Z, 14 min ago; until somebody resumes it); 2 wait"
    )
    assert said(paused=[replace(paused, until=AGO)]).startswith("Alerts flow")


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
