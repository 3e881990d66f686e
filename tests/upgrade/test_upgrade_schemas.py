"""Stores that older programs left, of every schema there ever was: upgraded, nothing is lost, doubled or forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from old_store import OldStore, old_store, revisions
from stage import Stage, ask, eventually, let_leases_run_out, staged, state_of, tell
from stores import opened

from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import BeingMade, Linked
from kuma_sync.sim.comparison import compare
from kuma_sync.store import Tx
from kuma_sync.store.jobs import JobState
from kuma_sync.store.revisions import known
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.runner import Runtime

PIECE = "sha256:"
"""What the names of parked pieces begin with, which are no alerts."""

IN_THE_STORE = ("alerts", "links", "delivery_queue", "close_queue", "contents", "parked", "audit", "handouts")


def test_there_is_a_store_of_every_schema() -> None:
    assert revisions() == known(), "record the store before a migration is written: tests/upgrade/record.py"


@pytest.mark.parametrize("revision", revisions())
async def test_every_row_is_there_after_the_upgrade(revision: str, empty_url: str) -> None:
    old = old_store(revision)
    old.fill(empty_url)

    async with opened(empty_url) as store:
        with store.connected() as connection:
            counts = {
                table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
                for table in IN_THE_STORE
                if table in old.rows
            }
        with store.reading() as tx:
            states = {row.alert_id: row.state.value for row in tx.overview.rows()}
            jobs = _jobs(tx)
            links = {name: link.live for name, id_ in old.names.items() if (link := tx.links.get(AlertId(id_)))}

    assert counts == {table: len(rows) for table, rows in old.rows.items() if table in IN_THE_STORE}
    assert states == _said_now(old)
    assert jobs == Counter(
        (queue, row["subject"], row["state"]) for queue in ("delivery_queue", "close_queue") for row in old.rows[queue]
    )
    assert isinstance(links["grown"], Linked)
    assert {type(links[name]) for name in ("doubted", "never-arrived", "under-way")} == {BeingMade}


def _said_now(old: OldStore) -> dict[str, str]:
    """Return what the old program said of each alert, in the words of today."""
    said = {id_: state for id_, state in old.states.items() if not id_.startswith(PIECE)}
    # Up to 0014 an alert that was put out and not asked for yet was called open.
    return said | {id_: "pending" for name, id_ in old.names.items() if name.startswith("north")}


def _jobs(tx: Tx) -> Counter[tuple[str, str, str]]:
    queues = {"delivery_queue": tx.delivery, "close_queue": tx.closes}
    return Counter((name, job.subject, job.state.value) for name, queue in queues.items() for job in queue.jobs())


UNFINISHED = ("doubted", "never-arrived", "under-way", "new")
"""Alerts whose create the old program began, or was about to."""

DROPPED = "poison-dropped"
NEVER_MADE = ("ignored", "missed", DROPPED, "north-1", "north-2")
PULL = {"profile": "security-vision-pull", "token": "token-of-north"}


@asynccontextmanager
async def brought_back(old: OldStore, folder: Path, database: str) -> AsyncIterator[Stage]:
    """Open a stage whose both sides and store are those of the recording; the present program does the rest."""
    async with staged(folder, database) as stage:
        old.begin(stage.kuma, stage.irp)
        old.fill(database, irp_url=stage.irp_server.url)
        stage.configure(store={"retention": "36500d"}, poll={"unseen": "open"})
        if old.revision >= "0010":
            stage.tables["targets"] = {"north": PULL}
            stage.tables["route"] = [{"names": ["^north"], "target": "north"}]
        yield stage


def rests(stage: Stage, old: OldStore) -> bool:
    """Tell whether both sides agree, but for what is to have no incident in this IRP."""
    found = compare(stage.kuma, stage.irp)
    never = {old.names[name] for name in NEVER_MADE if name in old.names}
    return set(found.lost) <= never and not (found.doubled or found.differing or found.open_mismatch)


@pytest.mark.parametrize(("revision", "kind"), [("0001", "file"), ("0008", "postgres"), ("0012", "postgres")])
async def test_the_present_daemon_goes_on_where_an_old_one_was_killed(
    revision: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    old = old_store(revision)
    async with brought_back(old, tmp_path, request.getfixturevalue(f"new_{kind}_url")) as stage:
        made = len(stage.irp.incidents)
        async with stage.door() as door, stage.runtime() as asking:
            fresh = stage.kuma.raise_alert()
            await eventually(lambda: stage.incidents(fresh))
            await tell(asking, let_leases_run_out)
            await eventually(lambda: at_rest(asking))
            waited = {await state_of(asking, old.names[name]) for name in UNFINISHED}
            await tell(asking, lambda tx: operator.retry(tx, operator.parked_subjects(tx), by="test"))
            await tell(asking, lambda tx: operator.release(tx, by="test"))
            stage.kuma.grow(old.names["grown"])
            stage.kuma.close(old.names["growing"])
            stage.irp.analyst_close(stage.incident(old.names["doubted"]).id, "False positive")
            await eventually(lambda: rests(stage, old) and stage.kuma.alerts[old.names["odd"]]["status"] == "closed")
            north = await door.get("/api/v1/alerts?status=new", headers={"Authorization": "Bearer token-of-north"})
            dropped = await state_of(asking, old.names[DROPPED])

    assert waited == {"open"}
    assert dropped == "ignored"
    assert stage.irp.doubled() == []
    handed = {one["id"] for one in north.json()} if north.status_code == 200 else set()
    assert handed == {id_ for name, id_ in old.names.items() if name.startswith("north")}
    made_now = {"fresh", "never-arrived", "under-way", "new", "poison", "incident-deleted", "braked", "braked too"}
    assert len(stage.irp.incidents) == made + len(made_now)


async def at_rest(asking: Runtime) -> bool:
    """Tell whether nothing waits but for a human."""
    jobs = await ask(asking, lambda tx: [*tx.delivery.jobs(), *tx.closes.jobs()])
    return all(job.state in (JobState.PARKED, JobState.HELD) for job in jobs)
