"""KUMA's memory: alerts and what happens to them. Its HTTP face lies in kuma_routes, its words in kuma_{query,render}.

Everything runs in one event loop's thread; tests and stories change the state between two awaits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

from starlette.types import ASGIApp

from kuma_sync.sim.content import Content, tenant_id
from kuma_sync.sim.errors import SimError
from kuma_sync.sim.faults import Faults
from kuma_sync.sim.front import Front, SimRequest
from kuma_sync.sim.knobs import KumaKnobs
from kuma_sync.sim.kuma_routes import CloseCall, kuma_app
from kuma_sync.sim.values import Clock, Json, moment, utc_now, whole_second

DEFAULT_TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105  # the simulator's own, meant to be known
EMPTY_ALERT: Json = {
    "tenantID": "",
    "tenantName": "",
    "name": "",
    "correlationRuleID": "",
    "priority": "low",
    "status": "new",
    "firstSeen": "1970-01-01T00:00:00Z",
    "lastSeen": "1970-01-01T00:00:00Z",
    "assignee": "",
    "closingReason": "",
    "overflow": False,
    "events": [],
    "affectedAssets": [],
    "affectedAccounts": [],
}


class KumaSim:
    """Be KUMA: hold alerts, serve its public REST API on `app`, let tests and stories play analysts and correlators."""

    def __init__(
        self, *, token: str = DEFAULT_TOKEN, seed: int = 0, clock: Clock | None = None, knobs: KumaKnobs | None = None
    ) -> None:
        self.token = token
        self.knobs = knobs or KumaKnobs()
        self.clock = clock or utc_now
        self.faults = Faults(seed=seed)
        self.alerts: dict[str, Json] = {}
        self.closes: list[tuple[str, str]] = []
        self.close_calls: list[CloseCall] = []
        self.requests: list[SimRequest] = []
        self.shown: set[str] = set()
        """Ids of alerts that went out in an answer sent whole, while they were new, or as what was asked for."""
        self._content = Content(seed)
        self.app: ASGIApp = Front(self, kuma_app(self))

    def load(self, alerts: list[Json]) -> None:
        """Take alerts as they stand in a JSON file, odd values and all; missing keys are filled. No id: SimError."""
        for alert in alerts:
            if not isinstance(alert, dict) or alert.get("id") in (None, ""):
                raise SimError("every loaded alert must be an object with an id")
            self.alerts[str(alert["id"])] = {**EMPTY_ALERT, **alert}

    def raise_alert(
        self,
        *,
        id: str | None = None,
        name: str | None = None,
        priority: str | None = None,
        events: int = 3,
        tenant: str | None = None,
        seen: datetime | str | None = None,
    ) -> str:
        """Let a correlation rule fire: a new alert with so many correlation events. `tenant` is a name. Give the id."""
        at = self._when(seen)
        alert = self._content.alert(seen=at, name=name, priority=priority, tenant=tenant)
        alert["id"] = id or alert["id"]
        if alert["id"] in self.alerts:
            raise SimError(f"there is an alert {alert['id']} already")
        alert["events"] = [self._content.correlation_event(alert, at) for _ in range(events)]
        self.alerts[alert["id"]] = alert
        return str(alert["id"])

    def grow(self, id: str, events: int = 1, *, move_last_seen: bool = True) -> list[str]:
        """Add correlation events to an alert that is not closed; lastSeen moves to now, never back. Give their ids."""
        alert = self._open(id)
        last = moment(str(alert["lastSeen"])) or self.clock()
        at = max(last, self.clock()) if move_last_seen else last
        new = [self._content.correlation_event(alert, at) for _ in range(events)]
        alert["events"] = [*(alert["events"] or []), *new]
        alert["lastSeen"] = whole_second(at)
        return [event["ID"] for event in new]

    def edit(self, id: str, **fields: object) -> None:
        """Change fields by hand, as an analyst may with all but id and name: lastSeen stays (KUMA help 224487)."""
        self._known(id).update(fields)

    def assign(self, id: str, who: str = "i.petrova") -> None:
        """Give an alert to an analyst: it leaves `status=new`."""
        self._open(id).update(status="assigned", assignee=who)

    def escalate(self, id: str) -> None:
        """Link an alert to an incident of KUMA's own."""
        self._open(id).update(status="escalated")

    def unescalate(self, id: str) -> None:
        """Unlink it again: it is back in `new` with the same id (KUMA help 304498)."""
        self._open(id).update(status="new", assignee="")

    def close(self, id: str, reason: str = "responded") -> None:
        """Close an alert inside KUMA, for any reason text: an analyst, or a closed KUMA incident."""
        self._open(id).update(status="closed", closingReason=reason)

    def delete(self, id: str) -> None:
        """Let retention remove an alert."""
        self._known(id)
        del self.alerts[id]

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """Name what `POST /_sim/act` can do."""
        doing = (self.raise_alert, self.grow, self.edit, self.assign, self.escalate, self.unescalate)
        return {call.__name__: call for call in (*doing, self.close, self.delete, self.load)}

    def state(self) -> Json:
        """Count for `GET /_sim/state`."""
        by_status = Counter(str(alert["status"]) for alert in self.alerts.values())
        return {"alerts": dict(by_status), "closes": len(self.closes), "shown": len(self.shown)}

    def tenants(self) -> dict[str, str]:
        """Tell the tenants the token sees: id → name."""
        everyone = {tenant_id("Main"): "Main"}
        everyone |= {str(alert["tenantID"]): str(alert["tenantName"]) for alert in self.alerts.values()}
        limit = self.knobs.tenants
        return {id_: name for id_, name in everyone.items() if limit is None or id_ in limit}

    def _when(self, seen: datetime | str | None) -> datetime:
        when = moment(seen) if isinstance(seen, str) else seen or self.clock()
        if when is None or when.tzinfo is None:
            raise SimError("seen must be an aware datetime or RFC 3339 text")
        return when

    def _known(self, id_: str) -> Json:
        if id_ not in self.alerts:
            raise SimError(f"there is no alert {id_}")
        return self.alerts[id_]

    def _open(self, id_: str) -> Json:
        alert = self._known(id_)
        if alert["status"] == "closed":
            raise SimError(f"alert {id_} is closed: closed is final in KUMA")
        return alert
