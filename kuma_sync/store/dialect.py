"""The few statements that differ between SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from sqlalchemy import ARRAY, Boolean, Column, Connection, Dialect, Interval, Table, Text, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

T = TypeVar("T")

BATCH = 500
"""Values in one IN list; SQLite allows far more, and plans of both databases stay cheap."""


def insert_into(connection: Connection, table: Table) -> Any:
    """Return the dialect's INSERT, which knows ON CONFLICT."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def one_of(column: Column[Any], name: str) -> FunctionElement[bool]:
    """Return the condition that a column holds one of the values bound to `name`.

    With IN every number of values makes a new statement, which must be compiled, and planned by PostgreSQL, each time.
    """
    return _OneOf(column, bindparam(name, type_=_Values(column.type)))


class _OneOf(FunctionElement[bool]):
    inherit_cache = True
    type = Boolean()

    def self_group(self, against: OperatorType | None = None) -> Self:  # noqa: ARG002  # SQLAlchemy's own
        """Return itself: else SQLAlchemy writes ` = 1` after it, and SQLite then reads the whole table."""
        return self


@compiles(_OneOf, "postgresql")
def _in_array(element: _OneOf, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, values = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(_OneOf, "sqlite")
def _in_json(element: _OneOf, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, values = (compiler.process(clause, **kwargs) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608  # both are SQLAlchemy's own text


class _Values(TypeDecorator[Sequence[Any]]):
    """Many values as one: an array on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type."""
        return dialect.type_descriptor(ARRAY(self.item) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        """Write the values."""
        return list(value or ()) if dialect.name == "postgresql" else json.dumps(list(value or ()))


def lease_now(column: Column[datetime]) -> FunctionElement[datetime]:
    """Return the current time of the leases' clock as an expression; its values are `LeaseClock.values`."""
    return _LeaseNow(bindparam("b_lease_now", type_=column.type))


def lease_until(column: Column[datetime]) -> FunctionElement[datetime]:
    """Return the end of a lease that begins now as an expression; its values are `LeaseClock.values`."""
    return _LeaseUntil(bindparam("b_lease_until", type_=column.type), bindparam("b_lease", type_=Interval()))


class _LeaseNow(FunctionElement[datetime]):
    inherit_cache = True


class _LeaseUntil(FunctionElement[datetime]):
    inherit_cache = True


@compiles(_LeaseNow, "postgresql")
def _servers_now(_element: _LeaseNow, _compiler: SQLCompiler, **_kwargs: Any) -> str:
    return "statement_timestamp()"  # one time for all rows, taken after the wait for their locks


@compiles(_LeaseUntil, "postgresql")
def _servers_until(element: _LeaseUntil, compiler: SQLCompiler, **kwargs: Any) -> str:
    _until, lease = element.clauses
    return f"statement_timestamp() + {compiler.process(lease, **kwargs)}"


@compiles(_LeaseNow, "sqlite")
@compiles(_LeaseUntil, "sqlite")
def _our_moment(element: FunctionElement[datetime], compiler: SQLCompiler, **kwargs: Any) -> str:
    moment, *_lease = element.clauses
    return str(compiler.process(moment, **kwargs))


class LeaseClock:
    """The clock of the leases: the server's, because several machines share it, and ours for a local file."""

    def __init__(self, connection: Connection, ours: datetime) -> None:
        self._connection = connection
        self._ours = None if connection.dialect.name == "postgresql" else ours

    def now(self) -> datetime:
        """Return the time; on a server this is a query of its own."""
        if self._ours is not None:
            return self._ours
        now: datetime = self._connection.execute(_CLOCK).scalar_one()
        return now

    def values(self, lease: timedelta) -> dict[str, Any]:
        """Return what `lease_now` and `lease_until` are bound to."""
        if self._ours is None:
            return {"b_lease": lease}
        return {"b_lease_now": self._ours, "b_lease_until": self._ours + lease}


_CLOCK = select(func.clock_timestamp())


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces for IN lists."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
