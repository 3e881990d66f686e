"""Contents as bytes: compressed JSON. Must not: judge what is in them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

from kuma_sync.core.alert import Contents, event_digest

_FAST = 1
_json = json.JSONEncoder(separators=(",", ":")).encode


def pack(contents: Contents) -> tuple[bytes, int]:
    """Compress contents, and say how many bytes they are unpacked; escapes keep lone surrogates that KUMA may send."""
    packer = zlib.compressobj(_FAST)
    packed, size = [], 0
    for text in _texts(contents):
        packed.append(packer.compress(text))
        size += len(text)
    return b"".join([*packed, packer.flush()]), size


def _texts(contents: Contents) -> Iterator[bytes]:
    """Return the JSON text piece by piece: the whole of it would take its size twice over."""
    kinds = {"events": contents.events, "assets": contents.assets, "accounts": contents.accounts}
    for number, (name, items) in enumerate(kinds.items()):
        yield b'%s"%s":[' % (b"," if number else b"{", name.encode("ascii"))
        for at, item in enumerate(items):
            yield (("," if at else "") + _json(item)).encode("ascii")
        yield b"]"
    yield b"}"


def unpack(packed: bytes) -> Contents:
    """Restore contents; the ids are those of the events kept."""
    # Decoded first: json would keep the bytes beside the text.
    value = json.loads(zlib.decompress(packed).decode("ascii"))
    return Contents(
        events=tuple(value["events"]),
        event_ids=frozenset(map(event_digest, value["events"])),
        assets=tuple(value["assets"]),
        accounts=tuple(value["accounts"]),
    )
