"""A row that the database does not take: its alert is parked with the reason, its neighbours and its loop go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from sqlite3 import connect

import psycopg
from stage import ask, eventually, leases_run_out, link_of, parked, polled, staged, state_of, until_rest

from kuma_sync.core.alert import AlertId
from kuma_sync.core.privacy import Privacy
from kuma_sync.core.routing import Routing
from kuma_sync.kuma.parse import parse_alert
from kuma_sync.sim.values import Json
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.single_pass import once

WHOLE = partial(parse_alert, with_events=True, max_events=1000, privacy=Privacy())


@asynccontextmanager
async def refusing(url: str, table: str, condition: str) -> AsyncIterator[None]:
    """Let a database refuse rows of a table for which a condition on `new` holds, as another's constraint would."""
    if url.startswith("sqlite"):
        deeds = ("INSERT", "UPDATE")
        refuse = [
            f"CREATE TRIGGER odd_{deed} BEFORE {deed} ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'odd'); END"
            for deed in deeds
        ]
        allow = [f"DROP TRIGGER odd_{deed}" for deed in deeds]
    else:
        refuse = [f"ALTER TABLE {table} ADD CONSTRAINT odd CHECK (NOT ({condition.replace('new.', '')}))"]
        allow = [f"ALTER TABLE {table} DROP CONSTRAINT odd"]
    await asyncio.to_thread(_tell, url, refuse)
    try:
        yield
    finally:
        await asyncio.to_thread(_tell, url, allow)


def _tell(url: str, statements: list[str]) -> None:
    """Run statements when whoever works on the database lets them."""
    file = url.startswith("sqlite")
    with closing(connect(url.removeprefix("sqlite:///"), timeout=30) if file else psycopg.connect(url)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


async def test_an_alert_that_the_database_refuses_is_parked_and_its_neighbours_are_not(
    tmp_path: Path, database_url: str
) -> None:
    async with (
        staged(tmp_path, database_url, brake={"max_new": 5}) as stage,
        stage.runtime() as runtime,
        refusing(database_url, "alerts", "new.name = 'odd'"),
    ):
        names = ["one", "odd", "two", "three", "four"]
        ids = {name: stage.kuma.raise_alert(name=name) for name in names}
        for _ in range(3):
            await polled(runtime)
        delivered = {name for name, alert_id in ids.items() if stage.incidents(alert_id)}
        pieces = await ask(runtime, lambda tx: tx.rejects.waiting())
        passes = await ask(runtime, lambda tx: tx.audit.last_passes(50))

    assert delivered == {"one", "two", "three", "four"}, "nor does the brake count them twice"
    assert [piece.reason.split(":")[0] for piece in pieces] == ["the database takes no such value"]
    assert sum(read.rejected for read in passes) == 1
    assert sum(read.appeared for read in passes) == 4


async def test_an_alert_that_the_database_refused_is_delivered_when_it_is_retried(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url) as stage, stage.runtime() as runtime:
        async with refusing(database_url, "alerts", "new.name = 'odd'"):
            alert_id = stage.kuma.raise_alert(name="odd")
            await polled(runtime)
            (piece,) = await ask(runtime, lambda tx: tx.rejects.waiting())
            assert piece.digest == f"refused:{alert_id}"
            in_vain = operator.read_again(runtime.store, piece.digest, routing=Routing(), by="cli", parse=WHOLE)
        taken = operator.read_again(runtime.store, piece.digest, routing=Routing(), by="cli", parse=WHOLE)
        await until_rest(runtime)
        left = await ask(runtime, lambda tx: tx.rejects.waiting())

    assert (in_vain, taken, left) == (False, True, [])
    assert stage.incident(alert_id).fields["title"] == "odd"


async def test_an_alert_that_was_refused_and_changes_is_delivered_and_parked_no_more(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url) as stage, refusing(database_url, "alerts", "new.assignee = 'odd'"):
        async with stage.runtime() as runtime:
            alert_id = stage.kuma.raise_alert()
            stage.kuma.edit(alert_id, assignee="odd")
            await polled(runtime)
            pieces = await ask(runtime, lambda tx: tx.rejects.waiting())
        await leases_run_out(stage)
        async with stage.runtime() as runtime:
            stage.kuma.edit(alert_id, assignee="even")
            await polled(runtime, sweep=True)
            left = await ask(runtime, lambda tx: tx.rejects.waiting())

    assert (len(pieces), left) == (1, [])
    assert stage.incident(alert_id)


async def test_an_update_that_the_database_refuses_leaves_the_alert_and_says_so(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url) as stage, stage.runtime() as runtime:
        alert_id, other = stage.kuma.raise_alert(name="one"), stage.kuma.raise_alert(name="two")
        await polled(runtime)
        async with refusing(database_url, "alerts", "new.assignee = 'odd'"):
            stage.kuma.edit(alert_id, assignee="odd")
            stage.kuma.edit(other, assignee="even")
            await polled(runtime, sweep=True)
            await polled(runtime, sweep=True)
            pieces = await ask(runtime, lambda tx: tx.rejects.waiting())
            state = await state_of(runtime, alert_id)

    assert stage.incident(other).fields["assignee"] == "even"
    assert state == "open", "neither gone nor lost"
    assert len(pieces) == 1


async def test_a_reason_with_a_nul_is_kept_as_the_reason_of_its_job(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage, stage.runtime() as runtime:
        stage.irp.faults.add("status", method="POST", code=422, body={"message": "no such\x00title"})
        alert_id = stage.kuma.raise_alert()
        await polled(runtime)
        (job,) = await parked(runtime)
        history = await ask(runtime, lambda tx: tx.audit.history(alert_id))

    assert "no such\ufffdtitle" in job.reason
    assert any("no such\ufffdtitle" in entry.detail for entry in history)


async def test_a_reason_that_the_database_refuses_is_kept_in_plain_letters(tmp_path: Path, database_url: str) -> None:
    wrong = "нет"
    async with (
        staged(tmp_path, database_url) as stage,
        stage.working() as runtime,
        refusing(database_url, "delivery_queue", f"new.reason LIKE '%{wrong}%'"),
    ):
        stage.irp.faults.add("status", method="POST", times=1, code=422, body={"message": wrong})
        alert_id = stage.kuma.raise_alert()
        (job,) = await eventually(lambda: parked(runtime))
        other = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(other))

    assert job.subject == alert_id
    assert "422" in job.reason
    assert r"\u043d\u0435\u0442" in job.reason
    assert "bug" not in job.reason


async def test_what_an_irp_answers_and_the_database_refuses_parks_that_job_alone(
    tmp_path: Path, database_url: str
) -> None:
    async with (
        staged(tmp_path, database_url) as stage,
        stage.working() as runtime,
        refusing(database_url, "links", "new.incident_number LIKE '%3'"),
    ):
        ids = [stage.kuma.raise_alert() for _ in range(9)]
        (job,) = await eventually(lambda: parked(runtime))

        async def delivered() -> bool:
            states = [await state_of(runtime, alert_id) for alert_id in ids]
            return sorted(map(str, states)) == ["open"] * 8 + ["parked"]

        await eventually(delivered, within=40)

    assert job.reason.startswith("the database takes no such value")
    assert len(stage.irp.incidents) == 9


# Text that no database takes, made fit before

CREATE = "/api/v1/incidents$"
ODD = "bad \x00 and \ud800 text"
FIT = "bad \ufffd and \ufffd text"


async def test_a_refusal_in_odd_words_parks_its_job_and_no_other(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage, stage.runtime() as runtime:
        stage.irp.faults.add("status", code=400, method="POST", match=CREATE, times=1, body={"message": ODD})
        ids = [stage.kuma.raise_alert() for _ in range(2)]

        troubles = await once(runtime)
        (job,) = await parked(runtime)
        history = await ask(runtime, lambda tx: tx.audit.history(AlertId(job.subject)))

    assert troubles == []
    assert FIT in job.reason
    assert [entry.detail for entry in history if entry.action == "parked"] == [job.reason]
    assert [len(stage.incidents(alert_id)) for alert_id in ids if alert_id != job.subject] == [1]


async def test_an_incident_with_an_odd_number_is_linked(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        answer: Json = {"id": "77", "number": ODD, "url": ODD}
        stage.irp.faults.add("status", code=201, method="POST", match=CREATE, body=answer)

        await once(runtime)
        link, jobs = await link_of(runtime, alert_id), await parked(runtime)

    assert jobs == []
    assert link.incident is not None
    assert (link.incident.id, link.incident.number, link.incident.url) == ("77", FIT, FIT)


async def test_a_closing_with_an_odd_resolution_is_carried(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        item = {"id": stage.incident(alert_id).id, "externalId": f"kuma:kuma:{alert_id}", "status": "closed"}
        item |= {"resolution": ODD, "updatedAt": datetime.now(UTC).isoformat()}
        stage.irp.faults.add("status", code=200, match="status=closed", body={"items": [item], "total": 1})

        troubles = [*await once(runtime), *await once(runtime)]
        link, jobs = await link_of(runtime, alert_id), await parked(runtime)

    assert (troubles, jobs) == ([], [])
    assert stage.kuma.closes == [(alert_id, "responded")]
    assert link.incident_closed
