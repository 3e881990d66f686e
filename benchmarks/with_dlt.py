"""The same poll → dedup → POST with dlt, as its documentation would have it written: a resource, a custom destination.

It runs in an environment that has dlt and knows nothing of kuma-sync. Twice: with dlt's defaults, under which a table's
rows make one file and a custom destination takes a file's rows one after the other; and tuned, with small files and as
many load workers as requests shall be in flight. It keeps its own state, and imports nothing of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

WORKERS = 32
JSON = {"Content-Type": "application/json"}
PLAIN = 500
"""Alerts of the run with the defaults: it takes them one by one, so its rate does not depend on their number."""


def body(item: dict[str, Any]) -> dict[str, Any]:
    """Map an alert to the IRP's incident."""
    return {
        "externalId": f"kuma:bench:{item['id']}",
        "source": "KUMA",
        "title": item["name"],
        "description": f"{item['name']}, rule {item['correlationRuleID']}, {len(item['events'])} events",
        "severity": item["priority"].title(),
        "alertStatus": item["status"],
        "detectedAt": item["firstSeen"],
        "lastSeenAt": item["lastSeen"],
        "tenant": item["tenantName"],
        "rule": item["correlationRuleID"],
        "eventsTotal": len(item["events"]),
        "events": item["events"],
    }


def run(arguments: argparse.Namespace, *, name: str, limit: int) -> float:
    """Load once, with a state of its own; return alerts a second."""
    import dlt  # noqa: PLC0415  # after the environment is set
    import requests  # noqa: PLC0415
    from dlt.common import json  # noqa: PLC0415

    http = requests.Session()
    http.trust_env = False
    http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=WORKERS))
    posted = 0

    @dlt.resource(name="alerts", primary_key="id", max_table_nesting=0)
    def alerts(last_seen: Any = dlt.sources.incremental("lastSeen")) -> Iterator[list[dict[str, Any]]]:  # noqa: ARG001, B008  # dlt reads the default
        taken = 0
        for page in range(1, 1_000_000):
            query = {"withEvents": "", "status": "new", "page": str(page)}
            found = http.get(f"{arguments.kuma}/api/v1/alerts/", params=query).json()
            yield found[: limit - taken]
            taken += len(found)
            if len(found) < 250 or taken >= limit:
                return

    @dlt.destination(
        name="irp", batch_size=1, skip_dlt_columns_and_tables=True, max_table_nesting=0, naming_convention="direct"
    )
    def irp(items: list[dict[str, Any]], table: Any) -> None:  # noqa: ARG001  # dlt's shape
        nonlocal posted
        for item in items:
            text = json.dumps(body(item))  # dlt's own: it has made datetimes of the text
            http.post(f"{arguments.irp}/api/v1/incidents", data=text, headers=JSON).raise_for_status()
            posted += 1

    pipeline = dlt.pipeline(pipeline_name=name, destination=irp, pipelines_dir=f"{arguments.folder}/{name}")
    started = time.perf_counter()
    pipeline.run(alerts())
    seconds = time.perf_counter() - started
    if posted != limit:
        raise RuntimeError(f"{posted} of {limit} alerts were posted")
    return limit / seconds


def main() -> None:
    """Measure both, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--folder", "--kuma", "--irp"):
        parser.add_argument(name, required=True)
    arguments = parser.parse_args()
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL", "HOME": arguments.folder}
    os.environ["DLT_DATA_DIR"] = str(Path(arguments.folder) / "dlt")
    opener = build_opener(ProxyHandler({}))
    whole = shown(opener, arguments)
    found = {"rate": run(arguments, name="plain", limit=min(PLAIN, whole))}
    os.environ |= {"LOAD__WORKERS": str(WORKERS), "DATA_WRITER__FILE_MAX_ITEMS": "50"}
    found["tuned_rate"] = run(arguments, name="tuned", limit=whole)
    sys.stdout.write(json.dumps(found) + "\n")


def shown(opener: Any, arguments: argparse.Namespace) -> int:
    """Count the alerts that KUMA shows."""
    for page in range(1, 1_000_000):
        found = len(json.load(opener.open(f"{arguments.kuma}/api/v1/alerts/?page={page}")))
        if found < 250:
            return (page - 1) * 250 + found
    return 0


if __name__ == "__main__":
    main()
