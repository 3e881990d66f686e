"""TheHive's query language over rows: filters, sorting and pages (thehive4py, query/filters.py, sort.py, page.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kuma_sync.sim.dialect import Refused
from kuma_sync.sim.values import Json

Rows = list[Json]

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "_eq": lambda value, wanted: value == wanted,
    "_ne": lambda value, wanted: value != wanted,
    "_lt": lambda value, wanted: value < wanted,
    "_gt": lambda value, wanted: value > wanted,
    "_lte": lambda value, wanted: value <= wanted,
    "_gte": lambda value, wanted: value >= wanted,
    "_startsWith": lambda value, wanted: str(value).startswith(wanted),
    "_endsWith": lambda value, wanted: str(value).endswith(wanted),
    "_like": lambda value, wanted: wanted.strip("*") in str(value),
    "_match": lambda value, wanted: wanted in str(value),
}


def value_of(row: Json, name: str) -> object:
    """Return a field of a row; `customFields.<name>` reaches the value of a custom field."""
    owner, dot, inner = name.partition(".")
    if owner == "customFields" and dot:
        return next((one["value"] for one in row.get(owner, []) if one["name"] == inner), None)
    return row.get(name)


def filtered(rows: Rows, step: Json) -> Rows:
    """Return the rows that fit all conditions of a filter. Raises Refused for a condition that is none."""
    conditions = {name: one for name, one in step.items() if name != "_name"}
    return [row for row in rows if all(_holds(row, name, one) for name, one in conditions.items())]


def ordered(rows: Rows, step: Json) -> Rows:
    """Return the rows in the order of `_fields`: [{"_createdAt": "asc"}]; rows without the field come first."""
    for field in reversed(step.get("_fields", [])):
        for name, direction in field.items():
            rows = sorted(rows, key=lambda row: _rank(value_of(row, name)), reverse=direction == "desc")
    return rows


def page(rows: Rows, step: Json) -> Rows:
    """Return the rows from `from` to before `to`."""
    start, end = step.get("from"), step.get("to")
    if not isinstance(start, int) or not isinstance(end, int) or end < start:
        raise Refused(400, "page needs from and to", "BadRequest")
    return rows[start:end]


def _holds(row: Json, name: str, condition: Any) -> bool:
    match name:
        case "_and":
            return all(bool(filtered([row], one)) for one in condition)
        case "_or":
            return any(bool(filtered([row], one)) for one in condition)
        case "_not":
            return not filtered([row], condition)
        case "_id":
            return bool(row.get("_id") == condition)
        case "_has":
            return value_of(row, condition) is not None
        case "_in":
            return value_of(row, condition["_field"]) in condition["_values"]
        case "_between":
            value: Any = value_of(row, condition["_field"])
            return value is not None and condition["_from"] <= value < condition["_to"]
        case _:
            return _compared(row, name, condition)


def _compared(row: Json, name: str, condition: Any) -> bool:
    if name not in _COMPARED:
        raise Refused(400, f"there is no filter {name}", "BadRequest")
    value = value_of(row, condition["_field"])
    return (value is not None or name in ("_eq", "_ne")) and _COMPARED[name](value, condition["_value"])


def _rank(value: object) -> tuple[bool, object]:
    return (value is not None, value if value is not None else 0)
