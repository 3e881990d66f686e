"""The alarms for Prometheus, judged by promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from prometheus_server import PROMTOOL, needs_prometheus

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"


@needs_prometheus
@pytest.mark.parametrize(
    "words",
    [("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml"), ("check", "config", "prometheus.yml")],
)
def test_promtool_finds_nothing_wrong_with_the_alarms(words: tuple[str, ...]) -> None:
    assert PROMTOOL is not None

    done = subprocess.run([PROMTOOL, *words], cwd=FOLDER, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
