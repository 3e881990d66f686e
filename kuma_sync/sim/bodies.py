"""Read a request's body as the simulated IRPs take it: JSON, a form, or multipart with files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import HTTP
from urllib.parse import parse_qsl

from kuma_sync.sim.values import Json

JSON_PART = "_json"
"""The part of a multipart body that holds the fields as JSON, where an API has one (TheHive: thehive4py, alert.py)."""


class BadBody(Exception):
    """One sentence about a body that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a multipart body: the name of its part, its own name and type, its bytes."""

    part: str
    name: str
    type: str
    content: bytes

    def events(self) -> list[Json]:
        """Return the events that it holds, if it is JSON and a list of objects."""
        try:
            read = json.loads(self.content)
        except ValueError:
            return []
        return [one for one in read if isinstance(one, dict)] if isinstance(read, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The fields of a request, and its files."""

    fields: Json = field(default_factory=dict)
    files: list[File] = field(default_factory=list)


def read_body(raw: bytes, content_type: str) -> Body:
    """Read a body by its Content-Type; without one, or with another, it must be a JSON object. Raises BadBody."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return Body(fields=dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True)))
    if kind == "multipart/form-data":
        return _multipart(raw, content_type)
    return Body(fields=json_object(raw))


def json_object(raw: bytes | str) -> Json:
    """Read a JSON object. Raises BadBody."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise BadBody("the body must be JSON") from error
    if not isinstance(body, dict):
        raise BadBody("the body must be a JSON object")
    return body


def _multipart(raw: bytes, content_type: str) -> Body:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    whole = message_from_bytes(head + raw, policy=HTTP)
    if not whole.is_multipart():
        raise BadBody("the body must be multipart, with the boundary that its Content-Type names")
    fields: Json = {}
    files: list[File] = []
    for part in whole.iter_parts():
        name, content = _parameter(part, "name"), part.get_payload(decode=True)
        if not name or not isinstance(content, bytes):
            raise BadBody("every part must have a name")
        if part.get_filename() is not None:
            named = _parameter(part, "filename")
            files.append(File(part=name, name=named, type=part.get_content_type(), content=content))
        elif name == JSON_PART:
            fields.update(json_object(content))
        else:
            fields[name] = content.decode("utf-8", "replace")
    return Body(fields=fields, files=files)


def _parameter(part: Message, name: str) -> str:
    """Return a parameter of Content-Disposition; what is not ASCII was sent as UTF-8, as browsers do."""
    found = part.get_param(name, "", "content-disposition")
    text = found[2] if isinstance(found, tuple) else str(found)
    return text.encode("ascii", "surrogateescape").decode("utf-8", "replace") if _raw(text) else text


def _raw(text: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in text)
