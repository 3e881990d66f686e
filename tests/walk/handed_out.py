"""Alerts that are put out for an IRP that polls us."""

from __future__ import annotations

from collections.abc import Iterable

import httpx
from stage import eventually


async def put_out(client: httpx.AsyncClient, alert_ids: Iterable[str]) -> None:
    """Wait until each of these alerts can be asked for by its id; who was shown once is not asked for again."""
    missing = set(alert_ids)

    async def all_out() -> bool:
        some = "&id=".join(sorted(missing)[:250])
        answer = await client.get(f"/api/v1/alerts?id={some}")
        missing.difference_update(item["id"] for item in answer.json() if answer.status_code == 200)
        return not missing

    await eventually(all_out, within=60)
