"""Places in an answer: JMESPath, headers, and what a pattern picks out of a longer text. The only home of JMESPath."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.lexer import Lexer
from jmespath.visitor import Options, TreeInterpreter
from pydantic import BaseModel

from kuma_sync.core.errors import Transient
from kuma_sync.irp.bounds import SIZE, CutOff, budget
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.profile import AnswerWhen, Picked
from kuma_sync.settings.expressions import Expression as Pattern
from kuma_sync.settings.validation import meant
from kuma_sync.transport import Answer

_FUNCTIONS = Functions()

_FAILURES = (ArithmeticError, TypeError, ValueError, LookupError, RecursionError)
"""The library's own errors are ValueErrors; its functions let others through, as ``contains('text', `1`)`` does."""


class _Interpreter(TreeInterpreter):
    """JMESPath's own, which counts its steps, and looks before it writes out or compares what may be huge."""

    def __init__(self) -> None:
        super().__init__(Options(custom_functions=_FUNCTIONS))
        self._budget = budget()

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        """Find what a part of the expression means."""
        spent = self._budget
        spent.step()
        # As the library does, which looks its methods up anew for each search.
        found = _method(node["type"])(self, node, *args, **kwargs)
        if isinstance(found, list):
            spent.add(len(found))
        return found

    def visit_multi_select_list(self, node: Any, value: Any) -> Any:
        """Put values together."""
        self._budget.composed = True
        return super().visit_multi_select_list(node, value)

    def visit_multi_select_dict(self, node: Any, value: Any) -> Any:
        """Put values together."""
        self._budget.composed = True
        return super().visit_multi_select_dict(node, value)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        """Compare, where both sides are small enough."""
        sides = [self.visit(child, value) for child in node["children"]]
        self._budget.admit(*sides)
        node = {**node, "children": [{"type": "literal", "value": side, "children": []} for side in sides]}
        return super().visit_comparator(node, value)

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        """Call a function, where what it is given is small enough."""
        given = [self.visit(child, value) for child in node["children"]]
        self._budget.admit(*given)
        match node["value"], given:
            case "join", [str(glue), list(texts)] if len(glue) * len(texts) > SIZE:
                raise self._budget.too_large()
        found = _FUNCTIONS.call_function(node["value"], given)
        if isinstance(found, str):
            self._budget.add(len(found))
        return found


@cache
def _method(kind: str) -> Callable[..., Any]:
    method: Callable[..., Any] = getattr(_Interpreter, f"visit_{kind}")
    return method


class Expression:
    """One JMESPath expression; an absent one finds nothing."""

    def __init__(self, source: str, where: str) -> None:
        self.given = bool(source)
        self._where = where
        self._parsed = _parsed(source, where) if source else None
        self._keys = _keys(self._parsed)
        if mistaken := next(_mistaken(self._parsed or {}, _quoted(source)), None):
            raise Unrenderable(where, mistaken)

    def search(self, tree: object) -> object:
        """Return what it finds, None where the tree is not as it expects. Raises CutOff."""
        if self._keys is not None:
            return _looked_up(self._keys, tree)
        if self._parsed is None:
            return None
        try:
            found: object = _Interpreter().visit(self._parsed, tree)
            # Whoever gets it may write it out, or compare it.
            budget().admit(found)
        except _FAILURES:
            return None
        except CutOff as cut:
            raise CutOff(f"{self._where} {cut.problem}", final=cut.final) from None
        return found

    def holds(self, tree: object) -> bool:
        """Tell whether it finds something true, as JMESPath sees it: 0 is."""
        found = self.search(tree)
        return not (found is None or found is False or (isinstance(found, str | list | dict) and not found))


class AnswerTest:
    """A condition over a whole answer, compiled: an expression, statuses, or both; an absent one never holds."""

    def __init__(self, condition: str | AnswerWhen | None, where: str) -> None:
        told = condition if isinstance(condition, AnswerWhen) else None
        self._status = told.status if told else None
        self._when = Expression(told.when, f"{where}.when") if told else Expression(str(condition or ""), where)

    def holds(self, answer: Answer) -> bool:
        """Tell whether this answer is meant. Raises CutOff."""
        if self._status is not None and answer.status not in self._status:
            return False
        if not self._when.given:
            return self._status is not None
        # An answer without JSON says nothing, not even that something is not there.
        tree = told(answer)
        return tree is not None and self._when.holds(tree)


class Spot:
    """A place in an answer, compiled: an expression, or a header; of its text what the pattern picks out."""

    def __init__(self, place: str | Picked, where: str) -> None:
        picked = Picked(path=place) if isinstance(place, str) and place else place
        self._expression = Expression(picked.path if isinstance(picked, Picked) else "", where)
        self._header = picked.header if isinstance(picked, Picked) else None
        pattern = picked.pattern if isinstance(picked, Picked) else ""
        self._pattern = Pattern(pattern) if pattern else None
        self.by_header = self._header is not None

    def found(self, tree: object, answer: Answer) -> object:
        """Return what stands there: a text where there is a pattern, None where there is nothing. Raises CutOff."""
        value = answer.headers.get(self._header) if self._header else self._expression.search(tree)
        if self._pattern is None:
            return value
        return self._pattern.first_group(text_of(value))


def compiled_places(extract: BaseModel, where: str) -> dict[str, Spot]:
    """Compile all places of an operation's `extract`. Raises Unrenderable."""
    return spots({part: getattr(extract, part) for part in type(extract).model_fields}, where)


def spots(places: Mapping[str, str | Picked], where: str) -> dict[str, Spot]:
    """Compile places by their names. Raises Unrenderable."""
    return {name: Spot(place, f"{where}.{name}") for name, place in places.items()}


def _parsed(source: str, where: str) -> Any:
    try:
        parsed = jmespath.compile(source).parsed
        called = list(_functions(parsed))
    except JMESPathError as error:
        raise Unrenderable(where, f"is no valid JMESPath: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise Unrenderable(where, "is no valid JMESPath: it is nested too deeply") from None
    except ValueError:
        raise Unrenderable(where, "is no valid JMESPath: a number in it is too long") from None
    for name in called:
        # jmespath itself would say so only when it meets the function while searching.
        if name not in Functions.FUNCTION_TABLE:
            raise Unrenderable(where, f'there is no JMESPath function "{name}"{meant(name, Functions.FUNCTION_TABLE)}')
    return parsed


def _keys(node: Any) -> tuple[str, ...] | None:
    """Return the keys of an expression that is nothing but keys, as `data.id`; the interpreter is ten times slower."""
    match node:
        case {"type": "field", "value": str(key)}:
            return (key,)
        case {"type": "subexpression", "children": [*parts]}:
            keys = [key for part in parts for key in _keys(part) or ()]
            return tuple(keys) if len(keys) == len(parts) else None
        case _:
            return None


def _looked_up(keys: tuple[str, ...], tree: object) -> object:
    found = tree
    for key in keys:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def _functions(node: Any) -> Iterator[str]:
    if not isinstance(node, dict):
        return
    if node.get("type") == "function_expression":
        yield node["value"]
    for child in node.get("children", ()):
        yield from _functions(child)


def _quoted(source: str) -> frozenset[str]:
    """Return the names of fields that stand in double quotes, which the parsed expression does not tell."""
    tokens = Lexer().tokenize(source) if '"' in source else ()
    return frozenset(token["value"] for token in tokens if token["type"] == "quoted_identifier")


def _mistaken(node: Any, quoted: frozenset[str]) -> Iterator[str]:
    """Yield a sentence for each field that must have been meant as a text, for texts stand in single quotes.

    Where neither field is there, null equals null, and the condition holds for every good answer.
    """
    if not isinstance(node, dict):
        return
    children = node.get("children", ())
    match node, children:
        case {"type": "comparator"}, [one, other] if "literal" not in (one["type"], other["type"]):
            suspects = [other, one]
        case {"type": "function_expression", "value": "contains" | "starts_with" | "ends_with"}, [_, sought]:
            suspects = [sought]
        case _:
            suspects = []
    for suspect in suspects:
        if suspect["type"] == "field" and suspect["value"] in quoted:
            name = suspect["value"]
            yield f'takes "{name}" for a field of that name: write \'{name}\' for a text, or @."{name}" for the field'
            return
    for child in children:
        yield from _mistaken(child, quoted)


def text_of(value: object) -> str:
    """Return a text or a whole number as text, "" for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def told(answer: Answer) -> object:
    """Return an answer's JSON, None where it has none."""
    try:
        return answer.json()
    except Transient:
        return None
