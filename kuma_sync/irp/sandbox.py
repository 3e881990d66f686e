"""Jinja in a sandbox: no attributes, and nothing that runs away: loops, calls, filters and texts are counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, cast

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from kuma_sync.irp.bounds import SIZE, Budget, CutOff, budget

GLOBALS = ("range", "dict", "namespace")

Filter = Callable[..., Any]

_LONGEST_PRODUCT = 1_000_000
_LONGEST_NUMBER = 4096
"""Bits of a product."""

_PLACE = 8
"""Bytes of a place in a list."""

_WIDEST = 10_000
"""Columns, lines or places that a filter may be asked for."""

_WIDTHS = frozenset({"batch", "center", "indent", "round", "slice", "tojson", "wordwrap"})
_SLOW = frozenset({"pprint", "striptags", "title", "urlize", "wordcount", "wordwrap", "xmlattr"})
"""Filters that take long for a large text, and cannot be stopped."""

_MOST_FOR_SLOW = 100_000
_COMPOSE = frozenset({"batch", "map", "slice", "sum"})
"""Filters that may put one value into several places."""

_GROWS = {"escape": 6, "e": 6, "forceescape": 6, "urlencode": 9, "tojson": 6}
_WIDE_FIELD = re.compile(r"%(\([^()]*\))?[^a-zA-Z%]*(\d{5}|\*)|%\([^()]*\(")
"""A field that says how wide it is; also one of a name with parentheses in it, behind which nobody sees that."""

_STEPS, _JOINED, _COMPOSED, _ADMITTED, _CUT = ".steps", ".joined", ".composed", ".admitted", ".cut"
"""Filters that no template can write."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without attributes: a dot or a bracket reaches a dict's keys and a list's positions, nothing else."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, filters: Mapping[str, Filter], finalize: Callable[[object], object]) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_counted(finalize), autoescape=False)
        self.globals = {name: self.globals[name] for name in GLOBALS}
        self.filters.pop("attr")
        self.filters = {name: _bounded(name, one) for name, one in {**self.filters, **filters}.items()}
        self.names = frozenset(self.filters)
        self.filters |= {_STEPS: _steps, _JOINED: _joined, _COMPOSED: _composed, _ADMITTED: _admitted, _CUT: _cut}
        self.tests = {name: _bounded("", cast("Filter", one)) for name, one in self.tests.items()}
        self.policies["truncate.leeway"] = 0  # a field's limit is a limit

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Take a key. `loop` and `namespace()` are Jinja's own objects and keep their attributes."""
        if isinstance(obj, LoopContext | Namespace):
            return super().getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Take a key or a position; never fall back to an attribute, as Jinja would (`alert.items`)."""
        keyed = isinstance(obj, Mapping) or (isinstance(obj, Sequence) and isinstance(argument, int | slice))
        try:
            return obj[argument] if keyed else self.undefined(obj=obj, name=str(argument))
        except (LookupError, TypeError):
            return self.undefined(obj=obj, name=str(argument))

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call, as a step; what is put into a table may stand in several places then."""
        spent = budget()
        spent.step()
        if kwargs:
            spent.composed = True
        return _made(super().call(context, obj, *args, **kwargs), spent)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse what would fill the memory or take very long: `"x" * 10**9`."""
        spent = budget()
        spent.step()
        sizes = [len(side) if isinstance(side, str | list | tuple) else side for side in (left, right)]
        long = sizes != [left, right]
        if operator == "**" or (operator == "*" and _product_too_large(sizes, long=long)):
            raise SecurityError(f"{operator} is not allowed here")
        if operator == "%" and isinstance(left, str):
            _refuse_wide_fields(left)
            spent.admit(right)
        if long:
            spent.composed = True
            place = 1 if isinstance(left, str) or isinstance(right, str) else _PLACE
            spent.add(place * (sizes[0] * sizes[1] if operator == "*" else _length(left) + _length(right)))
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Counting().visit(source), *args, **kwargs)


class _Counting(NodeTransformer):
    """Puts the counting filters around what Jinja compiles to plain Python. The library gives the methods' names."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        """Count a loop's turns, those too that its condition leaves out, and the text that each of them writes."""
        text = sum(len(written.data) for written in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _STEPS, nodes.Const(text))
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        """Count what is cut out of a text or a list: that is a copy."""
        self.generic_visit(node)
        return _filtered(node, _CUT) if isinstance(node.arg, nodes.Slice) else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Join by a filter: `~` is no operator that Jinja lets us intercept."""
        self.generic_visit(node)
        return _filtered(nodes.Tuple(node.nodes, "load", lineno=node.lineno), _JOINED)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        """Look at both sides before they are compared."""
        self.generic_visit(node)
        node.expr = _filtered(node.expr, _ADMITTED)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, _ADMITTED)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        """Note that a list was written."""
        self.generic_visit(node)
        return _filtered(node, _COMPOSED)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        """Note that a table was written."""
        self.generic_visit(node)
        return _filtered(node, _COMPOSED)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        """Note that a tuple was written; `for name, value in` writes to one."""
        self.generic_visit(node)
        return node if node.ctx != "load" else _filtered(node, _COMPOSED)


def _filtered(node: Any, name: str, *given: nodes.Expr) -> nodes.Filter:
    if isinstance(node, nodes.Const):
        return node  # type: ignore[return-value]  # it is as large as it is written
    return nodes.Filter(node, name, list(given), [], None, None, lineno=node.lineno)


def _steps(values: Iterable[object], text: int = 0) -> Iterator[object]:
    spent = budget()
    for value in values:
        spent.step()
        spent.add(text)
        yield value


def _joined(values: tuple[object, ...]) -> str:
    spent = budget()
    spent.step()
    spent.admit(*values)
    texts = [str(value) for value in values]
    spent.add(sum(map(len, texts)))
    return "".join(texts)


def _cut(value: object) -> object:
    spent = budget()
    spent.step()
    return _made(value, spent)


def _composed(value: object) -> object:
    budget().composed = True
    return value


def _admitted(value: object) -> object:
    spent = budget()
    if spent.composed:
        spent.admit(value)
    return value


def _counted(finalize: Callable[[object], object]) -> Callable[[object], object]:
    def counted(value: object) -> object:
        spent = budget()
        if spent.composed:
            spent.admit(value)
        found = finalize(value)
        if isinstance(found, str):
            spent.add(len(found))
        return found

    return counted


def _bounded(name: str, one: Filter) -> Filter:
    """Return a filter, or a test, that is counted, and refuses what it could not be stopped at."""
    place = 1 if hasattr(one, "jinja_pass_arg") else 0
    checks = [check for names, check in _CHECKS if name in names]
    composes = name in _COMPOSE

    @wraps(one)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        spent = budget()
        spent.step()
        if hasattr(args[place], "__next__"):
            args = (*args[:place], list(_steps(args[place])), *args[place + 1 :])
        if spent.composed:
            spent.admit(*args, *kwargs.values())
        for check in checks:
            check(name, args[place], [*args[place + 1 :], *kwargs.values()])
        spent.composed = spent.composed or composes
        return _made(one(*args, **kwargs), spent)

    return bounded


def _made(found: Any, spent: Budget) -> Any:
    """Count what was made, and return it."""
    if isinstance(found, str):
        spent.add(len(found))
    elif isinstance(found, list):
        spent.composed = True
        spent.add(_PLACE * len(found))
    return found


def _length(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 0


def _product_too_large(sizes: list[Any], *, long: bool) -> bool:
    if long:
        return bool(sizes[0] * sizes[1] > _LONGEST_PRODUCT)
    bits = [side.bit_length() for side in sizes if isinstance(side, int)]
    return sum(bits) > _LONGEST_NUMBER


def _refuse_wide_fields(text: str) -> None:
    if _WIDE_FIELD.search(text):
        raise SecurityError("a field of this width is not allowed here")


def _narrow(name: str, _value: Any, others: list[Any]) -> None:
    if any(isinstance(one, int) and abs(one) > _WIDEST for one in others):
        raise SecurityError(f"{name} takes a number up to {_WIDEST}")


def _small(name: str, value: Any, _others: list[Any]) -> None:
    try:
        budget().size(value, _MOST_FOR_SLOW)
    except CutOff as cut:
        if not cut.final:
            raise
        raise SecurityError(f"{name} takes at most {_MOST_FOR_SLOW} characters") from None


def _no_bloat(name: str, value: Any, others: list[Any]) -> None:
    texts = [one for one in others if isinstance(one, str)]
    longest = max(map(len, texts), default=0)
    match name:
        case "replace" if isinstance(value, str) and len(texts) > 1:
            new = value.count(texts[0]) * len(texts[1])
        case "indent":
            new = (str(value).count("\n") + 1) * max(longest, 4, *(one for one in others if type(one) is int))
        case "join" | "wordwrap":
            new = _length(value) * longest
        case _ if name in _GROWS and isinstance(value, str):
            new = len(value) * (_GROWS[name] - 1)
        case _:
            new = 0
    if new > SIZE:
        raise budget().too_large()


def _formatted(_name: str, value: Any, _others: list[Any]) -> None:
    _refuse_wide_fields(str(value))


def _summed(name: str, _value: Any, others: list[Any]) -> None:
    if any(isinstance(one, list | tuple) for one in others):
        raise SecurityError(f"{name} adds numbers only")


_CHECKS: tuple[tuple[frozenset[str], Callable[[str, Any, list[Any]], None]], ...] = (
    (_WIDTHS, _narrow),
    (_SLOW, _small),
    (frozenset({"replace", "indent", "join", "wordwrap", *_GROWS}), _no_bloat),
    (frozenset({"format"}), _formatted),
    (frozenset({"sum"}), _summed),
)
