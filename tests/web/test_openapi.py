"""docs/openapi.yaml against the routes of the application: neither has what the other has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from starlette.applications import Starlette
from starlette.routing import Route
from test_plain_doors import Doors, Intake, served

from kuma_sync.core.closing import Reason
from kuma_sync.core.handout import PAGE, STATUSES, Asked
from kuma_sync.telemetry.health import PARTS, State
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.web.api.alerts import Answer, read_query
from kuma_sync.web.routes import API_VERSIONS, build_app

DESCRIPTION: dict[str, Any] = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml").read_text(encoding="utf-8")
)
SCHEMAS = DESCRIPTION["components"]["schemas"]
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


class Gives:
    async def give(self, target: str, asked: Asked) -> Answer:
        raise AssertionError("nobody has a token")


def app() -> Starlette:
    """Make the application with all its doors."""
    doors = Doors()
    metrics = Metrics().render
    return build_app(
        rules=lambda: doors.rules, intake=Intake(), health=doors.health, render_metrics=metrics, gives=Gives()
    )


def described() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the calls described by method and path, one for each version."""
    return {
        (method.upper(), path.replace("{version}", version)): item[method]
        for path, item in DESCRIPTION["paths"].items()
        for method in METHODS & set(item)
        for version in API_VERSIONS
    }


SAMPLES = {
    "page": "2",
    "id": "a",
    "tenantID": "t",
    "name": "n",
    "timestampField": "firstSeen",
    "from": "2026-11-29T10:00:00Z",
    "to": "2026-11-29T10:00:00Z",
    "status": "new",
    "withEvents": "",
    "withAffected": "",
}


def test_every_route_is_described_and_every_call_described_has_a_route() -> None:
    routes = {
        (method, route.path)
        for route in app().routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }

    assert set(described()) == routes


async def test_every_call_described_is_answered_with_a_status_described() -> None:
    async with served(app()) as client:
        answers = {call: (await client.request(*call)).status_code for call in described()}

    assert {call: status for call, status in answers.items() if str(status) not in described()[call]["responses"]} == {}
    assert 404 not in answers.values()


def test_every_parameter_described_is_one_that_the_listing_reads() -> None:
    (listing, again) = (DESCRIPTION["paths"][f"/api/{{version}}/alerts{slash}"]["get"] for slash in ("", "/"))
    names = [parameter["name"] for parameter in listing["parameters"]]

    assert again["parameters"] == listing["parameters"]
    assert set(names) == set(SAMPLES)
    nothing = read_query(b"", lists=False)
    assert [name for name in names if read_query(f"{name}={SAMPLES[name]}".encode(), lists=False) == nothing] == []


def test_the_words_described_are_those_of_the_program() -> None:
    listing = DESCRIPTION["paths"]["/api/{version}/alerts"]["get"]
    parameters = {parameter["name"]: parameter["schema"] for parameter in listing["parameters"]}
    alerts = listing["responses"]["200"]["content"]["application/json"]["schema"]

    assert DESCRIPTION["components"]["parameters"]["version"]["schema"]["enum"] == list(API_VERSIONS)
    assert set(SCHEMAS["Closing"]["properties"]["reason"]["enum"]) == {reason.value for reason in Reason}
    assert set(SCHEMAS["Part"]["properties"]["state"]["enum"]) == {state.value for state in State}
    assert set(SCHEMAS["Readiness"]["properties"]["parts"]["required"]) == set(PARTS)
    assert set(parameters["status"]["items"]["enum"]) == STATUSES
    assert alerts["maxItems"] == PAGE
