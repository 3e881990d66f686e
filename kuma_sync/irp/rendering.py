"""One operation's templates together: values in, a draft of the request out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlencode

from kuma_sync.core.ownership import digest, likeness
from kuma_sync.core.steps import RenderedFields, Update
from kuma_sync.irp.bounds import bounded
from kuma_sync.irp.context import CURRENT, FOLLOW_GET, NAMES, SECRETS, SHAPES, UNKNOWN
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.profile import Exchange, UpdateOperation
from kuma_sync.irp.templates import Leaf, Maps, Templates, Values, empty, render, uses
from kuma_sync.settings.secret import MASK

TEXT = "text"
"""The name of a body's only field where the body is one template."""


class _Masked(dict[str, object]):
    """Every secret there may be, masked."""

    def __missing__(self, key: str) -> str:
        return MASK


MASKED: Mapping[str, object] = _Masked()


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A rendered request. `body` is None where the operation has none.

    `rendered` is what the core decides by. `address_fields` tell which incident is meant, or what of it was read before
    (`current`): they go with every update, and are no change.

    `conditional`: it holds what was read of the incident before. Where `unread`, what would hold that is left out of
    it: it is not fit to be sent.
    """

    operation: str
    method: str
    path: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    encoding: str = "json"
    body: Mapping[str, object] | None = field(default=None, repr=False)
    rendered: RenderedFields
    address_fields: frozenset[str] = frozenset()
    conditional: bool = False
    unread: bool = False

    def only(self, update: Update) -> Draft:
        """Return the request with this content alone."""
        if self.body is None:
            return self
        body = {name: value for name, value in self.body.items() if name in update.fields | self.address_fields}
        return replace(self, body=body | dict.fromkeys(sorted(update.clear)))


class Rendering:
    """Everything of one operation that is rendered, compiled once. Raises Unrenderable for templates that are none.

    `until_edited` names fields that are sent until somebody edits them; `current` the values that `get` reads, None
    where there is no `get`.
    """

    def __init__(
        self,
        name: str,
        exchange: Exchange,
        maps: Maps,
        *,
        until_edited: Collection[str] = (),
        current: Collection[str] | None = None,
    ) -> None:
        names = NAMES[name] | ({CURRENT} if current is not None and name in FOLLOW_GET else set())
        shapes = {**SHAPES, CURRENT: frozenset(current or ())}
        templates = Templates(maps=maps, names=names, shapes=shapes)
        outside = Templates(maps=maps, names=names | {SECRETS}, shapes=shapes)
        body = {TEXT: exchange.body} if isinstance(exchange.body, str) else exchange.body or {}
        # What is sent by create alone is as if this template did not have it.
        once = exchange.once if isinstance(exchange, UpdateOperation) else ()
        self._name = name
        self._exchange = exchange
        self._path = templates.path(exchange.path, f"{name}.path")
        self._query = outside.tree(exchange.query, f"{name}.query")
        self._headers = {one: outside.text(text, f"{name}.headers.{one}") for one, text in exchange.headers.items()}
        self._body = {
            field: templates.tree(value, f"{name}.body" + (f".{field}" if body is exchange.body else ""))
            for field, value in body.items()
            if field not in once
        }
        self._uses = {field: uses(node) for field, node in self._body.items()}
        used = frozenset().union(self._path.uses, uses([self._query, self._headers]), *self._uses.values())
        self.uses = used
        self.secrets = frozenset(one.partition(".")[2] for one in used if one.startswith(f"{SECRETS}."))
        self.event_fields = frozenset(field for field, used in self._uses.items() if "events" in used)
        self.address_fields = frozenset(field for field, used in self._uses.items() if _addresses(used))
        self._until_edited = frozenset(until_edited) & self._body.keys()
        self.mixed_fields = [
            field for field, used in self._uses.items() if CURRENT in used and field not in self.address_fields
        ]
        self._conditional = CURRENT in used

    def draft(self, values: Values, secrets: Mapping[str, object] = MASKED) -> Draft:
        """Render the request; `secrets` by name. Without `current` among the values, only what does not need it.

        Raises Unrenderable.
        """
        with bounded():
            return self._drafted(values, {**values, SECRETS: secrets} if self.secrets else values)

    def _drafted(self, values: Values, outside: Values) -> Draft:
        unread = self._conditional and CURRENT not in values
        body = self._rendered_body(values, self._read_fields if unread else frozenset())
        return Draft(
            operation=self._name,
            method=self._exchange.method,
            path="" if unread else self._rendered_path(values),
            query="" if unread else self._rendered_query(outside),
            headers={} if unread else self._rendered_headers(outside),
            encoding=self._exchange.encoding,
            body=body,
            rendered=self._fields(values, body or {}),
            address_fields=self.address_fields,
            conditional=self._conditional,
            unread=unread,
        )

    def _fields(self, values: Values, body: Mapping[str, object]) -> RenderedFields:
        unknown = values.get(UNKNOWN)
        unsure = unknown if isinstance(unknown, frozenset) else frozenset()
        untold = frozenset(field for field, used in self._uses.items() if used & unsure) - self.event_fields
        names = frozenset(self._body) - self.address_fields
        compared = names - self.event_fields - untold
        return RenderedFields(
            digests={name: digest(value) for name, value in body.items() if name in compared},
            names=names,
            present=frozenset(body),
            event_fields=self.event_fields,
            unknown=untold,
            whole=isinstance(self._exchange, UpdateOperation) and self._exchange.fields == "all",
            until_edited=self._until_edited,
            likeness={name: likeness(body[name]) for name in self._until_edited if name in body},
        )

    @property
    def _read_fields(self) -> frozenset[str]:
        return frozenset(field for field, used in self._uses.items() if CURRENT in used)

    def _rendered_path(self, values: Values) -> str:
        path = str(self._path(values))
        if any(segment in (".", "..") for segment in path.split("/")):
            raise Unrenderable(self._path.where, 'a part of the path is "." or ".."')
        return quote(path, safe="/%:@!$&'()*+,;=~")

    def _rendered_query(self, values: Values) -> str:
        query = {name: render(node, values) for name, node in self._query.items()}
        pairs = {name: parameter(value) for name, value in query.items() if not empty(value)}
        return urlencode(pairs, doseq=True, errors="replace", quote_via=quote)

    def _rendered_headers(self, values: Values) -> dict[str, str]:
        headers = {name: (_header(leaf, values), leaf) for name, leaf in self._headers.items()}
        # `If-Match` with nothing in it would be refused: what the incident does not show is not demanded.
        return {name: text for name, (text, leaf) in headers.items() if text or CURRENT not in leaf.uses}

    def _rendered_body(self, values: Values, but: frozenset[str]) -> Mapping[str, object] | None:
        if self._exchange.body is None:
            return None
        body = {field: render(node, values) for field, node in self._body.items() if field not in but}
        return {field: value for field, value in body.items() if not empty(value)}


def _addresses(used: frozenset[str]) -> bool:
    """Tell whether a field says which incident is meant, or what was read of it, and nothing of what may change."""
    return bool(used & {"incident", "key", CURRENT}) and used <= {"incident", "key", "options", CURRENT}


def parameter(value: object) -> object:
    """Return a value as it is written into an address or a form: true and false as JSON writes them."""
    if isinstance(value, list):
        return [parameter(one) for one in value]
    return str(value).lower() if isinstance(value, bool) else value


def _header(leaf: Leaf, values: Values) -> str:
    text = str(leaf(values))
    if not text.isascii() or not text.isprintable():
        raise Unrenderable(leaf.where, "a header may hold printable ASCII only")
    return text
