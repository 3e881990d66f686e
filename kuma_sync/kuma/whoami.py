"""Who a token is, in the two shapes KUMA tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Whoami:
    """The token's user, with the names of the roles and tenants it has (each once, in KUMA's order).

    `tenant_ids` are those of the same tenants, where KUMA tells them.
    """

    login: str
    roles: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    tenant_ids: frozenset[str] = frozenset()


def read_whoami(value: object) -> Whoami | None:
    """Read `tenants[{id, name, role}]` (v1) or `roles[{name, tenants[{id, name}]}]` (v2 on, help 269936); else None."""
    if not isinstance(value, dict):
        return None
    tenants = list(_objects(value, "tenants"))
    roles = [_name(tenant, "role") for tenant in tenants]
    for role in _objects(value, "roles"):
        roles.append(_name(role, "name"))
        tenants += _objects(role, "tenants")
    return Whoami(
        login=_name(value, "login") or _name(value, "name"),
        roles=_distinct(roles),
        tenants=_distinct([_name(tenant, "name") for tenant in tenants]),
        tenant_ids=frozenset(_distinct([_name(tenant, "id") for tenant in tenants])),
    )


def _objects(value: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    items = value.get(key)
    return (item for item in (items if isinstance(items, list) else []) if isinstance(item, dict))


def _name(value: dict[str, Any], key: str) -> str:
    name = value.get(key)
    return name if isinstance(name, str) else ""


def _distinct(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
