"""The circuit breaker: an outage shuts a side before its jobs' attempts are burnt; a probe tells when it is over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from test_sync_side import Remote, denied, transient

from kuma_sync.core.errors import Permanent, Transient
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.remote.rate import Traffic
from kuma_sync.telemetry.health import State

LIMITS = Limits()


async def fail(remote: Remote, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Transient):
            await remote.ask(transient())


async def out_of_service(*, with_probe: bool = True) -> Remote:
    """A remote whose breaker has just opened."""
    remote = Remote(with_probe=with_probe)
    await fail(remote, LIMITS.trips_after)
    return remote


async def trial(remote: Remote) -> float:
    """Let the next trial fail at the moment it is due; return the seconds to the one after it."""
    remote.clock.now = remote.gate.open_at() or remote.clock.now
    with pytest.raises(GateClosed) as stopped:
        await remote.ask()
    return (stopped.value.until - remote.clock.now).total_seconds()


async def test_failures_in_a_row_shut_the_side_and_nothing_more_is_sent() -> None:
    remote = Remote()

    await fail(remote, LIMITS.trips_after - 1)
    open_until_then = remote.gate.paused is None and remote.state is State.FAILING
    await fail(remote, 1)

    assert open_until_then
    assert remote.gate.paused == "out of service: answered 503"
    assert remote.gate.unwell
    assert remote.state is State.PAUSED
    with pytest.raises(GateClosed):
        await remote.ask()
    assert remote.probes == 0


async def test_an_answer_in_between_counts_the_failures_anew() -> None:
    remote = Remote()

    await fail(remote, LIMITS.trips_after - 1)
    with pytest.raises(Permanent):
        await remote.ask(Permanent(remote="irp", operation="create", summary="answered 422", status=422))
    await fail(remote, LIMITS.trips_after - 1)

    assert remote.gate.paused is None


async def test_the_probe_goes_first_and_while_it_fails_no_job_is_sent() -> None:
    remote = await out_of_service()
    remote.probe_error = transient()

    waits = [await trial(remote) for _ in range(6)]

    assert remote.probes == 6
    assert waits == sorted(waits)
    assert waits[0] > POLICY_BASE
    assert waits[-1] == LIMITS.outage_wait.total_seconds()


async def test_the_probe_that_succeeds_opens_the_side_for_everybody() -> None:
    remote = await out_of_service()
    remote.clock.now = remote.gate.open_at() or remote.clock.now

    async with remote.gate.admit():
        await remote.ask()

    assert remote.gate.paused is None
    assert remote.state is State.OK
    assert remote.probes == 1


async def test_one_job_that_always_fails_does_not_keep_the_others_waiting() -> None:
    remote = await out_of_service()
    remote.clock.now = remote.gate.open_at() or remote.clock.now

    await fail(remote, 1)
    await remote.ask()

    assert remote.gate.paused is None


async def test_without_a_probe_the_request_itself_is_the_trial() -> None:
    remote = await out_of_service(with_probe=False)
    remote.clock.now = remote.gate.open_at() or remote.clock.now

    await fail(remote, 1)
    still = remote.gate.paused
    remote.clock.now = remote.gate.open_at() or remote.clock.now
    await remote.ask()

    assert still == "out of service: answered 503"
    assert remote.gate.paused is None


async def test_a_request_that_comes_at_its_own_interval_is_not_held_back() -> None:
    remote = await out_of_service()

    with pytest.raises(Transient):
        await remote.ask(transient(), paced=True)
    still = remote.gate.paused
    await remote.ask(paced=True)

    assert still is not None
    assert remote.gate.paused is None
    assert remote.probes == 0


async def test_a_paced_request_keeps_a_wish_to_be_left_alone_and_a_refused_token() -> None:
    remote = Remote()
    remote.probe_error = denied()
    with pytest.raises(GateClosed):
        await remote.ask(denied())

    with pytest.raises(GateClosed):
        await remote.ask(paced=True)

    other = await out_of_service()
    with pytest.raises(Transient):
        await other.ask(transient(retry_after=60), paced=True)
    with pytest.raises(GateClosed):
        await other.ask(paced=True)


async def test_a_token_refused_after_the_outage_is_told_as_what_it_is() -> None:
    remote = await out_of_service()
    remote.probe_error = denied()
    remote.clock.now = remote.gate.open_at() or remote.clock.now

    with pytest.raises(GateClosed):
        await remote.ask(denied())

    assert remote.gate.paused == "token refused (answered 401)"
    with pytest.raises(GateClosed):
        await remote.ask(paced=True)


async def test_what_the_probe_is_asked_to_wait_for_is_kept() -> None:
    remote = await out_of_service()
    remote.probe_error = transient(retry_after=120)

    await trial(remote)

    assert remote.gate.open_at() == remote.clock.now + timedelta(seconds=120)


async def test_a_side_told_never_to_trip_stays_open() -> None:
    remote = Remote(traffic=Traffic(trips=False))

    await fail(remote, LIMITS.trips_after * 3)

    assert remote.gate.paused is None


POLICY_BASE = 2.0
