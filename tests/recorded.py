"""The recorded alerts: real attacks as KUMA shows them. They are not part of the project, so tests of them may skip."""

from __future__ import annotations

from pathlib import Path

import pytest

_FILE = Path("shared") / "data" / "recorded-alerts.json.gz"

RECORDED = next((above / _FILE for above in Path(__file__).resolve().parents if (above / _FILE).is_file()), _FILE)

needs_recorded = pytest.mark.skipif(not RECORDED.is_file(), reason="the recorded alerts are not part of the repository")
