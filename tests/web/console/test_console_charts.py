"""Charts: bars that fit their room, a scale that is easily read, hours where they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kuma_sync.web.console.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Point, ceiling, drawn

HALF_AN_HOUR = timedelta(minutes=30)
MIDNIGHT = datetime(2026, 11, 29, tzinfo=UTC)


def day(*values: float | None) -> list[Point]:
    return [Point(at=MIDNIGHT + place * HALF_AN_HOUR, value=value) for place, value in enumerate(values)]


@pytest.mark.parametrize(
    ("value", "top"), [(0, 2), (1, 2), (2, 2), (2.1, 4), (5, 6), (9, 10), (11, 20), (37, 40), (4_000, 4_000), (0.3, 2)]
)
def test_a_scale_ends_at_a_number_that_is_easily_read(value: float, top: float) -> None:
    assert ceiling(value) == top


def test_the_largest_bar_fits_and_each_stands_in_its_place() -> None:
    chart = drawn(day(0, 5, 10, None), step=HALF_AN_HOUR)

    assert [bar.point.value for bar in chart.bars] == [5, 10]
    half, whole = chart.bars
    assert whole.y == TOP
    assert half.height * 2 == whole.height == HEIGHT - TOP - BOTTOM
    assert LEFT < half.x < whole.x < WIDTH - RIGHT
    assert whole.x + whole.width <= WIDTH - RIGHT
    assert [mark.value for mark in chart.marks] == [0, 5, 10]
    assert not chart.empty


def test_hours_are_marked_every_six() -> None:
    chart = drawn(day(*[1] * 48), step=HALF_AN_HOUR)

    assert [hour.at.hour for hour in chart.hours] == [0, 6, 12, 18]


def test_a_day_on_which_nothing_happened_is_drawn_without_bars() -> None:
    for points in ([], day(0, 0, None)):
        chart = drawn(points, step=HALF_AN_HOUR)

        assert chart.empty
        assert chart.bars == []
        assert [mark.value for mark in chart.marks] == [0, 1, 2]
