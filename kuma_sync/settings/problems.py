"""What pydantic found wrong, one sentence of ours for each: the dotted key, and what is expected.

Must not: show a value, but for the choices of a key that holds no secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.sections import SECTIONS, secret_keys

_EXPECTED = {
    "missing": "is required",
    "string_type": "expected text, in quotes",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing_size": "expected a smaller whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "tuple_type": "expected a list",
    "dict_type": "expected a table",
    "mapping_type": "expected a table",
    "model_type": "expected a table",
    "too_short": "expected at least one entry",
    "invalid-json-value": "holds a date or a time, expected text, a number, true or false, a list or a table of these",
}
_LONGEST_SHOWN = 40
_SURE = 0.85
_DEEPEST = 3
"""Section, key and entry; what follows in a free value of `irp.options` are pydantic's words as well as the site's."""


def all_problems(error: ValidationError, origins: Mapping[str, str]) -> list[ConfigError]:
    """Turn the findings into ConfigErrors; `origins` says which keys the environment gave."""
    every = error.errors(include_url=False)
    places = [found["loc"] for found in every if found["type"] != "too_short"]
    # A list whose entries are all wrong is not too short besides.
    every = [one for one in every if one["type"] != "too_short" or not any(one["loc"] == it[:-1] for it in places)]
    return [_problem(found, origins) for found in every]


def _problem(found: Mapping[str, Any], origins: Mapping[str, str]) -> ConfigError:
    path = [str(part) for part in found["loc"] if isinstance(part, str) and part != "[key]"][:_DEEPEST]
    key = ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in path)
    # Of an unknown section only keys are given: the variable that gave the first of them tells enough.
    inside = ".".join(path) + "."
    variable = next((name for dotted, name in origins.items() if f"{dotted}.".startswith(inside)), None)
    return ConfigError(key, _sentence(found, path) + (f" (set by {variable})" if variable else ""))


def _sentence(found: Mapping[str, Any], path: list[str]) -> str:
    context = found.get("ctx", {})
    match found["type"]:
        case "extra_forbidden":
            return f"is not a known key{_did_you_mean(path)}"
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return f"{_shown(found['input'])} is not known, expected one of {_choices(context['expected'])}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case kind:
            return _EXPECTED.get(kind, "is not valid")


def _choices(expected: str) -> str:
    return ", ".join(re.findall(r"'([^']*)'", expected))


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float) else "this"
    return text if len(text) <= _LONGEST_SHOWN else "this"


def _did_you_mean(path: list[str]) -> str:
    *where, name = path
    if not where:
        candidates = list(SECTIONS)
    else:
        section = where[0]
        candidates = [*SECTIONS[section].model_fields, *(f"{key}_file" for key in secret_keys(section))]
    close = get_close_matches(name.lower(), candidates, n=1)
    if close:
        return f", did you mean {'.'.join([*where, close[0]])}?"
    elsewhere = {key: f"{section}.{key}" for section, model in SECTIONS.items() for key in model.model_fields}
    close = get_close_matches(name.lower(), elsewhere, n=1, cutoff=_SURE)
    return f", did you mean {elsewhere[close[0]]}?" if close else ""
