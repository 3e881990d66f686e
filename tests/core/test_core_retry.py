"""Facts about failures: what follows, and how long the wait is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, seconds
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.errors import AccessDenied, Permanent, RemoteError, Transient
from kuma_sync.core.retry import Park, Pause, RetryAt, RetryPolicy, after_failure, backoff, clamp_retry_after

POLICY = RetryPolicy(base=seconds(2), max=timedelta(minutes=10))
HOUR = timedelta(hours=1)
WAITS = st.timedeltas(timedelta(), timedelta(days=2))


def an_error(kind: type[RemoteError], detail: str = "", **circumstances: Any) -> Any:
    return kind(remote="irp", operation="create", summary="HTTP 503", detail=detail, **circumstances)


@pytest.mark.parametrize(
    ("attempts", "jitter", "wait"),
    [
        (0, 0.0, seconds(2)),  # nothing failed yet: the first wait
        (1, 0.0, seconds(2)),  # base
        (2, 0.0, seconds(4)),  # 2 * 2
        (3, 0.0, seconds(8)),  # 2 * 2 * 2
        (9, 0.0, seconds(512)),  # 2 * 2^8
        (10, 0.0, seconds(600)),  # 2 * 2^9 = 1024, cut to max
        (10_000, 0.0, seconds(600)),
        (1, 1.0, seconds(1.5)),  # a quarter less
        (1, 0.5, seconds(1.75)),
        (10, 1.0, seconds(450)),  # the jitter comes off the cut wait, so that waits at max spread too
    ],
)
def test_the_wait_doubles_up_to_the_longest(attempts: int, jitter: float, wait: timedelta) -> None:
    assert backoff(attempts, POLICY, jitter) == wait


@pytest.mark.parametrize(
    ("asked", "honoured"),
    [
        (None, seconds(0)),
        (seconds(0), seconds(0)),
        (seconds(-5), seconds(0)),
        (seconds(120), seconds(120)),
        (HOUR, HOUR),
        (HOUR + seconds(1), HOUR),
        (timedelta(days=365), HOUR),
    ],
)
def test_retry_after_is_honoured_up_to_an_hour(asked: timedelta | None, honoured: timedelta) -> None:
    assert clamp_retry_after(asked) == honoured


@pytest.mark.parametrize(
    ("error", "what_follows"),
    [
        (an_error(Transient), RetryAt(at=NOW + seconds(8), reason="HTTP 503")),
        (an_error(Transient, retry_after=seconds(3)), RetryAt(at=NOW + seconds(8), reason="HTTP 503")),
        (an_error(Transient, retry_after=seconds(90)), RetryAt(at=NOW + seconds(90), reason="HTTP 503")),
        (an_error(Transient, retry_after=2 * HOUR), RetryAt(at=NOW + HOUR, reason="HTTP 503")),
        (an_error(Permanent), Park(reason="HTTP 503")),
        (an_error(Permanent, detail="title too long"), Park(reason="HTTP 503", detail="title too long")),
        (an_error(AccessDenied), Pause(reason="HTTP 503")),
        (an_error(RemoteError), Park(reason="HTTP 503")),  # one we do not know is for a human
    ],
)
def test_the_error_decides_what_follows(error: RemoteError, what_follows: RetryAt | Park | Pause) -> None:
    assert after_failure(error, attempts=3, now=NOW, policy=POLICY, jitter=0.0) == what_follows


@given(
    st.none() | WAITS,
    st.integers(1, 200),
    st.timedeltas(timedelta(milliseconds=1), HOUR),
    st.timedeltas(timedelta(milliseconds=1), timedelta(days=1)),
    st.floats(0, 1),
)
def test_never_earlier_than_asked_and_never_beyond_the_longest(
    asked: timedelta | None, attempts: int, base: timedelta, longest: timedelta, jitter: float
) -> None:
    policy = RetryPolicy(base=base, max=longest)
    error = an_error(Transient, retry_after=asked)

    follows = after_failure(error, attempts=attempts, now=NOW, policy=policy, jitter=jitter)

    assert isinstance(follows, RetryAt)
    wait = follows.at - NOW
    assert min(asked or timedelta(), HOUR) <= wait <= max(HOUR, longest)
    assert wait >= min(base, longest) * 0.75 - timedelta(microseconds=1)
    assert follows.counts


@given(st.integers(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_jitter_takes_at_most_a_quarter_and_adds_nothing(attempts: int, jitter: float, other: float) -> None:
    whole = backoff(attempts, POLICY, 0.0)

    assert whole * 0.75 <= backoff(attempts, POLICY, jitter) <= whole
    assert backoff(attempts + 2, POLICY, other) >= min(whole, POLICY.max * 0.75)


def test_what_the_other_side_answered_is_kept_short() -> None:
    error = an_error(Permanent, detail="x" * 1000)

    assert len(error.detail) == 300
    assert str(error) == "irp create: HTTP 503"


def test_an_error_tells_its_circumstances() -> None:
    plain = an_error(Transient)
    lost = an_error(Transient, ambiguous=True, unidentified=True)

    assert (plain.retry_after, plain.ambiguous, plain.unidentified) == (None, False, False)
    assert (lost.retry_after, lost.ambiguous, lost.unidentified) == (None, True, True)
