"""Contents as bytes: compressed JSON. Must not: judge what is in them."""

from __future__ import annotations

import json
import zlib

from kuma_sync.core.alert import Contents, event_digest

_FAST = 1


def pack(contents: Contents) -> bytes:
    """Compress contents; escapes keep lone surrogates that KUMA may send."""
    value = {"events": list(contents.events), "assets": list(contents.assets), "accounts": list(contents.accounts)}
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode("ascii"), _FAST)


def unpack(packed: bytes) -> Contents:
    """Restore contents; the ids are those of the events kept."""
    value = json.loads(zlib.decompress(packed))
    return Contents(
        events=tuple(value["events"]),
        event_ids=frozenset(map(event_digest, value["events"])),
        assets=tuple(value["assets"]),
        accounts=tuple(value["accounts"]),
    )
