"""Lets the engines of one test process share what SQLAlchemy compiled; each would compile our statements anew.

A statement's key holds its engine's dialect. Ours differ in nothing that a statement is compiled by, so here they are
equal, and all engines get the same cache. A daemon has one engine, and needs none of this.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_compiled: LRUCache[Any, Any] = LRUCache(1000)


def share() -> None:
    """Do so for every engine made from now on."""
    for dialect in (PGDialect_psycopg, SQLiteDialect_pysqlite):
        dialect.__eq__ = _alike  # type: ignore[method-assign, assignment]
        dialect.__hash__ = _hash  # type: ignore[method-assign, assignment]
    Engine._compiled_cache = property(lambda _engine: _compiled, lambda _engine, _own: None)


def _alike(one: object, other: object) -> bool:
    return type(one) is type(other)


def _hash(one: object) -> int:
    return hash(type(one))
