"""The schema's revisions that this program knows, and the look in every transaction whether the store still has ours.

On PostgreSQL a newer copy may upgrade the schema while an older one works. The older one must not write another row.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from sqlalchemy import exc

from kuma_sync.core.errors import StoreReplaced

ANY_SCHEMA = "kuma_sync_any_schema"
"""Execution option of a connection: its transaction may meet any schema, for it changes that."""

UPGRADES = 7223
"""Number of PostgreSQL's advisory lock: shared by transactions that write, alone for one that changes the schema."""

_OTHER = "FROM alembic_version WHERE version_num <>"
_UNEXPECTED = re.compile(r"schema=(\w+)")


def migrations_path() -> Path:
    """Return the folder of the migrations: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def known() -> list[str]:
    """Return the revisions this program knows, oldest first; the files are named after them."""
    return sorted(path.name.partition("_")[0] for path in (migrations_path() / "versions").glob("[0-9]*_*.py"))


def head() -> str:
    """Return the newest revision this program knows."""
    return known()[-1]


def looks(revision: str) -> str:
    """Return the statements with which a transaction on PostgreSQL waits for an upgrade, and then fails unless this is
    the store's revision.

    In one text, so that it costs one journey to the server. The second statement sees what the upgrade committed.
    """
    waits = f"SELECT pg_advisory_xact_lock_shared({UPGRADES})"
    return f"{waits}; SELECT CAST('schema=' || version_num AS integer) {_OTHER} '{revision}'"


def changed(error: exc.DataError, revision: str) -> StoreReplaced:
    """Return the error for what made such statements fail."""
    found = _UNEXPECTED.search(str(error.orig))
    return _replaced(found[1] if found else "another", revision)


def assure_unchanged(driver: sqlite3.Connection, revision: str) -> None:
    """Raise StoreReplaced if a file's schema has another revision than this; an empty one has none.

    It asks the driver itself, which costs a tenth of a statement of SQLAlchemy's.
    """
    try:
        found = driver.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:  # no such table: what the transaction does next says so
        return
    if found is not None and found[0] != revision:
        raise _replaced(str(found[0]), revision)


def _replaced(found: str, revision: str) -> StoreReplaced:
    return StoreReplaced(f"the store was replaced: its schema became {found}, this kuma-sync works with {revision}")
