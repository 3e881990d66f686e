"""A PostgreSQL role that was set up for another program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import make_url

ODD = {
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "statement_timeout": "1s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "1s",
    "idle_session_timeout": "1s",
    "synchronous_commit": "off",
}
"""What it may have been given."""


@contextmanager
def odd_role(url: str, *, limit: int = -1, **settings: str) -> Iterator[str]:
    """Let a role `odd` do all that owners may in a database, with settings of its own; yield the URL for it.

    `limit` is how many connections it may have.
    """
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute(sql.SQL("CREATE ROLE odd LOGIN CONNECTION LIMIT {}").format(limit))
        operator.execute("GRANT ALL ON SCHEMA public TO odd")
        operator.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO odd")
        operator.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO odd")
        for name, value in settings.items():
            operator.execute(sql.SQL("ALTER ROLE odd SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    try:
        yield make_url(url).set(username="odd").render_as_string(hide_password=False)
    finally:
        with psycopg.connect(url, autocommit=True) as operator:
            operator.execute("DROP OWNED BY odd")
            operator.execute("DROP ROLE odd")
