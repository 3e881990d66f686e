"""Times as text, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from builders import NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from kuma_sync.core.moments import EPOCH, before, form_of, read_any_moment, read_moment, rfc3339
from kuma_sync.sync.closing.watch import since


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


RELAXED = settings(deadline=None)  # timings on a shared machine prove nothing
AT = datetime(2026, 11, 28, 11, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        *(
            1795863600,
            1795863600.0,
            "1795863600",
            1795863600000,
            "1795863600000",
            "1795863600000000",
            1795863600 * 10**9,
        ),
        *("2026-11-28T11:00:00Z", "2026-11-28T11:00:00", "2026-11-28 11:00:00", "2026-11-28 11:00", "20261128110000"),
        *(
            "2026-11-28T14:00:00+0300",
            "2026-11-28 14:00:00 +03:00",
            "2026-11-28T14:00:00+03",
            "2026-11-28 14:00:00 +0300 MSK",
        ),
        *("2026-11-28T11:00:00.Z", "2026-11-28T11:00:00.", "2026-11-28.11:00:00", "2026-11-28T11:00:00.000000000Z"),
        *("2026-11-28T11:00:00,000Z", "2026-11-28 11:00:00 UTC", "2026/11/28 11:00:00", "202611281100"),
        *("28.11.2026 11:00:00", "28.11.2026, 11:00", "2026.11.28 11:00:00", " 2026-11-28T11:00:00Z "),
        *("/Date(1795863600000)/", "/Date(1795863600000+0300)/", "2026-11-28T14:00:00+03:00[Europe/Moscow]"),
        *("Sat, 28 Nov 2026 11:00:00 GMT", "Sat, 28 Nov 2026 14:00:00 +0300", "Sat Nov 28 11:00:00 2026"),
    ],
)
def test_a_time_is_read_in_whatever_form_a_server_writes_it(value: object) -> None:
    assert read_any_moment(value) == AT


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "soon",
            "11/28/2026 11:00",
            "28/11/2026",
            "28.11.2026 11:00 PM",
            "Nov 28, 2026 11:00 PM",
            "2026-13-40 11:00",
        ),
        *(None, True, 0, 7, -5, "7", "00000000", float("nan"), float("inf"), 10**400, [], {"at": 1}),
        *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-05:00", "2026-11-28 11:00 Europe/Moscow", "1" * 21),
    ],
)
def test_what_is_no_time_or_could_be_two_is_none(value: object) -> None:
    assert read_any_moment(value) is None


@RELAXED
@given(
    st.text() | st.integers() | st.floats() | st.none() | st.datetimes().map(str) | st.from_regex(r"[\d./: -]{8,25}")
)
def test_whatever_is_read_in_any_form_is_utc_and_its_form_tells_nothing(value: object) -> None:
    moment = read_any_moment(value)
    form = form_of(value)

    assert moment is None or (moment >= EPOCH and moment.utcoffset() == timedelta())
    assert len(form) <= 40
    assert not any(sign.isdigit() and sign != "9" for sign in form)


@RELAXED
@given(st.integers(10**8, 10**10 - 1))
def test_a_number_tells_its_unit(second: int) -> None:
    whole = EPOCH + timedelta(seconds=second)

    for unit in (1, 10**3, 10**6, 10**9):
        assert read_any_moment(second * unit) == whole


@pytest.mark.parametrize(
    ("value", "form"),
    [("11/28/2026 11:00 AM", "99/99/9999 99:99 AA"), (None, "nothing"), ([], "list"), (7, "9"), ("скоро", "AAAAA")],
)
def test_a_form_is_described_without_what_it_says(value: object, form: str) -> None:
    assert form_of(value) == form


@pytest.mark.parametrize("watched_until", [datetime.min.replace(tzinfo=UTC), NOW])
def test_the_list_of_closed_is_asked_for_from_whatever_time_a_store_remembers(watched_until: datetime) -> None:
    asked_from = since(watched_until, born_at=NOW)

    assert asked_from == before(watched_until, timedelta(minutes=10)) <= watched_until
