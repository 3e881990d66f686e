"""Contents as bytes: compressed JSON. Must not: judge what is in them."""

from __future__ import annotations

import json
import zlib

from kuma_sync.core.alert import Contents, event_digest

_FAST = 1


def pack(contents: Contents) -> tuple[bytes, int]:
    """Compress contents, and say how many bytes they are unpacked; escapes keep lone surrogates that KUMA may send."""
    value = {"events": list(contents.events), "assets": list(contents.assets), "accounts": list(contents.accounts)}
    text = json.dumps(value, separators=(",", ":")).encode("ascii")
    return zlib.compress(text, _FAST), len(text)


def unpack(packed: bytes) -> Contents:
    """Restore contents; the ids are those of the events kept."""
    value = json.loads(zlib.decompress(packed))
    return Contents(
        events=tuple(value["events"]),
        event_ids=frozenset(map(event_digest, value["events"])),
        assets=tuple(value["assets"]),
        accounts=tuple(value["accounts"]),
    )
