"""The storm begins first: it takes longest and mostly waits, so the other processes work beside it."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the storm's tests before all others, whatever order chance gave them."""
    items.sort(key=lambda item: "test_a_storm" not in item.name)
