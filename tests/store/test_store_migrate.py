"""Migrations: they make what the schema says, once, whoever starts first, and never touch a newer store."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from builders import NOW
from queue_steps import jobs, put
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ProgrammingError
from stores import opened, to_revision, to_the_first

from kuma_sync.core.alert import AlertId, Fingerprint
from kuma_sync.core.errors import NewerSchema, StoreUnavailable
from kuma_sync.core.incident import Incident
from kuma_sync.core.link import DeliveredState, Link, Linked
from kuma_sync.store import Identity, Joined, Lane, Store, store_url
from kuma_sync.store.migrate import check, current, upgrade
from kuma_sync.store.revisions import head, migrations_path
from kuma_sync.store.schema import metadata
from kuma_sync.store.targets import KnownProfile, Remaining

A = AlertId("a")


def a_store(url: str) -> Store:
    return Store(store_url(url), clock=lambda: NOW)


def differences(connection: Connection) -> list[Any]:
    # Alembic takes SQLite's '' for another default than ours; there the tables' own texts are compared below.
    options = {"compare_type": True, "compare_server_default": connection.dialect.name == "postgresql"}
    return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


def as_written(connection: Connection) -> dict[str, str]:
    """Return what the database itself writes of our indexes, with their conditions, and SQLite of the tables, too."""
    if connection.dialect.name == "postgresql":
        query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    else:
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    rows = connection.exec_driver_sql(query)
    return {name: _in_order(text) for name, text in rows if not name.startswith("alembic_version")}


def _in_order(text: str) -> str:
    """Sort a table's columns: one that a later migration adds stands last, wherever the schema has it."""
    head, opening, body = " ".join(text.split()).partition("(")
    if not head.startswith("CREATE TABLE"):
        return head + opening + body
    return head + opening + ", ".join(sorted(part.strip() for part in body.removesuffix(")").split(",")))


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def looked_at(store: Store, look: Any) -> Any:
    with store.engine.connect() as connection:
        return look(connection)


async def run(store: Store, *statements: str) -> None:
    with store.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


async def test_the_migrations_make_what_the_schema_describes(empty_url: str) -> None:
    store = a_store(empty_url)
    upgrade(store)
    migrated = await looked_at(store, differences), await looked_at(store, as_written)
    with store.engine.begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    described = await looked_at(store, as_written)

    assert migrated == ([], described)
    assert described
    await store.aclose()


async def test_the_comparison_notices_what_a_migration_forgot(empty_url: str) -> None:
    store = a_store(empty_url)
    upgrade(store)
    await run(store, "ALTER TABLE links DROP COLUMN close_comment", "DROP INDEX ix_links_open")

    found = await looked_at(store, differences)

    assert sorted(change[0] for change in found) == ["add_column", "add_index"]
    await store.aclose()


async def test_an_upgrade_done_twice_is_done_once(empty_url: str) -> None:
    store = a_store(empty_url)
    before = current(store), check(store)
    upgrade(store)
    await put(store)
    upgrade(store)

    assert before == (None, None)
    assert (current(store), check(store)) == (head(), head())
    assert len(await jobs(store)) == 1
    await store.aclose()


AT_0001 = (
    "INSERT INTO alerts (id, name, event_ids, fingerprint, shown_at) VALUES ('a', 'n', {none}, '1:f', {time})",
    "INSERT INTO links (alert_id, incident_id, sent_fingerprint, sent_fields, sent_events, intent_events, gone,"
    " changed_at) VALUES ('a', '1001', '1:f', '{{\"title\": \"t\"}}', {none}, {none}, true, {time})",
    "INSERT INTO delivery_queue (subject, state, lane, due, put_at) VALUES ('a', 'pending', 2, {time}, {time})",
)


def _worded(store: Store, statements: Sequence[str]) -> list[str]:
    """Return statements in the database's own words for nothing, and for NOW."""
    words = {"none": "x''", "time": "'2026-01-15T12:00:00.000000Z'"}
    if not store.local:
        words = {"none": "''::bytea", "time": "timestamptz '2026-01-15 12:00Z'"}
    return [statement.format(**words) for statement in statements]


async def test_an_upgrade_from_the_first_schema_keeps_what_is_there(empty_url: str) -> None:
    store = a_store(empty_url)
    with store.engine.begin() as connection:
        to_the_first(connection)
    before = current(store)
    await run(store, *_worded(store, AT_0001))
    upgrade(store)
    with store.writing() as tx:
        link, snapshots = tx.links.get(A), tx.alerts.snapshots([A])
        assert link is not None
        tx.links.save(replace(link, spent_until=NOW), now=NOW)
    with store.reading() as tx:
        saved, known = tx.links.get(A), tx.targets.profile("irp")

    assert (before, current(store)) == ("0001", head())
    sent = DeliveredState(fingerprint=Fingerprint("1:f"), fields={"title": "t"})
    assert link == Link(alert_id=A, state=Linked(incident=Incident(id="1001"), sent=sent), gone=True)
    assert saved == replace(link, spent_until=NOW)
    assert [snapshot.alert.name for snapshot in snapshots.values()] == ["n"]
    assert [(job.subject, job.lane, job.due) for job in await jobs(store)] == [("a", Lane.UPDATE, NOW)]
    assert known == KnownProfile(), "the profile is looked at anew"
    assert await looked_at(store, differences) == []
    await store.aclose()


OF_ONE_IRP = (
    "INSERT INTO cursor (id, watermark, sweep, sweeps_begun, born_at, kuma_instance, irp_url, profile, profile_digest,"
    " profile_shown, watched_until)"
    " VALUES (1, {time}, 3, 3, {time}, 'kuma', 'https://sv', 'security-vision', 'd', true, {time})",
    "INSERT INTO alerts (id, name, event_ids, fingerprint, shown_at)"
    " VALUES ('a', 'n', {none}, '1:f', {time}), ('b', 'n', {none}, '1:f', {time})",
    "INSERT INTO links (alert_id, incident_id, sent_fingerprint, sent_fields, sent_events, intent_events, changed_at)"
    " VALUES ('a', '1001', '1:f', '{{}}', {none}, {none}, {time}), ('b', NULL, NULL, '{{}}', {none}, {none}, {time})",
    "INSERT INTO delivery_queue (subject, state, lane, due, put_at)"
    " VALUES ('a', 'parked', 2, {time}, {time}), ('b', 'pending', 1, {time}, {time})",
    "INSERT INTO close_queue (subject, state, lane, due, put_at, payload)"
    " VALUES ('a', 'held', 0, {time}, {time}, '{{\"reason\": \"responded\"}}')",
    "INSERT INTO heartbeats (owner, host, pid, version, started_at, heard_at, condition)"
    " VALUES ('o', 'h', 1, '1', {time}, {time}, '[]')",
)


async def test_a_store_of_one_irp_keeps_what_it_knew_of_it_under_the_name_irp(empty_url: str) -> None:
    store = a_store(empty_url)
    with store.engine.begin() as connection:
        to_revision(connection, "0008")
    before = current(store)
    await run(store, *_worded(store, OF_ONE_IRP))
    upgrade(store)
    with store.reading() as tx:
        identity, profile, watched = tx.targets.identity(), tx.targets.profile("irp"), tx.targets.watched_until("irp")
        links, left = tx.links.many([A, AlertId("b")]), tx.targets.left()
        closes, watermark = tx.closes.jobs(), tx.cursor.read().watermark
        counts = tx.delivery.counts()

    assert (before, current(store)) == ("0008", head())
    joined = Joined(irp_url="https://sv", profile="security-vision")
    assert identity == Identity(kuma_instance="kuma", targets={"irp": joined})
    assert (profile, watched, watermark) == (KnownProfile(digest="d", shown=True), NOW, NOW)
    assert {key: (link.target, link.made) for key, link in links.items()} == {A: ("irp", True), "b": ("irp", False)}
    assert left == {"irp": Remaining(links=2, jobs=2)}
    assert {name: sum(count.jobs.values()) for name, count in counts.items()} == {"irp": 2}
    assert [(job.subject, job.target, job.payload) for job in closes] == [("a", "irp", {"reason": "responded"})]
    assert await looked_at(store, differences) == []
    await store.aclose()


async def test_pieces_that_were_parked_before_are_given_their_size(empty_url: str) -> None:
    store = a_store(empty_url)
    raw = {"empty": b"", "small": b"5", "large": b"\x00" * 5_000_001}
    with store.engine.begin() as connection:
        to_the_first(connection)
        for digest, piece in raw.items():
            moment = "2026-01-15T12:00:00.000000Z" if store.local else NOW
            values = {"digest": digest, "raw": zlib.compress(piece), "moment": moment}
            connection.execute(
                text(
                    "INSERT INTO parked (digest, raw, reason, first_seen, last_seen)"
                    " VALUES (:digest, :raw, 'no object', :moment, :moment)"
                ),
                values,
            )
    upgrade(store)
    with store.reading() as tx:
        sizes = {piece.digest: piece.size for piece in tx.rejects.waiting()}

    assert sizes == {digest: len(piece) for digest, piece in raw.items()}
    await store.aclose()


async def test_copies_that_start_at_once_all_find_the_schema_made(empty_url: str) -> None:
    async def copy() -> str | None:
        async with opened(empty_url) as store:
            return current(store)

    # Each in a loop of its own, as copies are.
    found = await asyncio.gather(*(asyncio.to_thread(asyncio.run, copy()) for _ in range(4)))

    assert found == [head()] * 4
    async with opened(empty_url) as store:
        await put(store)
        assert len(await jobs(store)) == 1


async def test_a_newer_store_is_refused_and_left_as_it_is(empty_url: str) -> None:
    store = a_store(empty_url)
    await run(
        store,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('9999')",
    )

    for attempt in (upgrade, check):
        with pytest.raises(NewerSchema, match=f"newer kuma-sync .*9999.* {head()}"):
            attempt(store)

    assert current(store) == "9999"
    assert await looked_at(store, tables) == {"alembic_version"}
    await store.aclose()


async def test_an_upgrade_that_fails_half_way_leaves_nothing_half_made(empty_url: str) -> None:
    store = a_store(empty_url)
    await run(store, "CREATE TABLE passes (id INTEGER)")

    with pytest.raises((ProgrammingError, StoreUnavailable)):
        upgrade(store)

    assert await looked_at(store, tables) == {"passes"}
    assert current(store) is None
    await run(store, "DROP TABLE passes")
    upgrade(store)
    assert current(store) == head()
    await store.aclose()


def test_the_migrations_are_found_beside_the_package() -> None:
    folder = migrations_path()

    assert folder == Path(__file__).resolve().parents[2] / "migrations"
    assert {"env.py", "versions"} <= {path.name for path in folder.iterdir()}
    assert head()
