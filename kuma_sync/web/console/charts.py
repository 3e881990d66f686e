"""Numbers over time as a chart: the geometry of its bars, lines and hours, for a template to draw as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH, HEIGHT = 340, 140
LEFT, RIGHT, TOP, BOTTOM = 34, 6, 8, 22
"""The room beside the bars: for the numbers on the left, and for the hours below."""

GAP = 1.0
"""Between two bars."""

HOURS_APART = 6
HALF_OF_AN_HOUR = 14
"""Half the width of its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """How much there was from `at` on, for one step; None: nobody measured."""

    at: datetime
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One step of a chart."""

    point: Point
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A line across the chart, with the number that it stands for."""

    value: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """A place on the line of time."""

    at: datetime
    x: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawn chart."""

    points: Sequence[Point]
    bars: Sequence[Bar]
    marks: Sequence[Mark]
    hours: Sequence[Hour]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to draw."""
        return not any(point.value for point in self.points)


def drawn(points: Sequence[Point], *, step: timedelta) -> Chart:
    """Draw points that follow each other by the same step."""
    top = ceiling(max((point.value or 0 for point in points), default=0))
    room = HEIGHT - TOP - BOTTOM
    pitch = (WIDTH - LEFT - RIGHT) / max(len(points), 1)
    bars = []
    for place, point in enumerate(points):
        height = room * (point.value or 0) / top
        if height:
            x, y = LEFT + place * pitch + GAP / 2, TOP + room - height
            bars.append(Bar(point=point, x=_round(x), y=_round(y), width=_round(pitch - GAP), height=_round(height)))
    marks = [Mark(value=value, y=_round(TOP + room - room * value / top)) for value in (0, top / 2, top)]
    hours = [
        Hour(at=point.at, x=_round(LEFT + place * pitch))
        for place, point in enumerate(points)
        if point.at.minute < step.total_seconds() / 60 and point.at.hour % HOURS_APART == 0 and _fits(place * pitch)
    ]
    return Chart(points=points, bars=bars, marks=marks, hours=hours)


def ceiling(value: float) -> float:
    """Return the next number that is easily read and has a readable half: 2, 4, 10, 20, 40, 100 …"""
    if value <= 2:
        return 2
    power = 10.0 ** math.floor(math.log10(value))
    return next(float(step * power) for step in (1, 2, 4, 6, 8, 10) if step * power >= value)


def _fits(x: float) -> bool:
    """Tell whether the words of an hour, which stand around its place, have room before the chart's end."""
    return x <= WIDTH - LEFT - RIGHT - HALF_OF_AN_HOUR


def _round(value: float) -> float:
    return round(value, 1)
