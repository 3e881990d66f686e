"""Several copies of one alert inside a read: the later one wins, also one that is as known.

Must not: compare with what is known (that is core/diff).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kuma_sync.core.alert import AlertId
from kuma_sync.kuma.client import Element
from kuma_sync.kuma.wire import Parsed


def in_order(elements: Sequence[Element]) -> dict[bytes, Element]:
    """Return each element once, by its digest, where it comes last."""
    found: dict[bytes, Element] = {}
    for element in elements:
        found.pop(element.digest, None)
        found[element.digest] = element
    return found


def later_copies(
    order: Iterable[bytes], unchanged: Mapping[bytes, AlertId], seen: Mapping[bytes, Parsed]
) -> dict[bytes, Parsed]:
    """Return what was `seen` by its digest, without copies of an alert after which another one comes."""
    whose = {**unchanged, **{digest: item.seen.alert.id for digest, item in seen.items()}}
    latest = {whose[digest]: digest for digest in order if digest in whose}
    return {digest: item for digest, item in seen.items() if latest[item.seen.alert.id] == digest}
