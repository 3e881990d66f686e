"""Schema migrations, from the wheel or the checkout, run on the store's own connection."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import column, inspect, select, table
from sqlalchemy.engine import Connection

from kuma_sync.core.errors import NewerSchema, StoreError
from kuma_sync.store import postgres
from kuma_sync.store.revisions import UPGRADES, head, known, migrations_path
from kuma_sync.store.schema import metadata
from kuma_sync.store.session import Store

_VERSION = table("alembic_version", column("version_num"))


def current(store: Store) -> str | None:
    """Return the store's revision; None for an empty one."""
    with store.connected() as connection:
        return _revision(connection)


def upgrade(store: Store, *, told: Callable[[str], None] | None = None) -> None:
    """Bring an empty or older schema up to date; refuse a newer one. `told` hears each revision that is reached."""
    with store.migrating() as connection:
        _upgrade(connection, told)


def outdated(revision: str) -> StoreError:
    """Return the error that a store's schema is older than what is needed."""
    return StoreError(
        f"the store has schema {revision}, this needs {head()}: `kuma-sync db upgrade` brings it up to date, "
        "and so does `kuma-sync run`"
    )


def check(store: Store) -> str | None:
    """Return the store's revision (None for an empty one); raise NewerSchema when a newer program wrote it."""
    revision = current(store)
    if revision is not None:
        _refuse_newer(revision)
    return revision


def assure_writable(store: Store) -> None:
    """Raise StoreError if our role lacks rights that the daemon needs; nothing is written."""
    with store.connected() as connection:
        _assure_writable(connection)


def cautions(store: Store) -> list[str]:
    """Return warnings about this store's server, a sentence each."""
    if store.local:
        return []
    with store.connected() as connection:
        return postgres.cautions(connection)


def _assure_writable(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        postgres.assure_writable(connection, metadata.tables, empty=_revision(connection) is None)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION.name):
        return None
    revision: str | None = connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()
    return revision


def _upgrade(connection: Connection, told: Callable[[str], None] | None) -> None:
    if connection.dialect.name == "postgresql":
        # Several copies may start at once; the second waits here and finds the work done. Older ones that work on the
        # store end what they write just now, and find the schema changed at their next write.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPGRADES})")
    revision = _revision(connection)
    if revision is not None:
        _refuse_newer(revision)
    if revision == head():
        return
    _assure_writable(connection)
    # Loaded only when needed: it takes a third of a start, and most starts have nothing to migrate.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_path()))
    config.attributes["connection"] = connection
    config.attributes["told"] = told
    command.upgrade(config, "head")


def _refuse_newer(revision: str) -> None:
    if revision not in known():
        raise NewerSchema(f"the store was written by a newer kuma-sync (schema {revision}, this one knows {head()})")
