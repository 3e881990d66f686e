"""Lets the profiles of one test process share what Jinja compiled; each file of the same text would be compiled anew.

What is compiled holds nothing of the environment that it was compiled in but how that writes a value out. A daemon
reads a profile once, and needs none of this.
"""

from __future__ import annotations

from typing import Any

from jinja2 import nodes

from kuma_sync.irp.sandbox import Sandbox
from kuma_sync.irp.templates import Templates

_codes: dict[Any, Any] = {}
_trees: dict[Any, Any] = {}
_compile, _parsed = Sandbox.compile, Templates._parsed


def share() -> None:
    """Do so for every profile read from now on."""
    Sandbox.compile = _compiled_once  # type: ignore[method-assign, assignment]
    Templates._parsed = _parsed_once  # type: ignore[method-assign]


def _compiled_once(self: Sandbox, source: str | nodes.Template, *args: Any, **kwargs: Any) -> Any:
    written = tuple(cell.cell_contents for cell in self.finalize.__closure__ or ())  # type: ignore[union-attr]
    key = written, source if isinstance(source, str) else repr(source), args, *kwargs.items()
    if key not in _codes:
        _codes[key] = _compile(self, source, *args, **kwargs)
    return _codes[key]


def _parsed_once(self: Templates, source: str, where: str) -> Any:
    key = source, self._names, repr(self._shapes), repr(self._maps)
    if key not in _trees:
        _trees[key] = _parsed(self, source, where)
    return _trees[key]
