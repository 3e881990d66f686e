"""Jinja2 as a profile's templates may use it: keys and positions, no attributes, nothing that fills the memory.

Must not: know operations, or the values of a template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from kuma_sync.irp.filters import Maps, date, to_json, unique, value_map

GLOBALS = ("range", "dict", "namespace")
_LONGEST_PRODUCT = 1_000_000


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without attributes: a dot or a bracket reaches a dict's keys and a list's positions, nothing else."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, maps: Maps, finalize: Callable[[object], object]) -> None:
        super().__init__(undefined=StrictUndefined, finalize=finalize, autoescape=False)
        self.globals = {name: self.globals[name] for name in GLOBALS}
        self.filters.pop("attr")
        own = {"map": _map(maps, self.filters["map"]), "date": date, "unique": unique, "json": to_json}
        self.filters |= own
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

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse what would fill the memory: `"x" * 10**9`."""
        sizes = [len(side) if isinstance(side, str | list | tuple) else side for side in (left, right)]
        if operator == "**" or (sizes != [left, right] and sizes[0] * sizes[1] > _LONGEST_PRODUCT):
            raise SecurityError(f"{operator} is not allowed here")
        return super().call_binop(context, operator, left, right)


def _map(maps: Maps, of_jinja: Callable[..., object]) -> Callable[..., object]:
    """Return the filter `map`: ours with the name of a value map, Jinja's with `attribute=`."""
    entry = value_map(maps)

    @pass_context
    def mapped(context: Context, value: object, name: str = "", **attribute: object) -> object:
        return entry(value, name) if name else of_jinja(context, value, **attribute)

    return mapped
