"""Times as text, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from builders import NOW
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.moments import EPOCH, before, read_moment, rfc3339
from kuma_sync.core.window import Cursor
from kuma_sync.daemon.watch import since


@given(st.datetimes(min_value=EPOCH.replace(tzinfo=None), timezones=st.just(UTC)))
def test_what_is_written_is_read_as_it_was(moment: datetime) -> None:
    assert read_moment(rfc3339(moment)) == moment


@given(st.text() | st.integers() | st.none() | st.datetimes().map(str))
def test_whatever_is_read_is_utc_and_can_be_reckoned_with(value: object) -> None:
    moment = read_moment(value)

    assert moment is None or (moment >= EPOCH and moment.utcoffset() == timedelta())


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z"]
)
def test_a_time_that_was_never_set_is_none(text: str) -> None:
    assert read_moment(text) is None


@pytest.mark.parametrize("watched_until", [datetime.min.replace(tzinfo=UTC), NOW])
def test_the_list_of_closed_is_asked_for_from_whatever_time_a_store_remembers(watched_until: datetime) -> None:
    asked_from = since(Cursor(watched_until=watched_until, born_at=NOW))

    assert asked_from == before(watched_until, timedelta(minutes=10)) <= watched_until
