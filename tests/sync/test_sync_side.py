"""The gate in front of a remote: waits, pauses, one trial at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from stores import Clock

from kuma_sync.core.errors import AccessDenied, NotAllowed, Permanent, Redirected, RemoteError, Transient
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.core.retry import RetryPolicy
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import AuthProbe, GateClosed, RemoteGate
from kuma_sync.sync.remote.gates import RemoteGates
from kuma_sync.sync.remote.maintenance import Pausable, Paused
from kuma_sync.sync.remote.rate import RateLimiter, RetryAfter, RetryContext, Traffic
from kuma_sync.telemetry.health import Health, State

POLICY = RetryPolicy(base=timedelta(seconds=2), max=timedelta(seconds=60))


def denied(status: int = 401) -> AccessDenied:
    return AccessDenied(remote="irp", operation="create", summary=f"answered {status}", status=status)


def transient(retry_after: float | None = None, *, ambiguous: bool = False) -> Transient:
    wish = None if retry_after is None else timedelta(seconds=retry_after)
    return Transient(
        remote="irp", operation="create", summary="answered 503", status=503, retry_after=wish, ambiguous=ambiguous
    )


def redirected(*, ambiguous: bool = False) -> Redirected:
    status = 302 if ambiguous else 307
    summary = f"answered {status}, which leads to https://login.example.com"
    return Redirected(remote="irp", operation="update", summary=summary, status=status, ambiguous=ambiguous)


class Remote:
    """A side, its clock and its health; the probe answers as told."""

    def __init__(self, *, with_probe: bool = True, traffic: Traffic | None = None) -> None:
        self.clock = Clock()
        self.health = Health(monotonic=lambda: 0.0)
        self.probe_error: RemoteError | None = None
        self.probes = 0
        self.sent = 0
        self.secret_changed = False
        self.gate = RemoteGate(
            "irp",
            pace=RetryContext(clock=self.clock, policy=POLICY, jitter=lambda: 0.0, limits=Limits()),
            health=self.health,
            auth=AuthProbe(probe=self.probe if with_probe else None, reload=self.reload),
            traffic=traffic,
        )

    async def probe(self) -> None:
        self.probes += 1
        if self.probe_error:
            raise self.probe_error

    def reload(self) -> bool:
        changed, self.secret_changed = self.secret_changed, False
        return changed

    async def ask(self, error: RemoteError | None = None, *, paced: bool = False) -> None:
        async with self.gate.admit(paced=paced):
            if error:
                raise error

    async def write(self, error: RemoteError | None = None, *, subject: str = "") -> None:
        async with self.gate.admit(subject=subject):
            if error:
                raise error

    async def read(self, error: RemoteError | None = None) -> None:
        async with self.gate.admit(paced=True, reads=True):
            if error:
                raise error

    async def answered(self, *errors: RemoteError | None) -> int:
        """Send through `ask`, each request answered with the next of these; return how many went out."""
        left = list(errors)

        async def send() -> None:
            error = left.pop(0)
            if error:
                raise error

        try:
            await self.gate.ask(send)
        finally:
            self.sent = len(errors) - len(left)
        return self.sent

    @property
    def state(self) -> State:
        return self.health.ready().parts["irp"].state


async def test_a_refused_token_pauses_the_side_until_the_back_off_is_over() -> None:
    remote = Remote()
    remote.probe_error = denied()

    with pytest.raises(GateClosed) as stopped:
        await remote.ask(denied())

    assert remote.gate.paused == "token refused (answered 401)"
    assert stopped.value.until == remote.clock.now + timedelta(seconds=2)
    assert remote.state is State.PAUSED
    with pytest.raises(GateClosed):
        await remote.ask()
    assert remote.probes == 1


async def test_a_side_that_is_asked_nothing_says_when_it_is_tried_next() -> None:
    remote = Remote()
    remote.probe_error = denied()
    for error in (transient(30), denied()):
        with pytest.raises((Transient, GateClosed)):
            await remote.ask(error)
    waiting = remote.gate.tried_at
    remote.clock.advance(seconds=30)
    with pytest.raises(GateClosed):
        await remote.ask(denied())
    paused = remote.gate.tried_at
    remote.clock.advance(seconds=2)

    assert waiting == remote.clock() - timedelta(seconds=2)
    assert paused == remote.clock()
    assert (remote.gate.tried_at, Remote().gate.tried_at, maintained()[0].gate.tried_at) == (None, None, None)


async def test_a_kind_of_request_that_stands_still_is_tried_when_it_is_due() -> None:
    whole, kind = Remote(), Remote()
    both = RemoteGate("irp", pace=whole.gate.pace, health=whole.health, narrower=[kind.gate])
    kind.gate.stand_still("create answered 404 at /x: is the profile's path right?")

    assert both.tried_at == kind.clock() + timedelta(seconds=2)

    both.stand_still("answered 503")
    kind.clock.advance(seconds=-1)
    assert both.tried_at == whole.clock() + timedelta(seconds=2)  # it must pass the whole side first


async def test_of_a_trial_that_is_under_way_no_next_one_is_told() -> None:
    remote = Remote()
    remote.gate.stand_still("answered 503")
    remote.clock.advance(seconds=2)

    async with remote.gate.admit():
        assert remote.gate.tried_at is None


async def test_the_pause_grows_from_trial_to_trial_and_the_first_success_ends_it() -> None:
    remote = Remote()
    remote.probe_error = denied()
    waits = []

    for _ in range(4):
        with pytest.raises(GateClosed) as stopped:
            await remote.ask(denied())
        waits.append((stopped.value.until - remote.clock.now).total_seconds())
        remote.clock.now = stopped.value.until
    await remote.ask()

    assert waits == [2, 4, 8, 16]
    assert remote.gate.paused is None
    assert remote.gate.open_at() is None
    assert remote.state is State.OK


async def test_a_token_that_the_probe_accepts_means_that_only_this_request_is_not_allowed() -> None:
    remote = Remote()

    with pytest.raises(Permanent, match="not allowed"):
        await remote.ask(denied(403))

    assert remote.gate.paused is None
    assert remote.state is State.OK


@pytest.mark.parametrize("status", [401, 403])
async def test_a_request_that_alone_is_refused_goes_out_once_more(status: int) -> None:
    remote = Remote()

    sent = await remote.answered(denied(status), None, None)

    assert sent == 2
    assert remote.probes == 1
    assert remote.gate.paused is None


async def test_a_request_that_alone_is_refused_twice_is_given_up() -> None:
    remote = Remote()

    with pytest.raises(NotAllowed, match="not allowed"):
        await remote.answered(denied(), denied(), None)

    assert (remote.sent, remote.probes) == (2, 2)
    assert remote.gate.paused is None


async def test_a_refused_token_costs_no_second_request() -> None:
    remote = Remote()
    remote.probe_error = denied()

    with pytest.raises(GateClosed):
        await remote.answered(denied(), None)

    assert (remote.sent, remote.probes) == (1, 1)
    assert remote.gate.paused is not None


async def test_a_token_that_is_revoked_between_the_two_requests_pauses_the_side() -> None:
    remote = Remote()

    async def send() -> None:
        first = remote.probes == 0
        if not first:
            remote.probe_error = denied()
        raise denied()

    with pytest.raises(GateClosed):
        await remote.gate.ask(send)

    assert remote.gate.paused == "token refused (answered 401)"


# Led away


async def test_a_write_that_is_redirected_pauses_the_side_and_tells_whether_it_is_in_doubt() -> None:
    for ambiguous in (False, True):
        remote, error = Remote(), redirected(ambiguous=ambiguous)

        with pytest.raises(GateClosed) as stopped:
            await remote.write(error)
        with pytest.raises(GateClosed) as kept:
            await remote.write()

        assert stopped.value.cause is error
        assert kept.value.cause is None, "it was not sent"
        assert "update answered" in (remote.gate.paused or "")
        assert "https://login.example.com" in (remote.gate.paused or "")
        assert remote.state is State.PAUSED


async def test_reads_go_on_while_writes_are_redirected_and_end_no_pause() -> None:
    remote = Remote()
    with pytest.raises(GateClosed):
        await remote.write(redirected())

    await remote.read()
    with pytest.raises(Permanent):
        await remote.read(Permanent(remote="irp", operation="find", summary="answered 400", status=400))

    assert remote.gate.paused is not None
    assert remote.state is State.PAUSED
    assert not remote.gate.stands_still(reads=True)


async def test_the_first_write_that_is_not_redirected_ends_the_pause() -> None:
    remote = Remote()
    waits = []
    for _ in range(3):
        with pytest.raises(GateClosed) as stopped:
            await remote.write(redirected(), subject="a")
        waits.append((stopped.value.until - remote.clock.now).total_seconds())
        remote.clock.now = stopped.value.until

    await remote.write(subject="b")

    assert waits == [2, 4, 8]
    assert remote.gate.paused is None
    assert remote.state is State.OK


async def test_one_subject_that_alone_is_redirected_does_not_keep_the_others_waiting() -> None:
    remote = Remote()
    with pytest.raises(GateClosed) as stopped:
        await remote.write(redirected(ambiguous=True), subject="moved")
    remote.clock.now = stopped.value.until
    await remote.write(subject="other")

    with pytest.raises(Transient) as failed:
        await remote.write(redirected(ambiguous=True), subject="moved")

    assert failed.value.ambiguous
    assert remote.gate.paused is None
    await remote.write(subject="other")


async def test_the_reason_that_remains_is_told_when_another_one_is_over() -> None:
    remote = Remote()
    narrow = RemoteGate("irp", pace=remote.gate.pace, health=remote.health)
    wide = RemoteGate("irp", pace=remote.gate.pace, health=remote.health, narrower=[narrow])
    narrow.stand_still("create answered 404")
    with pytest.raises(GateClosed):
        async with wide.admit():
            raise denied()
    remote.clock.advance(seconds=3)

    async with wide.admit():
        pass

    assert remote.health.ready().parts["irp"].reason == "create answered 404"
    async with narrow.admit():
        pass
    assert remote.state is State.OK


async def test_without_a_probe_every_refusal_pauses() -> None:
    remote = Remote(with_probe=False)

    with pytest.raises(GateClosed):
        await remote.ask(denied(403))

    assert remote.gate.paused is not None


async def test_a_probe_that_fails_otherwise_does_not_blame_the_job() -> None:
    remote = Remote()
    remote.probe_error = transient()

    with pytest.raises((GateClosed, Transient)):
        await remote.ask(denied())

    assert remote.state is not State.OK


async def test_only_one_trial_is_under_way_at_a_time() -> None:
    remote = Remote()
    remote.probe_error = denied()
    with pytest.raises(GateClosed):
        await remote.ask(denied())
    remote.clock.advance(seconds=3)
    leave = asyncio.Event()

    async def trial() -> None:
        async with remote.gate.admit():
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(trial())
        await asyncio.sleep(0)
        with pytest.raises(GateClosed):
            await remote.ask()
        leave.set()

    await remote.ask()
    assert remote.gate.paused is None


async def test_a_trial_that_is_cancelled_lets_the_next_one_through() -> None:
    remote = Remote()
    remote.probe_error = denied()
    with pytest.raises(GateClosed):
        await remote.ask(denied())
    remote.clock.advance(seconds=3)

    async def trial() -> None:
        async with remote.gate.admit():
            await asyncio.Event().wait()

    task = asyncio.ensure_future(trial())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    await remote.ask()
    assert remote.gate.paused is None


async def test_a_changed_secret_lets_a_trial_out_at_once() -> None:
    remote = Remote()
    remote.probe_error = denied()
    with pytest.raises(GateClosed):
        await remote.ask(denied())

    remote.secret_changed = True

    assert remote.gate.open_at() is None
    await remote.ask()
    assert remote.gate.paused is None


async def test_waking_lets_a_trial_out_at_once_and_starts_the_back_off_anew() -> None:
    remote = Remote()
    remote.probe_error = denied()
    for _ in range(3):
        with pytest.raises(GateClosed):
            await remote.ask(denied())
        remote.clock.advance(minutes=1)
    with pytest.raises(GateClosed):
        await remote.ask(denied())

    remote.gate.wake()
    with pytest.raises(GateClosed) as stopped:
        await remote.ask(denied())

    assert stopped.value.until == remote.clock.now + timedelta(seconds=2)


async def test_a_trial_that_fails_otherwise_keeps_the_pause_and_tells_its_own_error() -> None:
    remote = Remote()
    remote.probe_error = denied()
    with pytest.raises(GateClosed):
        await remote.ask(denied())
    remote.clock.advance(seconds=3)

    with pytest.raises(Transient) as failed:
        await remote.ask(transient(ambiguous=True))

    assert failed.value.ambiguous, "whether the effect may have happened matters to whoever sent it"
    assert remote.gate.paused is not None
    assert remote.gate.open_at() is not None


async def test_a_trial_that_is_refused_for_its_content_shows_that_the_token_is_good() -> None:
    remote = Remote()
    remote.probe_error = denied()
    with pytest.raises(GateClosed):
        await remote.ask(denied())
    remote.clock.advance(seconds=3)

    with pytest.raises(Permanent):
        await remote.ask(Permanent(remote="irp", operation="create", summary="answered 422", status=422))

    assert remote.gate.paused is None


async def test_a_wish_to_be_left_alone_is_kept_up_to_an_hour() -> None:
    remote = Remote()

    with pytest.raises(Transient):
        await remote.ask(transient(retry_after=90))
    until = remote.gate.open_at()
    with pytest.raises(GateClosed) as stopped:
        await remote.ask()
    remote.clock.advance(seconds=91)
    with pytest.raises(Transient):
        await remote.ask(transient(retry_after=86_400))

    assert until == stopped.value.until
    assert remote.gate.open_at() == remote.clock.now + timedelta(hours=1)
    assert remote.gate.paused is None


async def test_a_wish_to_be_left_alone_outlives_the_gate_that_heard_it() -> None:
    wish = RetryAfter()
    former, present = Remote(traffic=Traffic(requested_wait=wish)), Remote(traffic=Traffic(requested_wait=wish))

    with pytest.raises(Transient):
        await former.ask(transient(retry_after=30))

    with pytest.raises(GateClosed, match="it asked to wait"):
        await present.ask()


async def test_the_rate_limit_spreads_requests() -> None:
    remote, starts = Remote(traffic=Traffic(limiter=RateLimiter(50))), list[float]()

    async def ask() -> None:
        async with remote.gate.admit():
            starts.append(asyncio.get_running_loop().time())

    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(ask() for _ in range(6)))

    assert len(starts) == 6
    assert max(starts) - begun >= 0.095


async def test_a_wish_to_be_left_alone_stops_those_that_wait_for_their_turn() -> None:
    remote = Remote(traffic=Traffic(limiter=RateLimiter(50)))

    outcomes = await asyncio.gather(
        remote.ask(transient(retry_after=30)), *(remote.ask() for _ in range(5)), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [Transient] + [GateClosed] * 5


async def test_a_wish_to_be_left_alone_holds_for_the_next_page_of_what_is_being_read() -> None:
    remote = Remote()

    async with remote.gate.admit(paced=True):
        await remote.gate.turn_page()
        with pytest.raises(Transient):
            await remote.ask(transient(retry_after=30))
        with pytest.raises(GateClosed) as stopped:
            await remote.gate.turn_page()

    assert stopped.value.until == remote.clock.now + timedelta(seconds=30)


async def test_a_trial_may_have_several_pages() -> None:
    remote = Remote()
    remote.probe_error = denied()
    with pytest.raises(GateClosed):
        await remote.ask(denied())
    remote.clock.advance(seconds=3)

    async with remote.gate.admit(paced=True):
        await remote.gate.turn_page()

    assert remote.gate.paused is None


async def in_flight_while(remote: Remote, answer: RemoteError | None, meanwhile: RemoteError) -> BaseException | None:
    """Let one request be answered after another one failed; return what the first one raised."""
    failed = asyncio.Event()

    async def slow() -> None:
        async with remote.gate.admit():
            await failed.wait()
            if answer:
                raise answer

    task = asyncio.ensure_future(slow())
    await asyncio.sleep(0)
    with pytest.raises(Transient):
        await remote.ask(meanwhile)
    failed.set()
    await asyncio.wait([task])
    return task.exception()


async def test_a_wish_to_be_left_alone_holds_the_probe_back_too() -> None:
    remote = Remote()

    raised = await in_flight_while(remote, denied(), transient(retry_after=90))

    assert isinstance(raised, GateClosed)
    assert raised.until == remote.clock.now + timedelta(seconds=90)
    assert remote.probes == 0
    assert remote.gate.paused is None


async def test_a_wish_of_the_probe_is_kept_as_well() -> None:
    remote = Remote()
    remote.probe_error = transient(retry_after=90)

    with pytest.raises(Transient):
        await remote.ask(denied())

    assert remote.gate.open_at() == remote.clock.now + timedelta(seconds=90)


async def test_a_probe_that_is_no_judge_does_not_park_everything() -> None:
    remote = Remote()
    remote.probe_error = Permanent(remote="irp", operation="probe", summary="answered 404", status=404)

    with pytest.raises(GateClosed):
        await remote.ask(denied())

    assert remote.gate.paused == "token refused (answered 401)"


async def test_of_two_wishes_the_longer_one_is_kept() -> None:
    remote = Remote()

    await in_flight_while(remote, transient(retry_after=5), transient(retry_after=90))

    assert remote.gate.open_at() == remote.clock.now + timedelta(seconds=90)


async def test_a_late_success_does_not_shorten_a_wish_to_be_left_alone() -> None:
    remote = Remote()

    await in_flight_while(remote, None, transient(retry_after=90))

    assert remote.gate.open_at() == remote.clock.now + timedelta(seconds=90)


async def test_a_failure_is_told_and_the_next_success_ends_it() -> None:
    remote = Remote()

    with pytest.raises(Transient):
        await remote.ask(transient())
    failing = remote.state
    await remote.ask()

    assert (failing, remote.state) == (State.FAILING, State.OK)


# An operator's pause


def paused(remote: Remote, *, until: timedelta | None = None) -> Paused:
    """Pause a side; return what it goes by."""
    end = None if until is None else remote.clock() + until
    known = Paused()
    known.learn([Maintenance(part="irp", since=remote.clock(), until=end, by="operator:anna")])
    return known


def succeeding(remote: Remote) -> Callable[[], Awaitable[None]]:
    """Return a request that succeeds, and is counted."""

    async def send() -> None:
        remote.sent += 1

    return send


def maintained(until: timedelta | None = None) -> tuple[Remote, Paused]:
    first = Remote()
    known = paused(first, until=until)
    remote = Remote(traffic=Traffic(pausable=Pausable(parts=("irp",), paused=known)))
    remote.clock.now = first.clock.now
    return remote, known


async def test_what_an_operator_paused_is_not_sent_and_is_no_failure() -> None:
    remote, known = maintained()

    with pytest.raises(GateClosed, match="irp is not asked: an operator paused irp until `kuma-sync resume irp`"):
        await remote.gate.ask(succeeding(remote))
    with pytest.raises(GateClosed):
        await remote.gate.turn_page()
    with pytest.raises(GateClosed):
        await remote.gate.aside(succeeding(remote))
    known.learn([])
    await remote.gate.ask(succeeding(remote))

    assert (remote.sent, remote.gate.paused, remote.probes) == (1, None, 0)


async def test_a_job_that_met_a_pause_is_tried_again_soon_for_it_may_be_resumed_early() -> None:
    remote, _known = maintained(timedelta(hours=4))
    soon = remote.gate.pace.limits.maintenance_wait

    assert remote.gate.open_at() == remote.clock() + soon
    remote.clock.advance(hours=4, seconds=-3)
    assert remote.gate.open_at() == remote.clock() + timedelta(seconds=3)
    remote.clock.advance(seconds=3)
    assert remote.gate.open_at() is None


async def test_a_request_aside_trips_nothing_and_its_wait_counts() -> None:
    remote = Remote()

    async def fail() -> None:
        raise transient(30)

    with pytest.raises(Transient):
        await remote.gate.aside(fail)
    with pytest.raises(GateClosed):
        await remote.gate.ask(succeeding(remote))
    for _ in range(Limits().trips_after * 2):
        remote.clock.advance(seconds=31)
        with pytest.raises(Transient):
            await remote.gate.aside(fail)

    assert remote.gate.paused is None


async def test_a_wait_that_a_comment_was_asked_for_holds_for_all_requests() -> None:
    remote = Remote()
    gates = RemoteGates(whole=remote.gate, kinds={}, places=asyncio.Semaphore(1))

    async def fail() -> None:
        raise transient(30)

    with pytest.raises(Transient):
        await gates.ask_aside(fail)

    with pytest.raises(GateClosed, match="it asked to wait"):
        await remote.gate.ask(succeeding(remote))
