"""The rows of one store copied into another: for a trial pass, or all of them, for a move to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Table, func, insert, literal_column, select, text

from kuma_sync.core.errors import StoreError
from kuma_sync.store import schema
from kuma_sync.store.keys import APPLIED, MASKING

_LEFT_OUT = frozenset(
    table.name
    for table in (
        schema.passes,
        schema.audit,
        schema.lease,
        schema.heartbeats,
        schema.activity,
        schema.console_keys,
        schema.console_sessions,
        schema.console_tokens,
        schema.console_tries,
        schema.notified,
    )
)
"""Tables that tell what happened, and who works on the store: no decision goes by them. But digests go by a key."""

AT_ONCE = 200
"""Rows that are in memory at once; contents may be large."""


def copy_rows(source: Connection, copy: Connection) -> None:
    """Copy the rows of all tables that decisions go by."""
    _copy(source, copy, [table for table in _tables() if table.name not in _LEFT_OUT])
    keys = schema.console_keys
    for row in source.execute(select(keys).where(keys.c.name.in_((MASKING, APPLIED)))).mappings().all():
        copy.execute(insert(keys), [dict(row)])


def move_rows(source: Connection, copy: Connection) -> dict[str, int]:
    """Copy every row into empty tables on PostgreSQL, whole or not at all; return how many by table.

    Nobody else may write to the copy until its transaction ends. Raise StoreError where it is not empty, or where the
    counts differ afterwards.
    """
    names = ", ".join(f'"{table.name}"' for table in _tables())
    copy.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
    filled = {name: count for name, count in _counts(copy).items() if count}
    if filled:
        some = ", ".join(f"{name} ({count})" for name, count in filled.items())
        raise StoreError(f"the store to copy into is not empty: {some}; give an empty database")
    _copy(source, copy, _tables())
    before, after = _counts(source), _counts(copy)
    if before != after:
        wrong = ", ".join(name for name in before if before[name] != after[name])
        raise StoreError(f"not every row arrived, nothing was kept: {wrong}")
    for table in _tables():
        _go_on_counting(source, copy, table)
    return after


def _tables() -> list[Table]:
    return list(schema.metadata.sorted_tables)


def _copy(source: Connection, copy: Connection, tables: Iterable[Table]) -> None:
    for table in tables:
        found = source.execution_options(yield_per=AT_ONCE).execute(select(table))
        for rows in found.mappings().partitions():
            copy.execute(insert(table), [dict(row) for row in rows])


def _counts(connection: Connection) -> dict[str, int]:
    return {
        table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one()) for table in _tables()
    }


def _go_on_counting(source: Connection, copy: Connection, table: Table) -> None:
    """Let new rows get numbers that no row has, or ever had: an old claim must not mean a new row."""
    column = table.autoincrement_column
    if column is None or column.autoincrement is not True:
        return
    highest = copy.execute(select(func.max(column))).scalar_one() or 0
    used = source.execute(
        select(literal_column("seq")).select_from(text("sqlite_sequence")).where(text("name = :name")),
        {"name": table.name},
    ).scalar_one_or_none()
    last = max(highest, used or 0)
    if last:
        copy.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), last)))
