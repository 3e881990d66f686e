"""The types of columns: how values of the core are stored in a row."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import DateTime, Dialect, LargeBinary, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from kuma_sync.core.alert import Contents, EventDigest, JsonObject, event_digest
from kuma_sync.core.text import fit

_FAST = 1
_json = json.JSONEncoder(separators=(",", ":")).encode
DIGEST_BYTES = 16


def pack(contents: Contents) -> tuple[bytes, int]:
    """Compress contents; also return their unpacked size. JSON escapes keep lone surrogates, which KUMA may send."""
    packer = zlib.compressobj(_FAST)
    packed, size = [], 0
    for text in _texts(contents):
        packed.append(packer.compress(text))
        size += len(text)
    return b"".join([*packed, packer.flush()]), size


def _texts(contents: Contents) -> Iterator[bytes]:
    """Yield the JSON text piece by piece: the whole text would need twice its size in memory."""
    kinds = {"events": contents.events, "assets": contents.assets, "accounts": contents.accounts}
    for number, (name, items) in enumerate(kinds.items()):
        yield b'%s"%s":[' % (b"," if number else b"{", name.encode("ascii"))
        for at, item in enumerate(items):
            yield (("," if at else "") + _json(item)).encode("ascii")
        yield b"]"
    yield b',"raw":%s}' % _json(contents.raw).encode("ascii")


def unpack(packed: bytes) -> Contents:
    """Restore contents; the ids are those of the events kept. Older rows have no `raw`."""
    value = json.loads(_text_of(packed))
    return _contents(value["events"], value)


def unpack_beside(packed: bytes) -> Contents:
    """Do the same in a thread beside the event loop: `unpack` holds the interpreter's lock for all events at once."""
    text = _text_of(packed)
    events, at = list[JsonObject](), len(_EVENTS)
    for event, behind in _each_event(text):
        events.append(event)
        at = behind
    return _contents(events, json.loads("{" + text[at + len("],") :]))


def unpack_events(packed: bytes) -> Iterator[JsonObject]:
    """Restore the events alone, one after the other, in KUMA's order."""
    return (event for event, _behind in _each_event(_text_of(packed)))


_EVENTS = '{"events":['
_DECODE = json.JSONDecoder().raw_decode


def _text_of(packed: bytes) -> str:
    # Decoded first: json would keep the bytes beside the text.
    return zlib.decompress(packed).decode("ascii")


def _each_event(text: str) -> Iterator[tuple[JsonObject, int]]:
    """Yield the events, each with the place behind it."""
    at = len(_EVENTS)
    while text[at] != "]":
        event, at = _DECODE(text, at + (text[at] == ","))
        yield event, at


def _contents(events: Sequence[JsonObject], rest: Mapping[str, Any]) -> Contents:
    return Contents(
        events=tuple(events),
        event_ids=frozenset(map(event_digest, events)),
        assets=tuple(rest["assets"]),
        accounts=tuple(rest["accounts"]),
        raw=rest.get("raw", {}),
    )


def same_named(*names: str) -> Callable[[object], dict[str, Any]]:
    """Return a function that reads these attributes of any object into a dict; one by one they cost twice as much."""
    take = attrgetter(*names)

    def taken(owner: object) -> dict[str, Any]:
        return dict(zip(names, take(owner), strict=True))

    return taken


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time: `timestamptz` on PostgreSQL, text that sorts as time on SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's real type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(String(27))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write a time."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        if dialect.name == "postgresql":
            return moment
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        """Read a time."""
        if value is None:
            return None
        moment: datetime = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text for people. Characters that no database stores (NUL, half a surrogate pair) are replaced, so no row fails.

    Not for keys: a key with such a character must be refused where it comes in.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        """Write a text."""
        return None if value is None else fit(value)


class Digests(TypeDecorator[frozenset[EventDigest]]):
    """A set of event digests, one after the other."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: frozenset[EventDigest] | None, _dialect: Dialect) -> bytes:
        """Write a set, sorted: then equal sets give equal bytes."""
        return b"".join(sorted(value or ()))

    def process_result_value(self, value: Any, _dialect: Dialect) -> frozenset[EventDigest]:
        """Read a set."""
        packed = bytes(value or b"")
        return frozenset(EventDigest(packed[i : i + DIGEST_BYTES]) for i in range(0, len(packed), DIGEST_BYTES))


class Json(TypeDecorator[Any]):
    """A small JSON value as text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Dialect) -> str | None:
        """Write a value; None stays NULL."""
        return None if value is None else json.dumps(value, separators=(",", ":"), sort_keys=True)

    def process_result_value(self, value: Any, _dialect: Dialect) -> Any:
        """Read a value."""
        return None if value is None else json.loads(value)
