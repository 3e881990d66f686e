"""The statements by which a sorted list of alerts is read, from a position on, along an index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Subquery, literal, null, select, tuple_

from kuma_sync.store import schema
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.store.read_models.position import Position
from kuma_sync.store.types import UtcTime

_alerts, _links = schema.alerts, schema.links


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a list that is sorted by a column with an index. `key` None: by id alone, for the column is NULL.

    `span` are the conditions that the index can be entered by.
    """

    key: Column[Any] | None
    descending: bool
    span: tuple[ColumnElement[bool], ...] = ()
    conditions: tuple[ColumnElement[bool], ...] = ()
    state: AlertState | None = None

    def has(self, position: Position) -> bool:
        """Tell whether such a position can lie here: it came from an address."""
        if position.id is None or self.key is None:
            return position.key is None
        return isinstance(position.key, datetime if isinstance(self.key.type, UtcTime) else str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The statements that read a segment; `span` are the conditions that its index can be entered by."""

    segment: Segment
    few: Subquery | None
    span: tuple[ColumnElement[bool], ...]
    conditions: tuple[ColumnElement[bool], ...]
    descending: bool

    def all(self, at: Position | None) -> Select[Any]:
        """Select all rows of the index after a position, wanted or not."""
        return self._ordered(select(*self._columns).where(*self.span), at)

    def wanted(self, at: Position | None, end: Position | None) -> Select[Any]:
        """Select the wanted rows between two positions."""
        query = joined(self.few, *self._columns).where(*self.span, *self.conditions)
        return self._ordered(query if end is None else query.where(~self._beyond(end)), at)

    @property
    def _columns(self) -> tuple[Any, Any]:
        key = self.segment.key
        return _alerts.c.id, (null() if key is None else key).label("key")

    @property
    def _by(self) -> tuple[Column[Any], ...]:
        return (_alerts.c.id,) if self.segment.key is None else (self.segment.key, _alerts.c.id)

    def _ordered(self, query: Select[Any], at: Position | None) -> Select[Any]:
        query = query.order_by(*(column.desc() if self.descending else column.asc() for column in self._by))
        return query if at is None else query.where(self._beyond(at))

    def _beyond(self, at: Position) -> ColumnElement[bool]:
        values = (at.id,) if self.segment.key is None else (at.key, at.id)
        row, there = tuple_(*self._by), tuple_(*map(literal, values, (column.type for column in self._by)))
        return row < there if self.descending else row > there


def joined(few: Subquery | None, *columns: Any) -> Select[Any]:
    """Select columns of alerts and their links: of all, or of these few, which are then read first."""
    both = _alerts.join(_links, _links.c.alert_id == _alerts.c.id)
    return select(*columns).select_from(both if few is None else few.join(both, _alerts.c.id == few.c.id))
