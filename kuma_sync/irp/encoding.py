"""A draft as bytes: JSON, a form, parts of a form with files, or plain text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from kuma_sync.core.errors import Permanent
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.profile import Exchange
from kuma_sync.irp.rendering import TEXT, Draft, parameter
from kuma_sync.transport import Outgoing

_FILE = frozenset({"file", "content"})
_OF_A_FILE = _FILE | {"type"}


def not_flat(name: str, exchange: Exchange) -> Iterator[str]:
    """Yield a sentence for each place of a body that its encoding cannot carry."""
    if exchange.encoding not in ("form", "multipart") or not isinstance(exchange.body, dict):
        return
    for field, value in exchange.body.items():
        where, inner = f"{name}.body.{field}", value if isinstance(value, list) else [value]
        file = isinstance(value, dict) and "file" in value
        if file and exchange.encoding == "multipart":
            if not _FILE <= value.keys() <= _OF_A_FILE:
                yield f"{where} is a file: it has the keys file and content, and perhaps type, no others"
        elif file:
            yield f'{where} is a file, which encoding = "form" cannot carry: write encoding = "multipart"'
        elif any(isinstance(one, dict | list) for one in inner):
            yield (
                f'{where} is nested, which encoding = "{exchange.encoding}" cannot carry: write it as text, for '
                "instance with the filter json"
            )


def content(draft: Draft) -> tuple[bytes, str]:
    """Return the body and its Content-Type. Raise Unrenderable where the encoding cannot carry a value."""
    body = draft.body or {}
    match draft.encoding:
        case "form":
            pairs = [(name, one) for name, value in body.items() for one in _texts(draft, name, value)]
            return urlencode(pairs, errors="replace", quote_via=quote).encode(), "application/x-www-form-urlencoded"
        case "multipart":
            return _multipart(draft, body)
        case "text":
            return _bytes(str(body.get(TEXT) or "")), "text/plain; charset=utf-8"
        case _:
            return _bytes(_json(body)), "application/json"


def outgoing(draft: Draft) -> Outgoing:
    """Return the request as it is sent. Raise Permanent where the encoding cannot carry a value."""
    try:
        body, kind = content(draft) if draft.body is not None else (None, "")
    except Unrenderable as error:
        summary = f"{error.where} {error.problem}"
        raise Permanent(remote="irp", operation=draft.operation, summary=summary) from None
    return Outgoing(
        method=draft.method, path=draft.path, query=draft.query, headers=with_type(draft.headers, kind), body=body
    )


def with_type(headers: Mapping[str, str], kind: str) -> dict[str, str]:
    """Return the headers with this Content-Type, unless the profile gives one."""
    given = not kind or any(name.lower() == "content-type" for name in headers)
    return dict(headers) if given else {"Content-Type": kind, **headers}


def _multipart(draft: Draft, body: Mapping[str, object]) -> tuple[bytes, str]:
    parts: list[tuple[str, tuple[Any, ...]]] = []
    for name, value in body.items():
        if isinstance(value, dict) and "file" in value:
            if "content" in value:
                text = value["content"]
                written = text if isinstance(text, str) else _json(text)
                kind = str(value.get("type") or "application/octet-stream")
                if not (kind.isascii() and kind.isprintable()):
                    raise Unrenderable(f"{draft.operation}.body.{name}", "has a type that no header can carry")
                parts.append((name, (_bytes(str(value["file"])).decode(), _bytes(written), kind)))
        else:
            parts += [(name, (None, _bytes(one))) for one in _texts(draft, name, value)]
    # A digest of what is inside cannot stand inside, and the same request has the same bytes again.
    inside = hashlib.sha256()
    for name, (_file, *carried) in parts:
        inside.update(_bytes(name))
        inside.update(carried[0])
    boundary = inside.hexdigest()[:32]
    kind = f"multipart/form-data; boundary={boundary}"
    made = httpx.Request("POST", "http://irp", files=parts, headers={"Content-Type": kind})
    return (made.read() if parts else f"--{boundary}--\r\n".encode()), kind


def _texts(draft: Draft, name: str, value: object) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict | list):
            told = f'is nested, which encoding = "{draft.encoding}" cannot carry'
            raise Unrenderable(f"{draft.operation}.body.{name}", f"{told}: write it as text, with the filter json")
        yield "" if one is None else str(parameter(one))


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        raise Unrenderable("the body", "cannot be written as JSON") from None


def _bytes(text: str) -> bytes:
    # Half a surrogate pair, which JSON may hold and UTF-8 may not, becomes "?".
    return text.encode("utf-8", "replace")
