"""The rows of one store copied into another: a trial pass works on such a copy, whatever database the store is in."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from kuma_sync.store import schema

_LEFT_OUT = frozenset(
    table.name
    for table in (
        schema.passes,
        schema.audit,
        schema.lease,
        schema.heartbeats,
        schema.console_sessions,
        schema.console_tokens,
    )
)
"""Tables that tell what happened, and who works on the store: no decision goes by them."""

AT_ONCE = 200
"""Rows that are in memory at once; contents may be large."""


def copy_rows(source: Connection, copy: Connection) -> None:
    """Copy the rows of all tables that decisions go by."""
    for table in schema.metadata.sorted_tables:
        if table.name in _LEFT_OUT:
            continue
        found = source.execution_options(yield_per=AT_ONCE).execute(select(table))
        for rows in found.mappings().partitions():
            copy.execute(insert(table), [dict(row) for row in rows])
