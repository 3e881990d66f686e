"""What an IRP that polls us is given: KUMA's item as last read, in the shape of the version that it asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from kuma_sync.core.alert import CLOSED, Alert, JsonObject
from kuma_sync.core.patterns import Expression

PAGE = 250
"""Alerts on one page (KUMA help 222254, 269916)."""

NEW = "new"
OPEN = frozenset({NEW, "assigned", "escalated"})
STATUSES = OPEN | {CLOSED}

_KEYS = {
    "id": "id",
    "tenant_id": "tenantID",
    "tenant_name": "tenantName",
    "name": "name",
    "rule_id": "correlationRuleID",
    "priority": "priority",
    "status": "status",
    "first_seen": "firstSeen",
    "last_seen": "lastSeen",
    "assignee": "assignee",
    "closing_reason": "closingReason",
    "overflow": "overflow",
}
"""KUMA's names of an alert's fields, in KUMA's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query for alerts with KUMA's parameters (KUMA help 222254, 269916); what is empty or None leaves out nothing.

    `by_first_seen`: firstSeen, not lastSeen, is what `since` and `until` limit, and what pages are sorted by.
    """

    page: int = 1
    ids: tuple[str, ...] = ()
    tenants: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    name: Expression | None = None
    by_first_seen: bool = False
    since: datetime | None = None
    until: datetime | None = None
    with_events: bool = False
    with_affected: bool = False
    lists: bool = False
    """The version asked for names a host in a list (`fqdn`, from v2.2 on)."""

    @property
    def listing(self) -> str:
        """Return the query whatever its page and its contents: equal ones mean the same listing."""
        name = self.name.pattern if self.name is not None else ""
        moments = [moment.isoformat() if moment else "" for moment in (self.since, self.until)]
        return json.dumps([sorted(self.tenants), sorted(self.statuses), name, self.by_first_seen, *moments])

    @property
    def first(self) -> bool:
        """Tell whether it asks for a new listing."""
        return self.page == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOut:
    """How far an alert came that was put out, last at `put_out_at`.

    `first_at` is when an answer that showed it was first taken whole; None: not since it was first put out, or put out
    anew. `lacks`: it was not shown since it changed.
    """

    put_out_at: datetime
    first_at: datetime | None
    lacks: bool


def shown_anyhow(statuses: frozenset[str]) -> frozenset[str]:
    """Return the statuses in which an alert is shown that never was before, where these are asked for.

    Who asks for new ones is to get an alert, too, that was taken up in KUMA before anybody asked.
    """
    return statuses | OPEN if NEW in statuses else statuses


def filed_as(status: str) -> str:
    """Return the status by which an alert is looked for: one that KUMA does not document must not hide it."""
    return status if status in STATUSES else NEW


def as_closed(alert: Alert, reason: str) -> Alert:
    """Return an alert as KUMA shows it once it is closed."""
    return alert if alert.closed else replace(alert, status=CLOSED, closing_reason=reason)


def item(alert: Alert, raw: JsonObject, read: Alert | None) -> dict[str, Any]:
    """Return KUMA's item without its lists: as it came, with the fields that a later read showed otherwise.

    `raw` is the item as it came with its contents, `read` what we read in it; without them it has
    the documented fields.
    """
    if read is None:
        return {key: _written(getattr(alert, name)) for name, key in _KEYS.items()}
    newer = [one.name for one in fields(Alert) if getattr(alert, one.name) != getattr(read, one.name)]
    return {**raw, **{_KEYS[name]: _written(getattr(alert, name)) for name in newer}}


def with_hosts(assets: Sequence[JsonObject], *, lists: bool) -> list[JsonObject]:
    """Return assets with `fqdn` as a version writes it: a text up to v2.1, a list of texts from v2.2 on."""
    return [_host(asset, lists=lists) for asset in assets]


def _host(asset: JsonObject, *, lists: bool) -> JsonObject:
    match asset.get("fqdn"):
        case str(name) if lists:
            return {**asset, "fqdn": [name] if name else []}
        case list(names) if not lists:
            return {**asset, "fqdn": next((name for name in names if isinstance(name, str)), "")}
        case _:
            return asset


def user(name: str, identity: str, *, roles: bool) -> Mapping[str, Any]:
    """Return KUMA's answer to whoami: roles with tenants from v2 on, tenants before (KUMA help 269936)."""
    return {"id": identity, "name": name, "login": name, "email": "", ("roles" if roles else "tenants"): []}


def _written(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, datetime):
        precise = "milliseconds" if value.microsecond else "seconds"
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precise) + "Z"
    return value
