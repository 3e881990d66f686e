"""Value templates: every leaf of a profile's trees, compiled once, rendered in a sandbox; a bare one keeps its type.

Jinja2's home, together with sandbox. Must not: know operations, or build requests (that is rendering).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, meta, nodes

from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.filters import Maps
from kuma_sync.irp.pruning import pruned
from kuma_sync.irp.sandbox import GLOBALS, Sandbox
from kuma_sync.settings.problems import meant

Values = Mapping[str, object]
Render = Callable[[Values], object]

_PLAIN = (str, int, float, bool, type(None))
# What a template can do wrong: Jinja's own errors, and Python's where it hands values to operators and filters.
_FAILURES = (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One compiled template; `uses` names the values it looks up."""

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
            return found if any(found is value for value in values.values()) else plain(found)
        except _FAILURES as error:
            problem = str(error) or type(error).__name__
        raise Unrenderable(self.where, problem)


class Templates:
    """Compiles one operation's templates. `names` are the values it knows, `shapes` the keys of some of them."""

    def __init__(self, *, maps: Maps, names: AbstractSet[str], shapes: Mapping[str, AbstractSet[str]]) -> None:
        self._maps = maps
        self._names = names
        self._shapes = shapes
        self._values = Sandbox(maps, _text)
        self._segments = Sandbox(maps, _segment)

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

    def _parsed(self, source: str, where: str) -> tuple[nodes.Template, frozenset[str]]:
        try:
            parsed = self._values.parse(source)
            for problem in self._unknown_filters(parsed):
                raise Unrenderable(where, problem)
            uses = frozenset(meta.find_undeclared_variables(parsed)) - set(GLOBALS)
        except TemplateSyntaxError as error:
            raise Unrenderable(where, _syntax(error)) from None
        for problem in self._unknown_names(parsed, uses):
            raise Unrenderable(where, problem)
        return parsed, uses

    # Jinja would find these only where a branch is taken, and no sample takes them all.
    def _unknown_names(self, parsed: nodes.Template, uses: AbstractSet[str]) -> Iterator[str]:
        for name in sorted(uses - self._names):
            yield f'there is no value "{name}" here{meant(name, self._names)}'
        for attribute in parsed.find_all(nodes.Getattr):
            owner = attribute.node.name if isinstance(attribute.node, nodes.Name) else ""
            known = self._shapes.get(owner, ()) if owner in uses else ()
            if known and attribute.attr not in known:
                yield f"there is no {owner}.{attribute.attr}{meant(attribute.attr, known)}"

    def _unknown_filters(self, parsed: nodes.Template) -> Iterator[str]:
        for filtered in parsed.find_all(nodes.Filter):
            if filtered.name not in self._values.filters:
                yield f'there is no filter "{filtered.name}"{meant(filtered.name, self._values.filters)}'
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


def plain(value: object) -> object:
    """Return a value as JSON data. Raises TypeError for what is none, and Jinja's error for what is undefined."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Undefined | str):
        return str.__str__(value) if isinstance(value, str) else str(value)
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
