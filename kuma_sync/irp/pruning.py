"""What is empty says nothing and is left out: the one rule for every rendered tree.

Must not: touch what KUMA sent inside events, assets and accounts.
"""

from __future__ import annotations


def pruned(value: object) -> object:
    """Leave out what is empty. Objects inside a list (events, assets) travel as they came."""
    if isinstance(value, dict):
        inner = {name: pruned(one) for name, one in value.items()}
        return {name: one for name, one in inner.items() if not empty(one)}
    return [one for one in value if not empty(one)] if isinstance(value, list) else value


def empty(value: object) -> bool:
    """Tell whether a value says nothing: null, "", [] or {}."""
    return value is None or (isinstance(value, str | list | dict) and not value)
