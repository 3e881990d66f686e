"""The few places where SQLite and PostgreSQL are spoken to differently.

Must not: know what the rows mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar

from sqlalchemy import ARRAY, Boolean, Column, Dialect, Table, Text, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

T = TypeVar("T")

BATCH = 500
"""Values in one IN list; SQLite's limit is far above, the plans of both stay cheap."""


def insert_into(connection: AsyncConnection, table: Table) -> Any:
    """Return the dialect's INSERT, which knows ON CONFLICT."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def one_of(column: Column[Any], name: str) -> FunctionElement[bool]:
    """Return the condition that a column holds one of the values bound to `name`.

    IN is another statement for every number of values, to be written, and by PostgreSQL planned, anew each time.
    """
    return _OneOf(column, bindparam(name, type_=_Values(column.type)))


class _OneOf(FunctionElement[bool]):
    inherit_cache = True
    type = Boolean()

    def self_group(self, against: OperatorType | None = None) -> Self:  # noqa: ARG002  # SQLAlchemy's own
        """Stand as it is: SQLAlchemy would write ` = 1` after it for SQLite, which then reads the whole table."""
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


class LeaseClock:
    """The time leases are measured by: the server's where several machines share one, ours on a local file.

    The server is asked at most once a transaction, and only by one that deals with leases.
    """

    def __init__(self, connection: AsyncConnection, ours: datetime) -> None:
        self._connection = connection
        self._now = None if connection.dialect.name == "postgresql" else ours

    async def now(self) -> datetime:
        """Return the time."""
        if self._now is None:
            self._now = (await self._connection.execute(_CLOCK)).scalar_one()
        return self._now


_CLOCK = select(func.clock_timestamp())


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces for IN lists."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
