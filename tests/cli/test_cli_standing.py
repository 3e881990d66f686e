"""The first lines of `status`, and the exit code for monitoring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from builders import NOW

from kuma_sync.app.processes import Running
from kuma_sync.app.standing import Facts, Verdict, standing
from kuma_sync.core.condition import Condition, Trouble
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.store import Heartbeat, Process
from kuma_sync.store.read_models.waiting import Held

HELD = Held(id="a", what="close", towards="irp", reason="brake", name="n")

STARTED = NOW - timedelta(hours=3)


def a_heartbeat(
    *troubles: tuple[str, str, str], silent: float = 3, pid: int = 4711, single_pass: bool = False
) -> Heartbeat:
    since = NOW - timedelta(minutes=12)
    condition: Condition = tuple(Trouble(part=p, state=s, reason=r, since=since) for p, s, r in troubles)
    process = Process(
        owner=f"vm:{pid}:x", host="vm", pid=pid, version="0.1.0", started_at=STARTED, single_pass=single_pass
    )
    return Heartbeat(
        process=process, heard_at=NOW - timedelta(seconds=silent), silent=timedelta(seconds=silent), condition=condition
    )


@dataclass(frozen=True)
class Judged:
    """The verdict, and its lines as a command says them."""

    verdict: Verdict
    lines: list[str]


def judged(running: Running, **facts: object) -> Judged:
    known = Facts(now=NOW, store="sqlite:////var/lib/kuma-sync/kuma-sync.db", running=running)
    found = standing(replace(known, **facts))  # type: ignore[arg-type]  # each test names the facts it has
    return Judged(verdict=found.verdict, lines=[line.english(NOW) for line in found.lines])


def of(*troubles: tuple[str, str, str]) -> list[str]:
    """Return what is said below the first line."""
    found = judged(Running(daemons=(a_heartbeat(*troubles),)))
    assert found.verdict is (Verdict.LOOK if len(found.lines) > 1 else Verdict.WORKS)
    return found.lines[1:]


SINCE = "(since 2026-01-15 11:48:00Z, 12 min ago)"


def test_a_daemon_that_works_is_named_with_its_start_pid_and_version() -> None:
    found = judged(Running(daemons=(a_heartbeat(),)))

    assert found.verdict.exit_code == 0
    assert found.lines == ["daemon running since 2026-01-15 09:00:00Z, 3 h ago (pid 4711, version 0.1.0)"]


def test_a_daemon_on_another_host_than_the_one_that_asks_is_named_with_its_host() -> None:
    heard = (a_heartbeat(),)

    assert judged(Running(daemons=heard, asked_on="another")).lines[0].endswith("(pid 4711, version 0.1.0, vm)")
    assert judged(Running(daemons=heard, asked_on="vm")).lines[0].endswith("(pid 4711, version 0.1.0)")


def test_without_a_daemon_it_is_not_running_and_the_last_word_is_told() -> None:
    never = judged(Running())
    once = judged(Running(last=a_heartbeat(silent=300)), parked=2)

    assert never.verdict.exit_code == once.verdict.exit_code == 3
    assert never.lines == ["NOT RUNNING: no daemon works on sqlite:////var/lib/kuma-sync/kuma-sync.db"]
    assert once.lines[0].endswith("last heard 2026-01-15 11:55:00Z, 5 min ago (pid 4711, version 0.1.0, vm)")
    assert once.lines[1].startswith("2 parked: ")


def test_alerts_without_a_route_need_a_look_and_the_line_says_what_frees_them() -> None:
    found = judged(Running(daemons=(a_heartbeat(),)), unrouted=2)

    assert found.verdict.exit_code == 1
    assert found.lines[1:] == [
        "2 alerts held: no route (`kuma-sync alerts --state held`); add a [[route]] that takes them, or [irp], then "
        "reload (SIGHUP); `kuma-sync release` does not free them"
    ]


def test_a_single_pass_is_no_daemon() -> None:
    found = judged(Running(passes=(a_heartbeat(single_pass=True),)))

    assert found.verdict is Verdict.NOT_RUNNING
    assert found.lines[1].startswith("a single pass (run --once) is under way since 2026-01-15 09:00:00Z, 3 h ago")


def test_a_paused_side_is_told_with_its_reason_and_since_when() -> None:
    assert of(("irp", "paused", "token refused (answered 401)")) == [
        f"IRP STOPPED: token refused (answered 401) {SINCE}"
    ]
    assert of(("kuma", "failing", "connection refused")) == [f"KUMA FAILING: connection refused {SINCE}"]


def test_what_only_follows_from_a_side_that_is_away_is_not_told_twice() -> None:
    away = ("kuma", "paused", "out of service: connection refused")

    assert of(away, ("poll", "failing", "connection refused")) == [
        f"KUMA STOPPED: out of service: connection refused {SINCE}"
    ]
    assert len(of(away, ("poll", "failing", "the page was cut short"))) == 2


def test_a_start_and_a_standby_are_no_trouble() -> None:
    assert of(("kuma", "starting", ""), ("delivery", "starting", "")) == []


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"refused": "poll.intervall: is not a known key"}, "configuration on disk refused: poll.intervall: is not a"),
        ({"files": ["kuma cannot write to its folder /x"]}, "store NOT WRITABLE: kuma cannot write to its folder /x"),
        ({"parked": 3}, "3 parked: `kuma-sync alerts --state parked`"),
        ({"held": [HELD] * 50}, "50 held by the brake (50 to close in the IRP): `kuma-sync alerts"),
    ],
)
def test_what_waits_for_a_human_needs_a_look(facts: dict[str, object], line: str) -> None:
    found = judged(Running(daemons=(a_heartbeat(),)), **facts)

    assert found.verdict.exit_code == 1
    assert found.lines[1].startswith(line)


def test_a_refusal_that_the_daemon_and_the_disk_tell_alike_is_told_once() -> None:
    problem = "poll.intervall: is not a known key"
    running = Running(daemons=(a_heartbeat(("configuration", "refused", problem)),))

    both, alone = judged(running, refused=problem), judged(running)

    assert both == alone
    assert both.lines[1] == f"configuration on disk refused: {problem} {SINCE}"


def test_a_file_that_no_daemon_was_told_to_read_says_when_it_was_changed() -> None:
    problem, changed = "poll.intervall: is not a known key", NOW - timedelta(minutes=12)
    told = Running(daemons=(a_heartbeat(("configuration", "refused", problem)),))

    unread = judged(Running(daemons=(a_heartbeat(),)), refused=problem, changed=changed)
    refused = judged(told, refused=problem, changed=changed)

    assert unread.lines[1] == (
        f"configuration on disk refused: {problem}; the file was changed at 2026-01-15 11:48:00Z, 12 min ago"
    )
    assert refused.lines[1] == f"configuration on disk refused: {problem} {SINCE}"


def test_of_several_copies_each_has_its_line_and_its_troubles_are_told_apart() -> None:
    standby = a_heartbeat(("poll", "standby", ""), ("irp", "paused", "token refused"), pid=2)

    found = judged(Running(daemons=(a_heartbeat(pid=1), standby)))

    assert [line.split("(")[1] for line in found.lines[:2]] == [
        "pid 1, version 0.1.0, vm)",
        "pid 2, version 0.1.0, vm); stands by, another copy reads",
    ]
    assert found.lines[2] == f"vm pid 2: IRP STOPPED: token refused {SINCE}"


def test_a_daemon_that_says_nothing_needs_a_look() -> None:
    late = judged(Running(daemons=(a_heartbeat(silent=50),)))
    mute = judged(Running(mute=True, last=a_heartbeat(silent=600)))

    assert (late.verdict, mute.verdict) == (Verdict.LOOK, Verdict.LOOK)
    assert late.lines[1] == "vm pid 4711 was not heard for 50 s"
    assert "NOT RUNNING" not in mute.lines[0]
    assert mute.lines[0].startswith("daemon SILENT: a process holds sqlite:////var/lib")
    assert "the last word is from 10 min ago" in mute.lines[0]


def test_what_an_operator_paused_is_told_and_is_no_trouble() -> None:
    hour = timedelta(hours=1)
    paused = [
        Maintenance(part="kuma", since=NOW - hour, until=NOW + hour, by="operator:anna"),
        Maintenance(part="north", since=NOW - hour, until=None, by="operator:oleg"),
    ]

    found = judged(Running(daemons=(a_heartbeat(),)), paused=paused)

    assert found.verdict is Verdict.WORKS
    assert found.lines[1:] == [
        "kuma PAUSED by operator:anna since 2026-01-15 11:00:00Z, 60 min ago; "
        "until 2026-01-15 13:00:00Z, in 60 min, or `kuma-sync resume kuma`",
        "north PAUSED by operator:oleg since 2026-01-15 11:00:00Z, 60 min ago; until `kuma-sync resume north`",
    ]
