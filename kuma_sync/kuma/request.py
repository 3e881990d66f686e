"""How a read is asked of KUMA: its query string, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from kuma_sync.core.window import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What every read is limited to: the statuses and tenants asked for (no tenants = all that the token sees)."""

    statuses: Sequence[str]
    tenants: Sequence[str]
    with_affected: bool


def query_string(query: Query, scope: Scope, *, page: int) -> str:
    """Return the query of `GET alerts/` (KUMA help 222254, 269916).

    `withEvents` and `withAffected` are flags: any value, `false` too, would switch them on. The Russian page and every
    client write `tenantID`. `page` counts from 1.
    """
    parts: list[str] = []
    if query.with_events:
        parts += ["withEvents", "withAffected"] if scope.with_affected else ["withEvents"]
    statuses = query.statuses if query.any_status else scope.statuses
    parts += [f"status={_quoted(status)}" for status in statuses]
    parts += [f"tenantID={_quoted(tenant)}" for tenant in scope.tenants]
    if query.dated_by:
        parts.append(f"timestampField={_quoted(query.dated_by)}")
    if query.since is not None:
        parts.append(f"from={rfc3339(query.since)}")
    if query.until is not None:
        parts.append(f"to={rfc3339(query.until)}")
    parts += [f"id={_quoted(alert_id)}" for alert_id in query.ids]
    parts.append(f"page={page}")
    return "&".join(parts)


def rfc3339(moment: datetime) -> str:
    """Return whole seconds in UTC with `Z`, with milliseconds only where there are some, rounded down."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds" if moment.microsecond >= 1000 else "seconds")
    return text.replace("+00:00", "Z")


def _quoted(text: str) -> str:
    return quote(text, safe="")
