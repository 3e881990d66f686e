"""Turn pydantic's findings into our sentences: the key, and what is expected. For settings and profiles.

Must not show a value, except for a key with fixed choices, which holds no secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.secrets import FILE
from kuma_sync.settings.sections import SECTIONS, Settings

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
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected a table",
    "mapping_type": "expected a table",
    "model_type": "expected a table",
    "too_short": "expected at least one entry",
    "string_too_short": "must not be empty",
    "invalid-json-value": "holds a date or a time, expected text, a number, true or false, a list or a table of these",
}
_LONGEST_SHOWN = 40
_SURE = 0.85
_DEEPEST = 3
"""Section, key and entry. Deeper, in a free value of `irp.options`, pydantic mixes its own words into the place."""
_PLAIN_PART = re.compile(r"[A-Za-z0-9_-]+|route\[\d+\]")


def expected(found: Mapping[str, Any]) -> str:
    """Return the sentence for one finding of pydantic, without its place."""
    context = found.get("ctx", {})
    match found["type"]:
        case "value_error" | "secret_file" | "file":
            return str(context["error"])
        case "secret_path":
            return str(found["msg"])
        case "unknown_target":
            return f"there is no target {_shown(found['input'])}{meant(str(found['input']), context['known'])}"
        case "literal_error":
            choices = ", ".join(re.findall(r"'([^']*)'", context["expected"]))
            return f"{_shown(found['input'])} is not known, expected one of {choices}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case kind:
            return _EXPECTED.get(kind, "is not valid")


def known_keys(model: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Return the keys that are known at a place below a model; none where everything is allowed."""
    parts = iter(place)
    for part in parts:
        field = next((field for name, field in model.model_fields.items() if part in (name, field.alias)), None)
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        if field and get_origin(field.annotation) is Mapping:
            next(parts, None)  # an entry's name
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def meant(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: the nearest known one, else all of them."""
    known = sorted(known)
    near = get_close_matches(word, known, n=1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f" (known: {', '.join(known)})" if known else ""


def findings(error: ValidationError) -> list[Mapping[str, Any]]:
    """Return what pydantic found, less what only follows from another finding."""
    every: list[Mapping[str, Any]] = [*error.errors(include_url=False)]
    places = [found["loc"] for found in every if found["type"] != "too_short"]
    # If all entries of a list are wrong, pydantic also calls the list too short: leave that out.
    return [one for one in every if one["type"] != "too_short" or not any(one["loc"] == it[:-1] for it in places)]


def problem_of(found: Mapping[str, Any], origins: Mapping[str, str]) -> ConfigError:
    """Turn a finding about settings into a ConfigError; `origins` says which keys the environment gave."""
    path = _place(found["loc"])
    match found["type"]:
        case "tuple_type" if path == ["route"]:
            sentence = "expected a list of tables, each written [[route]] in two brackets"
        case "extra_forbidden":
            sentence = f"is not a known key{_did_you_mean(path)}"
        case "given_twice":
            sentence = f"is given twice, here and as {dotted(path)}{FILE}; keep one"
        case "secret_missing":
            sentence = f"is required (or {dotted(path)}{FILE})"
        case "pull_token_missing":
            shown = "the IRP shows it at our door"
            sentence = f'is required with a profile of mode = "pull": {shown} (or {dotted(path)}{FILE})'
        case "other_missing":
            sentence = f"is required, because {dotted(path)} is set"
            path[-1] = found["ctx"]["other"]
        case "needed_beside":
            beside = dotted([*path[:-1], found["ctx"]["other"]])
            sentence = f"is required, because {beside} is set"
        case kind:
            sentence = expected(found)
            path[-1] += FILE if kind in {"secret_file", "secret_path"} else ""
    # For an unknown section name the variable of its first key.
    inside = ".".join(path) + "."
    variable = next((name for key, name in origins.items() if f"{key}.".startswith(inside)), None)
    return ConfigError(dotted(path), sentence + (f" (set by {variable})" if variable else ""))


def _place(location: Sequence[str | int]) -> list[str]:
    """Return the parts of a dotted key; of the routes, which have no names, the first is route[1]."""
    path = [part for part in location if isinstance(part, str) and part != "[key]"]
    if location[:1] == ("route",) and len(location) > 1:
        path[0] = f"route[{int(location[1]) + 1}]"
    return path[: _DEEPEST + (path[:1] == ["targets"] or path[:2] == ["web", "console"])]


def dotted(path: Sequence[str]) -> str:
    """Return a key as it is told: a part with other signs than those of a plain key stands in quotation marks."""
    return ".".join(part if _PLAIN_PART.fullmatch(part) else f'"{part}"' for part in path)


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float) else "this"
    return text if len(text) <= _LONGEST_SHOWN else "this"


def _did_you_mean(path: list[str]) -> str:
    *where, name = path
    known = known_keys(Settings, [part.partition("[")[0] for part in where])
    close = get_close_matches(name.lower(), known, n=1)
    if close:
        return f", did you mean {'.'.join([*where, close[0]])}?"
    elsewhere = {key: f"{section}.{key}" for section, model in SECTIONS.items() for key in model.key_names()}
    close = get_close_matches(name.lower(), elsewhere, n=1, cutoff=_SURE)
    return f", did you mean {elsewhere[close[0]]}?" if close else ""
