"""`[notify]` as a human meets it: a daemon that is killed, copies, and receivers that hang or refuse."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from child_program import SHORT_LEASES
from copies import start_copy, started
from receivers import receiver
from stage import Child, Stage, staged
from stage import eventually as soon

from kuma_sync.core.notices import Patience
from kuma_sync.sync.limits import NoticeLimits

pytestmark = pytest.mark.timeout(300)
eventually = partial(soon, within=60.0)

NOTICES = NoticeLimits(
    patience=Patience(stuck=timedelta(seconds=1), brief=timedelta(milliseconds=200), calm=timedelta(seconds=1)),
    looked_every=timedelta(milliseconds=100),
    beats_apart=timedelta(milliseconds=500),
    beat_waits=timedelta(milliseconds=100),
    deadline=timedelta(seconds=1),
    lease=timedelta(seconds=3),
    first_wait=timedelta(milliseconds=100),
    longest_wait=timedelta(milliseconds=500),
)
LIMITS = replace(SHORT_LEASES, notices=NOTICES, observed_every=timedelta(milliseconds=200))

PAUSED, RESUMED = ("paused", "critical", "irp"), ("paused", "ok", "irp")
REFUSED = ("configuration_refused", "warning", "")


def refuse_the_token(stage: Stage) -> str:
    """Let the IRP refuse us; return the token that it took."""
    good, stage.irp.token = stage.irp.token, "revoked"
    stage.kuma.raise_alert()
    return good


def shows_no_secret(*children: Child) -> bool:
    return all("canary" not in child.log.read_text() for child in children)


async def test_what_was_told_before_a_kill_is_not_told_again(tmp_path: Path, sqlite_url: str) -> None:
    async with receiver() as hook, staged(tmp_path, sqlite_url, notify={"webhook_url": hook.url}) as stage:
        first = start_copy(stage, limits=LIMITS)
        await started(first)
        good = refuse_the_token(stage)
        await eventually(lambda: first.says("notified"))
        assert hook.events() == [PAUSED]
        first.process.kill()
        await first.process.wait()

        second = start_copy(stage, limits=LIMITS)
        await started(second)
        await eventually(lambda: second.says("side_paused"))
        stage.configure(kuma={"instance": "another"})
        second.process.send_signal(signal.SIGHUP)
        await eventually(lambda: REFUSED in hook.events())
        stage.irp.token = good
        await eventually(lambda: RESUMED in hook.events())
        await eventually(stage.agrees)
        second.process.terminate()
        assert await second.ended() == 0

    assert hook.events() == [PAUSED, REFUSED, RESUMED]
    assert set(hook.told[0]) == {"event", "severity", "text", "target", "since"}
    assert hook.told[2]["since"] == hook.told[0]["since"]
    assert shows_no_secret(first, second)


async def test_of_two_copies_one_tells_and_the_other_goes_on_for_it(tmp_path: Path, postgres_url: str) -> None:
    async with receiver() as hook, staged(tmp_path, postgres_url, notify={"webhook_url": hook.url}) as stage:
        copies = [start_copy(stage, limits=LIMITS) for _ in range(2)]
        await started(*copies)
        good = refuse_the_token(stage)
        await eventually(lambda: any(copy.says("notified") for copy in copies))
        for _ in range(4):
            stage.kuma.raise_alert()
        (teller,) = [copy for copy in copies if copy.says("notified")]
        teller.process.kill()
        await teller.process.wait()
        stage.irp.token = good

        await eventually(lambda: RESUMED in hook.events(), within=120)
        await eventually(stage.agrees)
        other = next(copy for copy in copies if copy is not teller)
        other.process.terminate()
        assert await other.ended() == 0

    assert hook.events() == [PAUSED, RESUMED]


@pytest.mark.parametrize("how", ["hangs", "refuses"])
async def test_a_receiver_that_fails_disturbs_nothing(tmp_path: Path, sqlite_url: str, how: str) -> None:
    async with receiver() as hook, staged(tmp_path, sqlite_url) as stage:
        stage.configure(notify={"webhook_url": hook.url, "heartbeat_url": hook.url}, brake={"max_new": 1})
        hook.hangs, hook.status = how == "hangs", 500
        copy = start_copy(stage, limits=LIMITS)
        await started(copy)
        for _ in range(3):
            stage.kuma.raise_alert()
        await eventually(lambda: len(copy.says("notification_failed")) == 2)
        stage.configure(brake={"max_new": 0})
        copy.process.send_signal(signal.SIGHUP)
        await eventually(lambda: copy.says("configuration_reloaded"))
        stage.kuma.raise_alert()
        await eventually(lambda: len(stage.irp.incidents) == 2)
        hook.hangs, hook.status = False, 204

        await eventually(lambda: hook.events() == [("held", "warning", "irp")])
        await eventually(lambda: len(copy.says("notification_recovered")) == 2)
        copy.process.terminate()
        assert await copy.ended() == 0

    assert all(line["failures"] >= 1 for line in copy.says("notification_recovered"))
    assert len(copy.says("notification_failed")) <= 4  # each once before the reload, and perhaps after it
    assert shows_no_secret(copy)


async def test_the_dead_mans_switch_hears_of_good_rounds_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with receiver() as hook, staged(tmp_path, sqlite_url, notify={"heartbeat_url": hook.url}) as stage:
        copy = start_copy(stage, limits=LIMITS)
        await started(copy)
        await eventually(lambda: len(hook.asked) >= 3)
        stage.kuma.faults.add("status", code=500)
        await eventually(lambda: copy.says("side_paused"))
        asked, requests = len(hook.asked), len(stage.kuma.requests)
        await eventually(lambda: len(stage.kuma.requests) > requests)
        assert len(hook.asked) == asked

        stage.kuma.faults.clear()
        await eventually(lambda: copy.says("poll_recovered") and len(hook.asked) > asked)
        copy.process.terminate()
        assert await copy.ended() == 0

    assert {one.split()[0] for one in hook.asked} == {"GET"}
    assert copy.says("poll_recovered")[0]["failures"] >= 1


async def test_passes_from_a_timer_tell_once_and_ask_the_switch_when_complete(tmp_path: Path, sqlite_url: str) -> None:
    async with receiver() as hook, staged(tmp_path, sqlite_url, close={"to_kuma": False}) as stage:
        stage.configure(notify={"webhook_url": hook.url, "heartbeat_url": hook.url})
        good = refuse_the_token(stage)
        codes = [await stage.run_once() for _ in range(2)]
        refused = hook.events()
        stage.kuma.faults.add("status", code=500)
        asked = hook.switched()
        codes.append(await stage.run_once())
        assert hook.switched() == asked, "KUMA was not read"
        stage.kuma.faults.clear()
        stage.irp.token = good
        codes += [await stage.run_once() for _ in range(2)]

    assert refused == [PAUSED], "told once"
    assert hook.events() == [PAUSED, ("stuck", "critical", "kuma"), *sorted([RESUMED, ("stuck", "ok", "kuma")])]
    assert codes == [1, 1, 1, 0, 0]
    assert hook.switched() > asked
