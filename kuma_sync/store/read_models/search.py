"""Alerts by filters, sorted, page by page: whatever is asked for, the work of a page is bounded.

A page is found in one of two ways. Where the filter names few alerts that an index knows (an id, an incident, what is
parked), these are read and sorted. Else the alerts are walked through in the order that is asked for, by an index, as
far as the patience goes; where that ends before the page is full, the page says where to go on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Text,
    TextClause,
    func,
    literal,
    or_,
    select,
    union,
)

from kuma_sync.core.text import alert_spellings, fit, incident_spellings
from kuma_sync.core.words import searched
from kuma_sync.store import schema
from kuma_sync.store.jobs import JobState
from kuma_sync.store.read_models.overview import UNFETCHED, AlertState, Row, rows_of, state_of
from kuma_sync.store.read_models.position import Position, read_position
from kuma_sync.store.read_models.walk import Segment, Walk, joined

COUNTED = 10_000
"""More alerts than this are not counted."""

MOST_WORDS = 5
"""Words of a text that are looked for."""

_GLOB = re.compile(r"[*?\[]")
"""What a pattern of SQLite's GLOB does not take for itself."""

_PART_OF_ID = re.compile(r"[0-9a-f-]+")

_alerts, _links = schema.alerts, schema.links


class Sort(StrEnum):
    """What alerts are sorted by; those that are the same in it by lastSeen, and then by id."""

    LAST_SEEN = "last seen"
    FIRST_SEEN = "first seen"
    NAME = "name"
    PRIORITY = "priority"
    STATE = "state"


PRIORITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which alerts are wanted; what is empty or None does not matter. `since` and `until` are of lastSeen.

    `text` is an alert's id, an incident's id or number, or a part of the words that an alert is found by (core/words):
    its name, a host, an address, a user. `tenant` is a name or an id.
    """

    text: str = ""
    state: AlertState | None = None
    target: str | None = None
    tenant: str = ""
    priority: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def fit(self) -> Filter:
        """Return it without characters that no database stores: it comes from an address."""
        target = None if self.target is None else fit(self.target)
        return replace(self, target=target, text=fit(self.text), tenant=fit(self.tenant), priority=fit(self.priority))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A page that is asked for: what lies after, or before, a position of an earlier answer; else the first one."""

    filter: Filter = Filter()
    sort: Sort = Sort.LAST_SEEN
    descending: bool = True
    after: str = ""
    before: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The answer. `next` and `previous` are positions, None where nothing lies there.

    `total` counts all that fit the filter, up to COUNTED + 1; None where that would take long. `partial`: the walk
    ended before the page was full, and goes on at `next` (going back, at `previous`).
    """

    rows: list[Row]
    next: str | None
    previous: str | None
    total: int | None
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How much is read for one page."""

    few: int = 5_000
    """Alerts that are read and sorted at once."""

    rows: tuple[int, int] = (1_000, 20_000)
    """Rows that are walked through: the first of each part of the list, and once so many more. Each is read as a whole
    (about 1 µs)."""

    words: tuple[int, int] = (1_000, 150_000)
    """The same where the index alone tells whether a row is wanted (about 0.15 µs)."""


class Search:
    """Answers such questions, inside one transaction."""

    def __init__(self, connection: Connection, patience: Patience = Patience()) -> None:
        self._connection = connection
        self._patience = patience

    def page(self, asked: Asked) -> Page:
        """Return a page. Raise ValueError where the position is none of ours."""
        asked = replace(asked, filter=asked.filter.fit())
        back, start = bool(asked.before), read_position(asked.before or asked.after)
        named = self._named(asked.filter.text)
        found, broke_off = self._walked(asked, named, start, back=back)
        more, kept = len(found) > asked.limit, found[: asked.limit]
        further = kept[-1] if more else broke_off
        behind = (kept[0] if kept else start) if start is not None else None
        rows = kept[::-1] if back else kept
        total = self._total(asked.filter, named)
        if total is None and start is None and further is None:
            total = len(kept)
        return Page(
            rows=rows_of(self._connection, [one.id for one in rows if one.id is not None]),
            next=_written(behind if back else further),
            previous=_written(further if back else behind),
            total=total,
            partial=broke_off is not None and not more,
        )

    def _walked(
        self, asked: Asked, named: Sequence[str], start: Position | None, *, back: bool
    ) -> tuple[list[Position], Position | None]:
        """Return the wanted rows from a position on, and where the walk broke off; None where it came to its end."""
        segments = _segments(asked)
        if start is not None and not (start.segment < len(segments) and segments[start.segment].has(start)):
            raise ValueError("not a position in this list")
        order = range(len(segments))[::-1] if back else range(len(segments))
        found: list[Position] = []
        by_index = _by_index_alone(asked)
        first, *rest = self._patience.words if by_index else self._patience.rows
        most, to_the_end = first + sum(rest), False
        for number in order[order.index(start.segment) if start is not None else 0 :]:
            at = start if start is not None and start.segment == number and start.id is not None else None
            walk, steps = self._walk(asked, segments[number], named, back=back), first
            while True:
                end = None if to_the_end else self._boundary(walk, at, steps)
                rows = self._connection.execute(walk.wanted(at, end).limit(asked.limit + 1 - len(found)))
                found += [Position(segment=number, key=row.key, id=row.id) for row in rows]
                if len(found) > asked.limit:
                    return found, None
                if end is None:
                    break
                at = replace(end, segment=number)
                if not rest:
                    return found, at
                steps = rest.pop(0)
                to_the_end = by_index and self._no_more_than(most)
        return found, None

    def _boundary(self, walk: Walk, at: Position | None, steps: int) -> Position | None:
        """Return the position so many rows on; None where there are less, or where all are few."""
        if walk.few is not None:
            return None
        row = self._connection.execute(walk.all(at).limit(1).offset(steps - 1)).one_or_none()
        return None if row is None else Position(segment=0, key=row.key, id=row.id)

    def _no_more_than(self, most: int) -> bool:
        """Tell whether there are so few alerts: to skip over them costs a tenth of walking to a boundary."""
        return self._connection.execute(select(_alerts.c.id).limit(1).offset(most)).one_or_none() is None

    def _walk(self, asked: Asked, segment: Segment, named: Sequence[str], *, back: bool) -> Walk:
        few = _fixed(named) if named else self._few(segment.state or asked.filter.state)
        words = () if named else _words(asked.filter.text, sqlite=self._connection.dialect.name == "sqlite")
        return Walk(
            segment=segment,
            few=few,
            span=(*segment.span, *(_span(asked.filter) if segment.key is _alerts.c.last_seen else ())),
            conditions=(*_conditions(asked.filter), *words, *segment.conditions),
            descending=segment.descending is not back,
        )

    def _few(self, state: AlertState | None) -> Subquery | None:
        """Return the ids of the alerts that may be in a state, where an index knows them and they are few."""
        if state is None or state not in _BY_STATE:
            return None
        # With a limit it is read first: else SQLite may walk through all alerts and ask of each if it is among these.
        ids = union(*_BY_STATE[state]).limit(self._patience.few + 1).subquery("few")
        counted = select(func.count()).select_from(ids)
        return ids if self._connection.execute(counted).scalar_one() <= self._patience.few else None

    def _named(self, text: str) -> list[str]:
        """Return the alerts of which this is the id, or the incident's id or number."""
        wanted = text.strip()
        if not wanted:
            return []
        numbers = (_links.c.incident_number != "", _links.c.incident_number.in_(sorted({wanted, wanted.upper()})))
        rows = self._connection.execute(
            union(
                select(_alerts.c.id).where(_alerts.c.id.in_(alert_spellings(wanted))),
                select(_links.c.alert_id).where(_links.c.incident_id.in_(incident_spellings(wanted))),
                select(_links.c.alert_id).where(*numbers),
            ).limit(self._patience.few)
        )
        return [alert_id for (alert_id,) in rows]

    def _total(self, wanted: Filter, named: Sequence[str]) -> int | None:
        """Count all that fit, where that is cheap."""
        few = _fixed(named) if named else self._few(wanted.state)
        if few is not None:
            words = () if named else _words(wanted.text, sqlite=self._connection.dialect.name == "sqlite")
            query = joined(few, _alerts.c.id).where(*_conditions(wanted), *words)
        elif wanted == Filter():
            query = select(_alerts.c.id)
        else:
            return None
        return int(
            self._connection.execute(select(func.count()).select_from(query.limit(COUNTED + 1).subquery())).scalar_one()
        )


def _segments(asked: Asked) -> list[Segment]:
    wanted, down = asked.filter, asked.descending
    match asked.sort:
        case Sort.LAST_SEEN:
            return _by_time(_alerts.c.last_seen, wanted, descending=down)
        case Sort.FIRST_SEEN:
            return _by_time(_alerts.c.first_seen, wanted, descending=down)
        case Sort.NAME:
            return [Segment(key=_alerts.c.words, descending=down)]
        case Sort.PRIORITY:
            each: list[ColumnElement[bool]]
            each = [_alerts.c.priority == name for name in PRIORITIES if wanted.priority in ("", name)]
            each += [] if wanted.priority in PRIORITIES else [_alerts.c.priority.not_in(PRIORITIES)]
            return [
                replace(part, conditions=(condition,))
                for condition in (each if down else each[::-1])
                for part in _by_time(_alerts.c.last_seen, wanted, descending=True)
            ]
        case Sort.STATE:
            states = [state for state in AlertState if wanted.state in (None, state)]
            return [
                replace(part, conditions=(state_of() == state,), state=state)
                for state in (states if down else states[::-1])
                for part in _by_time(_alerts.c.last_seen, wanted, descending=True)
            ]


def _by_time(column: Column[Any], wanted: Filter, *, descending: bool) -> list[Segment]:
    known = Segment(key=column, descending=descending, span=(column.is_not(None),))
    never = Segment(key=None, descending=descending, span=(column.is_(None),))
    ranged = column is _alerts.c.last_seen and (wanted.since or wanted.until)
    return [known] if ranged else [known, never]


def _span(wanted: Filter) -> tuple[ColumnElement[bool], ...]:
    seen = _alerts.c.last_seen
    since = () if wanted.since is None else (seen >= wanted.since,)
    return since if wanted.until is None else (*since, seen < wanted.until)


def _conditions(wanted: Filter) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of a filter, but for its text."""
    found = list(_span(wanted))
    if wanted.state is not None:
        found.append(state_of() == wanted.state)
    if wanted.target is not None:
        found.append(_links.c.target == wanted.target)
    if wanted.tenant:
        found.append(or_(_alerts.c.tenant_name == wanted.tenant, _alerts.c.tenant_id == wanted.tenant))
    if wanted.priority:
        found.append(_alerts.c.priority == wanted.priority)
    return tuple(found)


def _words(text: str, *, sqlite: bool) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that an alert's words, or its id, hold every word of a text."""
    return tuple(
        or_(*(_holds(column, word, sqlite=sqlite) for column in _searched_for(word)))
        for word in searched(text).split()[:MOST_WORDS]
    )


def _searched_for(word: str) -> tuple[Column[str], ...]:
    """Return the columns that may hold a word. KUMA's ids are UUIDs (help 222254); to look there costs half more."""
    return (_alerts.c.words, _alerts.c.id) if _PART_OF_ID.fullmatch(word) else (_alerts.c.words,)


def _holds(column: Column[str], word: str, *, sqlite: bool) -> ColumnElement[bool]:
    """Return the condition that a text holds a word. SQLite finds it by GLOB in 0.6 of the time that instr takes."""
    if not sqlite:
        return func.strpos(column, word) > 0
    itself = _GLOB.sub(r"[\g<0>]", word)
    return column.op("GLOB", is_comparison=True)(literal(f"*{itself}*", Text()))


def _by_index_alone(asked: Asked) -> bool:
    """Tell whether the index that a list is walked by tells which rows are wanted, or nearly all are."""
    plain = replace(asked.filter, text="", since=None, until=None) == Filter()
    by_words = asked.sort is Sort.LAST_SEEN or (asked.sort is Sort.NAME and not asked.filter.since)
    return plain and by_words


def _fixed(ids: Sequence[str]) -> Subquery:
    return select(_alerts.c.id).where(_alerts.c.id.in_(ids)).subquery("few")


def _written(position: Position | None) -> str | None:
    return None if position is None else position.written()


def _jobs(*states: JobState) -> list[Select[Any]]:
    return [
        select(table.c.subject.label("id")).where(table.c.state.in_(states))
        for table in (schema.delivery_queue, schema.close_queue)
    ]


def _marked(condition: TextClause) -> Select[Any]:
    return select(_links.c.alert_id.label("id")).where(condition)


_BY_STATE: dict[AlertState, list[Select[Any]]] = {
    AlertState.PARKED: _jobs(JobState.PARKED),
    AlertState.HELD: [*_jobs(JobState.HELD), _marked(schema.HELD), _marked(schema.UNROUTED)],
    AlertState.MISSED: [_marked(schema.MISSED)],
    AlertState.IGNORED: [_marked(schema.GIVEN_UP)],
    AlertState.PENDING: [*_jobs(JobState.PENDING, JobState.RUNNING), UNFETCHED],
    AlertState.GONE: [_marked(schema.GONE)],
}
"""For states that few alerts are in: those that may be in it, by indexes alone."""
