"""A real Prometheus that scrapes what it is told, and is asked; Debian's `prometheus` brings it and `promtool`."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from addresses import somewhere

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="there is no prometheus (Debian: prometheus)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A running one."""

    client: httpx.AsyncClient

    async def series(self, query: str) -> list[dict[str, Any]]:
        """Run a query now; fail where it cannot be parsed."""
        answer = (await self.client.get("/api/v1/query", params={"query": query})).json()
        assert answer["status"] == "success", f"{query}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def alarms(self) -> dict[str, str]:
        """Return each alarm of its rules with its health."""
        groups = (await self.client.get("/api/v1/rules")).json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}


@asynccontextmanager
async def prometheus(folder: Path, *, scrapes: str, tls: bool, rules: Path) -> AsyncIterator[Prometheus]:
    """Run one that scrapes an address every second, as the job kuma-sync."""
    assert PROMETHEUS is not None
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": "kuma-sync",
                "scheme": "https" if tls else "http",
                "tls_config": {"insecure_skip_verify": True},
                "static_configs": [{"targets": [scrapes]}],
            }
        ],
    }
    file, listen = folder / "prometheus.yml", somewhere()
    file.write_text(json.dumps(config))  # JSON is YAML
    process = await asyncio.create_subprocess_exec(
        PROMETHEUS,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={listen}",
        "--log.level=warn",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{listen}", trust_env=False, verify=False, timeout=10) as client:
            yield Prometheus(client=client)
    finally:
        process.terminate()
        await process.wait()
