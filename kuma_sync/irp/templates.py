"""A profile's templates: our filters, and trees of templates compiled and rendered.

A ValueError becomes the reason for a parked job.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, meta, nodes, pass_context
from jinja2.filters import FILTERS
from jinja2.runtime import Context

from kuma_sync.irp.bounds import CutOff, budget
from kuma_sync.irp.context import SECRETS
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.sandbox import GLOBALS, Sandbox
from kuma_sync.settings.validation import meant


def pruned(value: object) -> object:
    """Leave out what is empty. Objects inside a list (events, assets) travel as they came."""
    if isinstance(value, dict):
        inner = {name: pruned(one) for name, one in value.items()}
        return {name: one for name, one in inner.items() if not empty(one)}
    return [one for one in value if not empty(one)] if isinstance(value, list) else value


def empty(value: object) -> bool:
    """Tell whether a value says nothing: null, "", [] or {}."""
    return value is None or (isinstance(value, str | list | dict) and not value)


DEFAULT_ENTRY = "*"

Maps = Mapping[str, Mapping[str, object]]


def value_map(maps: Maps) -> Callable[[object, str], object]:
    """Return the filter `map`: the entry of a value map, or its `*`."""

    def mapped(value: object, name: str) -> object:
        if name not in maps:
            raise ValueError(f"there is no [maps.{name}]")
        entries = maps[name]
        key = str(value).lower() if isinstance(value, bool) else str(value)
        if key not in entries and DEFAULT_ENTRY not in entries:
            raise ValueError(f'[maps.{name}] has neither "{key}" nor "{DEFAULT_ENTRY}"')
        return entries[key] if key in entries else entries[DEFAULT_ENTRY]

    return mapped


def date(value: object, format: str = "", tz: str = "UTC") -> str | int | None:
    """Write a time in another form and zone: RFC 3339 text, or an event's epoch milliseconds; nothing stays nothing.

    The forms "epoch" and "epoch_ms" are numbers: seconds and milliseconds since 1970, whatever the zone.
    """
    if value is None or value == "":
        return None
    try:
        zone = ZoneInfo(tz)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f'there is no time zone "{tz}"') from None
    moment = _moment(value).astimezone(zone)
    if format in _SINCE_1970:
        return (moment - _1970) // _SINCE_1970[format]
    return moment.strftime(format) if format else moment.isoformat().replace("+00:00", "Z")


_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_SINCE_1970 = {"epoch": timedelta(seconds=1), "epoch_ms": timedelta(milliseconds=1)}


def unique(values: Iterable[object]) -> list[object]:
    """Keep the first of equal values, in order; unlike Jinja's own it tells upper case from lower."""
    kept: dict[str, object] = {}
    for value in values:
        kept.setdefault(to_json(value), value)
    return list(kept.values())


def to_json(value: object) -> str:
    """Write a value as JSON text, for fields that hold JSON inside a string."""
    return json.dumps(value, ensure_ascii=False)


def _moment(value: object) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _1970 + timedelta(milliseconds=value)
    moment = datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _map(maps: Maps) -> Callable[..., object]:
    """Return the filter `map`: ours with the name of a value map, Jinja's with `attribute=`."""
    of_jinja: Callable[..., object] = FILTERS["map"]
    entry = value_map(maps)

    @pass_context
    def mapped(context: Context, value: object, name: str = "", **attribute: object) -> object:
        return entry(value, name) if name else of_jinja(context, value, **attribute)

    return mapped


Values = Mapping[str, object]
Render = Callable[[Values], object]

_PLAIN = (str, int, float, bool, type(None))
# What a template can do wrong: Jinja's own errors, and Python's where it hands values to operators and filters.
# (Jinja writes a number that is none, or has no end, as the name `nan` or `inf`.)
_FAILURES = (
    TemplateError,
    ArithmeticError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    NameError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One compiled template; `uses` names the values it looks up, and `alert.raw`."""

    where: str
    uses: frozenset[str]
    render: Render

    def __call__(self, values: Values) -> object:
        """Render to plain JSON data. Raises Unrenderable."""
        try:
            found = self.render(values)
            if type(found) in _PLAIN:
                return found
            # A value handed through as it is is JSON data already; to walk 500 events again takes 50 ms.
            return found if any(found is value for value in values.values()) else _plain_within(found)
        except CutOff as cut:
            if not cut.final:
                raise
            problem = cut.problem
        except _FAILURES as error:
            problem = str(error) or type(error).__name__
        raise Unrenderable(self.where, problem)


class Templates:
    """Compiles one operation's templates. `names` are the values it knows, `shapes` the keys of some of them."""

    def __init__(self, *, maps: Maps, names: AbstractSet[str], shapes: Mapping[str, AbstractSet[str]]) -> None:
        self._maps = maps
        self._names = names
        self._shapes = shapes
        own = {"map": _map(maps), "date": date, "unique": unique, "json": to_json}
        self._values = Sandbox(own, _text)
        self._segments = Sandbox(own, _segment)

    def tree(self, source: object, where: str) -> Any:
        """Compile a tree: tables and arrays stay, every other value becomes a Leaf."""
        if isinstance(source, Mapping):
            return {name: self.tree(inner, f"{where}.{name}") for name, inner in source.items()}
        if isinstance(source, list):
            return [self.tree(inner, f"{where}[{position}]") for position, inner in enumerate(source)]
        if isinstance(source, str):
            return self._leaf(source, where)
        if isinstance(source, bool | int | float):
            return Leaf(where=where, uses=frozenset(), render=lambda _values: source)
        raise Unrenderable(where, f"is a {type(source).__name__}; write it as text")

    def text(self, source: str, where: str) -> Leaf:
        """Compile a template that renders to text whatever it holds."""
        return self._written(self._values, source, where, *self._parsed(source, where))

    def path(self, source: str, where: str) -> Leaf:
        """Compile a path: every value is quoted, "/" too, so that an id cannot lead elsewhere."""
        return self._written(self._segments, source, where, *self._parsed(source, where))

    def _leaf(self, source: str, where: str) -> Leaf:
        parsed, uses = self._parsed(source, where)
        match parsed.body:
            case [nodes.Output(nodes=[expression])] if not isinstance(expression, nodes.TemplateData):
                # Most are never asked for: to compile them all would be a good part of a start.
                compiled = cache(lambda: self._compiled(self._values, source, where, typed=True))
                keys = _keys(expression) if source.strip().endswith("}}") else ()
                return Leaf(where=where, uses=uses, render=_direct(keys, compiled) if keys else compiled())
            case _:
                return self._written(self._values, source, where, parsed, uses)

    def _written(self, env: Sandbox, source: str, where: str, parsed: nodes.Template, uses: frozenset[str]) -> Leaf:
        match parsed.body:
            case [nodes.Output(nodes=[nodes.TemplateData(data=text)])]:
                return Leaf(where=where, uses=uses, render=lambda _values: text)
            case _:
                return Leaf(where=where, uses=uses, render=self._compiled(env, source, where))

    def _compiled(self, env: Sandbox, source: str, where: str, *, typed: bool = False) -> Render:
        try:
            if typed:
                inside = source.strip()[2:-2].removeprefix("-").removeprefix("+").removesuffix("-")
                return env.compile_expression(inside, undefined_to_none=False)
            return env.from_string(source).render
        except TemplateSyntaxError as error:
            raise Unrenderable(where, _syntax(error)) from None
        except (SyntaxError, RecursionError):
            raise Unrenderable(where, "is no valid template: it is nested too deeply") from None

    def _parsed(self, source: str, where: str) -> tuple[nodes.Template, frozenset[str]]:
        try:
            parsed = self._values.parse(source)
            for problem in self._unknown_filters(parsed):
                raise Unrenderable(where, problem)
            uses = frozenset(meta.find_undeclared_variables(parsed)) - set(GLOBALS)
        except TemplateSyntaxError as error:
            raise Unrenderable(where, _syntax(error)) from None
        except RecursionError:
            raise Unrenderable(where, "is no valid template: it is nested too deeply") from None
        except ValueError:
            raise Unrenderable(where, "is no valid template: a number in it is too long") from None
        for problem in self._unknown_names(parsed, uses):
            raise Unrenderable(where, problem)
        if SECRETS in uses and len(_secrets_used(parsed)) != _named(parsed, SECRETS):
            raise Unrenderable(where, "secrets are used one by one: {{ secrets.name }}")
        return parsed, uses | _raw_used(parsed) | frozenset(f"{SECRETS}.{name}" for name in _secrets_used(parsed))

    # Jinja would find these only where a branch is taken, and no sample takes them all.
    def _unknown_names(self, parsed: nodes.Template, uses: AbstractSet[str]) -> Iterator[str]:
        for name in sorted(uses - self._names):
            if name == SECRETS:
                yield "secrets may be used in headers, query and [auth.login] only"
                continue
            yield f'there is no value "{name}" here{meant(name, self._names)}'
        for attribute in parsed.find_all(nodes.Getattr):
            owner = attribute.node.name if isinstance(attribute.node, nodes.Name) else ""
            known = self._shapes.get(owner, ()) if owner in uses else ()
            if known and attribute.attr not in known:
                yield f"there is no {owner}.{attribute.attr}{meant(attribute.attr, known)}"

    def _unknown_filters(self, parsed: nodes.Template) -> Iterator[str]:
        for filtered in parsed.find_all(nodes.Filter):
            if filtered.name not in self._values.names:
                yield f'there is no filter "{filtered.name}"{meant(filtered.name, self._values.names)}'
            match filtered.name, filtered.args:
                case "map", [nodes.Const(value=str(name)), *_] if name not in self._maps:
                    yield f"there is no [maps.{name}]{meant(name, self._maps)}"


def render(node: Any, values: Values) -> object:
    """Render a compiled tree; null, "", [] and {} are left out, 0 and false stay."""
    if isinstance(node, Leaf):
        return pruned(node(values))
    if isinstance(node, Mapping):
        return pruned({name: render(inner, values) for name, inner in node.items()})
    return pruned([render(inner, values) for inner in node])


def uses(node: Any) -> frozenset[str]:
    """Return the values that a compiled tree looks up."""
    if isinstance(node, Leaf):
        return node.uses
    inner = node.values() if isinstance(node, Mapping) else node
    return frozenset().union(*(uses(one) for one in inner))


def _raw_used(parsed: nodes.Template) -> frozenset[str]:
    """Return `alert.raw` where a template looks at it, or at the alert as a whole: it goes when contents go."""
    named = [node.attr for node in parsed.find_all(nodes.Getattr) if _is_alert(node.node)]
    every = [node for node in parsed.find_all(nodes.Name) if _is_alert(node)]
    plain = [key for key in named if key != "raw"]
    return frozenset({"alert.raw"}) if len(every) > len(plain) else frozenset()


def _secrets_used(parsed: nodes.Template) -> list[str]:
    named = [(node.node, node.attr) for node in parsed.find_all(nodes.Getattr)]
    return [key for owner, key in named if isinstance(owner, nodes.Name) and owner.name == SECRETS]


def _named(parsed: nodes.Template, name: str) -> int:
    return sum(node.name == name for node in parsed.find_all(nodes.Name))


def _is_alert(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "alert"


def _keys(expression: nodes.Node) -> tuple[str, ...]:
    """Return where the values hold what `{{ alert.name }}` asks for; nothing for any other expression."""
    match expression:
        case nodes.Name(name=name):
            return (name,)
        case nodes.Getattr(node=nodes.Name(name=owner), attr=key):
            return (owner, key)
        case _:
            return ()


def _direct(keys: tuple[str, ...], compiled: Callable[[], Render]) -> Render:
    """Return what takes it straight from the values, as most leaves do; Jinja, for the rest, is 20 times slower."""

    def looked_up(values: Values) -> object:
        found: object = values
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                return compiled()(values)
            found = found[key]
        return found

    return looked_up


def _plain_within(found: object) -> object:
    spent = budget()
    spent.admit(found)
    written = plain(found)
    # What a generator gave is known by now, and what comes next writes it out in one go.
    spent.admit(written)
    return written


def plain(value: object) -> object:
    """Return a value as JSON data. Raises TypeError for what is none, and Jinja's error for what is undefined."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Undefined | str):
        return str.__str__(value) if isinstance(value, str) else str(value)
    budget().step()
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain(inner) for inner in value]
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _text(value: object) -> object:
    return "" if value is None else value


def _segment(value: object) -> str:
    if value is None or str(value) == "":
        raise ValueError("a value in a path is empty")
    return quote(str(value), safe="")


def _syntax(error: TemplateSyntaxError) -> str:
    return f"is no valid template: {error.message}"
