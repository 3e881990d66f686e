"""A stage with a second IRP, `north`, and the routes that lead there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addresses import somewhere
from stage import Stage, link_of, staged

from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.server import SimServer
from kuma_sync.sync.runtime.runner import Runtime

NORTH = "Филиал «Север»"
BY_TENANT = {"tenants": [NORTH], "target": "north"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Two:
    """A stage with a second IRP, `north`."""

    stage: Stage
    north: IrpSim
    server: SimServer

    def alert(self, id: str, *, tenant: str = NORTH, **given: Any) -> str:
        """Raise an alert, for the north unless a tenant is given."""
        return self.stage.kuma.raise_alert(id=id, tenant=tenant, **given)

    def without_north(self) -> None:
        """Take the second IRP and the routes out of the configuration."""
        del self.stage.tables["targets"], self.stage.tables["route"]
        self.stage.configure()

    @property
    def profile(self) -> Path:
        """Return the second IRP's profile, a file of its own."""
        return Path(self.stage.tables["targets"]["north"]["profile"])

    def break_north(self) -> str:
        """Let the second IRP's profile be none; return the text that it had."""
        whole = self.profile.read_text()
        self.profile.write_text("[profile]\nname = 1\n")
        return whole

    def in_north(self, alert_id: str) -> Incident:
        """Return the one incident of an alert in the north."""
        (incident,) = self.north.by_key(f"kuma:kuma:{alert_id}")
        return incident


@asynccontextmanager
async def two(folder: Path, database: str, *routes: dict[str, Any], **sections: dict[str, Any]) -> AsyncIterator[Two]:
    """Open a stage with two IRPs and routes; by default one tenant goes north."""
    north = IrpSim(token="north-token", prefix="NORTH")
    async with (
        staged(folder, database, **sections) as stage,
        SimServer(north.app, listen=somewhere()) as server,
    ):
        profile = folder / "north.toml"
        profile.write_text(Path(stage.tables["irp"]["profile"]).read_text())
        named = {"url": server.url, "token": north.token, "profile": str(profile)}
        stage.tables["route"] = list(routes or [BY_TENANT])
        stage.configure(targets={"north": named})
        yield Two(stage=stage, north=north, server=server)


async def target_of(runtime: Runtime, alert_id: str) -> str:
    """Return the target of an alert's link."""
    return (await link_of(runtime, alert_id)).target
