"""Which alerts a listing asks for, and in which order. No HTTP, no writing of JSON.

The parameters are those of KUMA help 222254 and 269916.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

from kuma_sync.sim.errors import SimError
from kuma_sync.sim.knobs import KumaKnobs
from kuma_sync.sim.kuma_render import shown_time
from kuma_sync.sim.values import Json, moment

STATUSES = frozenset({"new", "assigned", "escalated", "closed"})
FIELDS = frozenset({"lastSeen", "firstSeen"})
NEVER = datetime.min.replace(tzinfo=UTC)


class BadQuery(SimError):
    """Refuse a query in KUMA's words: `message`, and `details` where KUMA gives them."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Hold one listing's parameters, checked."""

    page: int
    ids: tuple[str, ...]
    tenants: frozenset[str]
    statuses: frozenset[str]
    name: re.Pattern[str] | None
    field: str
    since: datetime | None
    until: datetime | None
    with_events: bool
    with_affected: bool

    @classmethod
    def parse(cls, raw: str) -> Query:
        """Read a raw query string; a flag is on by being there, whatever its value. Raise BadQuery."""
        given = parse_qs(raw, keep_blank_values=True)
        statuses = frozenset(given.get("status", []))
        if statuses - STATUSES:
            raise BadQuery("invalid status")
        field = given.get("timestampField", ["lastSeen"])[-1]
        if field not in FIELDS:
            raise BadQuery("invalid timestamp field")
        since, until = _limit(given, "from"), _limit(given, "to")
        if since and until and since > until:
            raise BadQuery("from cannot be greater than to")
        return cls(
            page=_page(given.get("page", ["1"])[-1]),
            ids=tuple(given.get("id", [])),
            tenants=frozenset(given.get("tenantID", [])),
            statuses=statuses,
            name=_pattern(given.get("name", [""])[-1]),
            field=field,
            since=since,
            until=until,
            with_events="withEvents" in given,
            with_affected="withAffected" in given,
        )

    def cut(self, alerts: Mapping[str, Json], knobs: KumaKnobs) -> list[Json]:
        """Give one page of the alerts asked for: newest first by the chosen field, equal moments by id.

        What is `hidden` is left out after the cut, so that a page may be short though others follow.
        """
        named = dict.fromkeys(self.ids)
        asked = [alerts[one] for one in named if one in alerts] if named else list(alerts.values())
        timed = [(shown_moment(alert, self.field, knobs), str(alert["id"]), alert) for alert in asked]
        found = [entry for entry in timed if self._wants(entry[2], entry[0], knobs)]
        found.sort(key=lambda entry: entry[1])
        found.sort(key=lambda entry: entry[0], reverse=True)
        start = 0 if knobs.clamp_page else (self.page - 1) * knobs.page_size
        cut = found[start : start + knobs.page_size]
        return [alert for _, id_, alert in cut if id_ not in knobs.hidden]

    def means(self, alert: Json) -> bool:
        """Tell whether an alert is shown to somebody who asked for such: new, or of a status or id that was named."""
        return bool(self.ids or self.statuses) or alert["status"] == "new"

    def _wants(self, alert: Json, when: datetime, knobs: KumaKnobs) -> bool:
        tenant, status = str(alert["tenantID"]), str(alert["status"])
        return (
            (knobs.tenants is None or tenant in knobs.tenants)
            and (not self.tenants or tenant in self.tenants)
            and (not self.statuses or status in self.statuses)
            and (self.name is None or self.name.search(str(alert["name"])) is not None)
            and (self.since is None or when >= self.since)
            and (self.until is None or when <= self.until)
        )


def shown_moment(alert: Json, field: str, knobs: KumaKnobs) -> datetime:
    """Tell the moment a client reads in an alert's field; unreadable ones are older than everything."""
    shown = shown_time(alert, field, knobs)
    return (moment(shown) if isinstance(shown, str) else None) or NEVER


def _page(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BadQuery("invalid query parameter value", "page")
    return int(text)


def _limit(given: dict[str, list[str]], name: str) -> datetime | None:
    text = given.get(name, [""])[-1]
    if not text:
        return None
    when = moment(text)
    if when is None:
        raise BadQuery(f"cannot parse {name}", text)
    return when


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.IGNORECASE) if text else None
    except re.error as error:
        raise BadQuery("invalid query parameter value", "name") from error
