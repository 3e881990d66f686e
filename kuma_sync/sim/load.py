"""Alerts out of a JSON file, plain or gzipped. Reading only; KumaSim.load takes them."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

from kuma_sync.sim.errors import SimError
from kuma_sync.sim.values import Json


def read_alerts(path: str | Path) -> list[Json]:
    """Read FILE.json or FILE.json.gz holding a bare array of alerts; SimError names the file and what is wrong."""
    file = Path(path)
    try:
        raw = file.read_bytes()
        alerts = json.loads(gzip.decompress(raw) if file.suffix == ".gz" else raw)
    except OSError as error:
        raise SimError(f"{file}: {error.strerror or 'not a gzip file'}") from error
    except (EOFError, zlib.error) as error:
        raise SimError(f"{file}: a damaged gzip file") from error
    except ValueError as error:
        raise SimError(f"{file}: not JSON in UTF-8") from error
    if not isinstance(alerts, list):
        raise SimError(f"{file}: expected a JSON array of alerts, as KUMA answers it")
    for position, alert in enumerate(alerts):
        if not isinstance(alert, dict) or not alert.get("id"):
            raise SimError(f"{file}: element {position} is no alert with an id")
    return alerts
