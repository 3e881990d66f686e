"""R-Vision and TheHive with their built-in profiles: whole days of alerts, with the odd ways of both products."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from logins import COOKIE_LOGIN, TOKEN_LOGIN
from stage import (
    Stage,
    change_profile,
    eventually,
    link_of,
    metric,
    parked,
    staged,
    state_of,
    tell,
    until_proven,
    until_rest,
)

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.sync import operator
from kuma_sync.sync.closing.requests import put_order
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.health import State
from kuma_sync.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A simulated product: how it is asked to create, how its analysts close, and a login in place of its token."""

    dialect: str
    create: str
    resolution: str
    token_auth: str
    login_auth: str
    login: str


RVISION = Product(
    dialect="rvision",
    create="/api/v2/incidents$",
    resolution="Ложное срабатывание",
    token_auth='[auth]\nkind = "header"\nname = "X-Token"\n',
    login_auth=COOKIE_LOGIN,
    login="cookie",
)
THEHIVE = Product(
    dialect="thehive",
    create="/api/v1/alert$",
    resolution="FalsePositive",
    token_auth='[auth]\nkind = "bearer"\n',
    login_auth=TOKEN_LOGIN,
    login="token",
)


@pytest.fixture(params=[RVISION, THEHIVE], ids=lambda product: product.dialect)
def product(request: pytest.FixtureRequest) -> Product:
    found: Product = request.param
    return found


def staging(folder: Path, database: str, product: Product, **sections: dict[str, Any]) -> Any:
    """Open a stage with this product, as its administrator would configure it."""
    close = {"reasons": {product.resolution: "incorrect data"}, "watch_interval": "200ms"}
    return staged(folder, database, dialect=product.dialect, **{"close": close, **sections})


def creates(stage: Stage) -> int:
    return len(stage.wrote("create"))


# Creates


async def test_a_create_whose_answer_was_lost_is_found_when_the_lag_is_over(
    tmp_path: Path, sqlite_url: str, product: Product
) -> None:
    async with staging(tmp_path, sqlite_url, product) as stage:
        change_profile(stage, lambda text: text.replace('settle = "200ms"', 'settle = "3s"'))
        async with stage.runtime() as runtime:
            stage.kuma.raise_alert()
            await once(runtime)
            await until_rest(runtime)
            await until_proven(runtime)
            stage.irp.knobs.find_lag = 1.0
            lost = stage.irp.faults.add("reset_after", method="POST", match=product.create, times=1)
            alert_id = stage.kuma.raise_alert()
            await once(runtime)
            await until_rest(runtime, within=30)
            link, jobs = await link_of(runtime, alert_id), await parked(runtime)

    assert (lost.fired, jobs) == (1, [])
    assert link.incident is not None
    assert link.incident.id == stage.incident(alert_id).id
    assert creates(stage) == 2, "one for each alert"
    assert stage.agrees(), stage.verdict()


async def test_a_lost_store_finds_every_incident_again(tmp_path: Path, sqlite_url: str, product: Product) -> None:
    async with staging(tmp_path, sqlite_url, product) as stage:
        for _ in range(5):
            stage.kuma.raise_alert()
        assert await stage.passes() == []
        stage.configure(store={"url": f"sqlite:///{tmp_path / 'another.db'}"})
        assert await stage.passes() == []

    assert creates(stage) == 5
    assert stage.agrees(), stage.verdict()


@pytest.mark.parametrize("status", [400, 409])
async def test_a_create_that_thehive_refuses_as_a_conflict_is_linked_when_it_is_found(
    tmp_path: Path, sqlite_url: str, status: int
) -> None:
    async with staging(tmp_path, sqlite_url, THEHIVE) as stage:
        stage.irp.knobs.duplicate_status = status
        first = stage.kuma.raise_alert()
        assert await stage.passes() == []
        stage.configure(store={"url": f"sqlite:///{tmp_path / 'another.db'}"})
        stage.irp.knobs.find_lag = 3600
        async with stage.runtime() as runtime:
            await once(runtime)
            await eventually(lambda: [one for one in stage.irp.requests if one.status == status])
            stage.irp.knobs.find_lag = 0
            await until_rest(runtime)
            for job in await parked(runtime):
                await tell(runtime, lambda tx, alert=job.subject: operator.retry(tx, [alert], by="cli"))
            await until_rest(runtime)
            link, jobs = await link_of(runtime, first), await parked(runtime)

    assert jobs == []
    assert link.incident is not None
    assert link.incident.id == stage.incident(first).id
    assert creates(stage) == 1


async def test_a_tenant_without_an_organisation_parks_its_alerts_and_no_others(tmp_path: Path, sqlite_url: str) -> None:
    async with staging(tmp_path, sqlite_url, RVISION) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert(tenant="Main")
        await once(runtime)
        await until_rest(runtime)
        unknown = stage.kuma.raise_alert(tenant="Новый филиал")
        fine = stage.kuma.raise_alert(tenant="Main")
        await once(runtime)
        await until_rest(runtime)
        jobs = await parked(runtime)

    assert [(job.subject, "there is no value 'Новый филиал'" in job.reason) for job in jobs] == [(unknown, True)]
    assert stage.incidents(fine)
    assert len(stage.irp.incidents) == 2, "and no create went out again because the answer was 200"


# Tokens and logins


async def test_a_token_that_ran_out_pauses_everything_until_there_is_another(
    tmp_path: Path, sqlite_url: str, product: Product
) -> None:
    async with staging(tmp_path, sqlite_url, product) as stage:
        secret = tmp_path / "irp.token"
        secret.write_text(stage.tables["irp"].pop("token"))
        stage.configure(irp={"token_file": str(secret)})
        async with stage.working() as runtime:
            old = stage.kuma.raise_alert()
            await eventually(lambda: stage.incidents(old))
            await until_proven(runtime)
            stage.irp.token = "another-token"
            news = [stage.kuma.raise_alert() for _ in range(5)]
            await eventually(lambda: runtime.health.ready().parts["irp"].state is State.PAUSED)
            made, jobs = len(stage.irp.incidents), await parked(runtime)
            secret.write_text(stage.irp.token)
            await eventually(stage.agrees)

    assert (made, jobs) == (1, [])
    assert creates(stage) == 1 + len(news)


async def test_sessions_that_end_again_and_again_fail_no_delivery(
    tmp_path: Path, sqlite_url: str, product: Product
) -> None:
    metrics = Metrics()
    async with staging(tmp_path, sqlite_url, product) as stage:
        change_profile(stage, lambda text: text.replace(product.token_auth, product.login_auth))
        stage.irp.knobs.login, stage.irp.knobs.session_requests = product.login, 7
        del stage.tables["irp"]["token"]
        stage.configure(irp={"username": "kuma-sync", "password": stage.irp.token})
        async with stage.working(metrics) as runtime:
            for _ in range(20):
                stage.kuma.raise_alert()
            await eventually(stage.agrees, within=30)
            stage.irp.access.end_sessions()
            stage.kuma.raise_alert()
            await eventually(stage.agrees, within=30)
            jobs, ready = await parked(runtime), runtime.health.ready().ready

    assert (jobs, ready) == ([], True)
    assert stage.irp.access.logins >= 5
    assert creates(stage) == 21
    assert metric(metrics, "deliveries_total", operation="create", result="ok") == 21


# Closings, and incidents that are gone


async def test_an_incident_that_was_deleted_is_not_made_again_by_an_upsert(
    tmp_path: Path, sqlite_url: str, product: Product
) -> None:
    async with staging(tmp_path, sqlite_url, product) as stage, stage.runtime() as runtime:
        alert_id, other = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        await once(runtime)
        await until_rest(runtime)
        stage.irp.delete(stage.incident(alert_id).id)
        for id_ in (alert_id, other):
            stage.kuma.grow(id_)
            stage.kuma.edit(id_, priority="critical")
        await once(runtime)
        await until_rest(runtime)
        jobs = await parked(runtime)

    assert [(job.subject, "incident deleted" in job.reason) for job in jobs] == [(alert_id, True)]
    assert (stage.incidents(alert_id), creates(stage)) == ([], 2)


async def test_a_closing_that_the_process_does_not_allow_is_parked_with_its_words(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staging(tmp_path, sqlite_url, RVISION) as stage, stage.runtime() as runtime:
        stage.irp.knobs.transitions = {"Зарегистрирован": ["Назначен"]}
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        await until_rest(runtime)
        stage.kuma.close(alert_id)
        await once(runtime)
        await until_rest(runtime)
        [job] = await parked(runtime)
        stage.irp.knobs.transitions = {}
        await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
        await until_rest(runtime)
        state = await state_of(runtime, alert_id)

    assert "illegal transition: Зарегистрирован to Закрыт" in job.reason
    assert (state, stage.incident(alert_id).status) == ("closed", "closed")


async def test_an_alert_that_became_a_case_is_updated_and_says_that_kumas_was_closed(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staging(tmp_path, sqlite_url, THEHIVE) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low")
        await once(runtime)
        await until_rest(runtime)
        incident = stage.incident(alert_id)
        stage.irp.update(incident, {"caseId": "~9", "status": "Imported"})
        stage.kuma.edit(alert_id, priority="critical")
        await once(runtime)
        await until_rest(runtime)
        raised = incident.fields["severity"]
        stage.kuma.close(alert_id, "incorrect data")
        await once(runtime)
        await until_rest(runtime)
        state, jobs = await state_of(runtime, alert_id), await parked(runtime)

    assert (state, jobs, raised) == ("closed", [], 4)
    assert (incident.fields["status"], incident.status) == ("Imported", "open")
    assert incident.fields["summary"] == "Closed in KUMA: incorrect data"


async def test_what_analysts_set_in_thehive_is_theirs_and_the_rest_goes_on(tmp_path: Path, sqlite_url: str) -> None:
    async with staging(tmp_path, sqlite_url, THEHIVE) as stage, stage.runtime() as runtime:
        edited, other = (stage.kuma.raise_alert(priority="low") for _ in range(2))
        await once(runtime)
        await until_rest(runtime)
        stage.irp.analyst_edit(stage.incident(edited).id, severity=2)
        for alert_id in (edited, other):
            stage.kuma.edit(alert_id, priority="critical")
            stage.kuma.grow(alert_id)
        await once(runtime)
        await until_rest(runtime)
        jobs = await parked(runtime)

    severities = [stage.incident(alert_id).fields["severity"] for alert_id in (edited, other)]
    assert (severities, jobs) == ([2, 4], [])
    assert stage.agrees(), stage.verdict()


async def test_an_operators_words_become_a_comment_before_the_closing(
    tmp_path: Path, sqlite_url: str, product: Product
) -> None:
    async with staging(tmp_path, sqlite_url, product) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        await until_rest(runtime)
        closing = CloseRequest(
            alert_id=AlertId(alert_id), reason=Reason.RESPONDED, origin=Origin.OPERATOR, by="cli", comment="учения"
        )
        await tell(runtime, lambda tx: put_order(tx, closing))
        await until_rest(runtime)

    incident = stage.incident(alert_id)
    assert (incident.status, incident.comments) == ("closed", ["учения"])
    assert [operation for operation, _ in incident.history][-2:] == ["comment", "close"]
