"""The types of several targets and of routes: a target's name, its address if it needs one, where a route leads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from kuma_sync.core.routing import IGNORE, IRP
from kuma_sync.settings import addresses
from kuma_sync.settings.expressions import Expression
from kuma_sync.settings.paths import built_in_profile, is_built_in, read_text
from kuma_sync.settings.toml import parse_toml
from kuma_sync.settings.types import GIVEN

RESERVED = frozenset({IRP, "kuma", "close", IGNORE, "all"})
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


def mode_of(profile: str) -> str:
    """Return the mode of a profile (`push`, `pull`), given by built-in name or path; "" where it cannot be read."""
    try:
        tree = parse_toml(read_text(built_in_profile(profile) if is_built_in(profile) else Path(profile)))
    except (OSError, ValueError):
        return ""
    heading = tree.get("profile")
    return str(heading.get("mode", "push")) if isinstance(heading, dict) else "push"


def key_of(name: str) -> str:
    """Return the section of the configuration that a target has."""
    return IRP if name == IRP else f"targets.{name}"


def same_name(name: str) -> str:
    """Return a name as the environment can write it: without case, `_` for `-`."""
    return re.sub(r"[-\s]", "_", name.lower())


def _address(value: Any, info: ValidationInfo) -> str:
    """Read the IRP's address; where the IRP polls us, none is needed, and of an unreadable profile nobody knows."""
    if value != "":
        return addresses.web_address(value)
    if "profile" in info.data and mode_of(info.data["profile"]) == "push":
        raise PydanticCustomError("missing", "is required")
    return ""


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("expected a name of 1 to 32 letters, digits, - and _")
    if value.lower() in RESERVED:
        raise ValueError(f"this name means something else already; {', '.join(sorted(RESERVED))} cannot be targets")
    named = GIVEN.get().tree.get("targets", {})
    alike = [other for other in named if other != value and same_name(other) == same_name(value)]
    if alike:
        raise ValueError(f"differs from targets.{alike[0]} only in case, or in - and _, as the environment cannot")
    return value


def _leads_to(value: str) -> str:
    known = (*configured(GIVEN.get().tree), IGNORE)
    if value not in known:
        raise PydanticCustomError("unknown_target", "there is no such target", {"known": known})
    return value


def configured(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the IRPs that are written down."""
    named = tree.get("targets", {})
    plain = (IRP,) if IRP in tree else ()
    return (*plain, *(named if isinstance(named, dict) else ()))


def _expression(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("expected a regular expression, in quotes")
    try:
        return Expression(value)
    except ValueError as error:
        raise ValueError(f"is no RE2 expression: {error}") from None


TargetName = Annotated[str, AfterValidator(_name)]
RouteTarget = Annotated[str, AfterValidator(_leads_to)]
IrpUrl = Annotated[str, BeforeValidator(_address)]
NameExpression = Annotated[
    Expression,
    BeforeValidator(_expression),
    PlainSerializer(lambda expression: expression.pattern),
    WithJsonSchema({"type": "string", "format": "regex"}),
]
