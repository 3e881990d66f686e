"""One real Request Tracker a test process; the stage of the whole days serves it, too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_WALK = str(Path(__file__).parents[1] / "walk")
if _WALK not in sys.path:
    sys.path.append(_WALK)

import request_tracker  # noqa: E402  # this folder's own, beside the stage
from request_tracker import Tracker  # noqa: E402


@pytest.fixture(scope="session")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    """A Request Tracker with its custom fields, one queue, and a token. Skips where there can be none."""
    try:
        request_tracker.install(tmp_path_factory.getbasetemp().parent / "request-tracker.lock")
    except request_tracker.Absent as absent:
        pytest.skip(str(absent))
    with request_tracker.running() as tracker:
        yield tracker
