"""A simulated IRP: its incidents, who wrote what to them, what its analysts do. A dialect is its REST API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from starlette.types import ASGIApp

from kuma_sync.sim.access import Access
from kuma_sync.sim.content import dice
from kuma_sync.sim.dialect import Dialect
from kuma_sync.sim.faults import Faults
from kuma_sync.sim.front import Front, SimRequest
from kuma_sync.sim.knobs import IrpKnobs
from kuma_sync.sim.rvision import RVision
from kuma_sync.sim.security_vision import SecurityVision
from kuma_sync.sim.thehive import TheHive
from kuma_sync.sim.values import Clock, Json, SimError, moment, utc_now

DEFAULT_TOKEN = "sim-irp-token"  # noqa: S105  # the simulator's own, meant to be known
DIALECTS: Mapping[str, type[Dialect]] = {
    "security-vision": SecurityVision,
    "rvision": RVision,
    "thehive": TheHive,
}


@dataclass(slots=True, kw_only=True)
class Incident:
    """Hold one incident. `events` are as received, in order, repeats included; `history` is (operation, body)."""

    id: str
    number: str
    external_id: str
    created_at: datetime
    updated_at: datetime
    fields: Json = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    status: Literal["open", "closed"] = "open"
    resolution: str = ""
    comments: list[str] = field(default_factory=list)
    files: list[Json] = field(default_factory=list)
    observables: list[Json] = field(default_factory=list)
    edited: set[str] = field(default_factory=set)
    history: list[tuple[str, Json]] = field(default_factory=list)


class IrpSim:
    """Be an IRP: hold incidents, serve `app` in one of DIALECTS, let tests and stories play its analysts."""

    def __init__(
        self,
        *,
        token: str = DEFAULT_TOKEN,
        seed: int = 0,
        clock: Clock | None = None,
        knobs: IrpKnobs | None = None,
        prefix: str = "INC",
        dialect: str = "security-vision",
    ) -> None:
        if dialect not in DIALECTS:
            raise SimError(f"there is no dialect {dialect!r}: one of {', '.join(DIALECTS)}")
        self.token = token
        self.knobs = knobs or IrpKnobs()
        self.clock = clock or utc_now
        self.faults = Faults(seed=seed)
        self.incidents: dict[str, Incident] = {}
        self.deleted: list[Incident] = []
        self.writes: list[tuple[str, str, Json]] = []
        self.requests: list[SimRequest] = []
        self.shown: set[str] = set()
        self._prefix = prefix
        self._random = dice(seed)
        self.numbers = 0
        self.access = Access(knobs=lambda: self.knobs, token=lambda: self.token, random=dice(seed))
        self.dialect: Dialect = DIALECTS[dialect](self)
        self.app: ASGIApp = Front(self, self.dialect.app())

    def common(self, incident: Incident) -> Json:
        """Give what every dialect tells of an incident, in the words of the default one, less what analysts edited."""
        return self.dialect.common(incident)

    def by_key(self, key: str) -> list[Incident]:
        """Give the incidents of one external key, oldest first."""
        kept = self.kept(key)
        return [incident for incident in self.incidents.values() if self.kept(incident.external_id) == kept]

    def by_id(self, id: str) -> Incident | None:
        """Give an incident by its id, without regard to case if the knob changes the case of shown ids."""
        return self.incidents.get(id.lower() if self.knobs.id_case else id)

    def kept(self, key: str) -> str:
        """Tell how this IRP writes a key."""
        if not self.knobs.key_case:
            return key
        return key.upper() if self.knobs.key_case == "upper" else key.lower()

    def findable(self, key: str) -> list[Incident]:
        """Give the incidents that a find shows: those of the key, except those younger than the lag."""
        found = list(self.incidents.values()) if self.knobs.ignore_external_id else self.by_key(key)
        return self.searchable(found)

    def searchable(self, found: Iterable[Incident]) -> list[Incident]:
        """Leave out the incidents younger than the lag."""
        born_before = self.clock() - timedelta(seconds=self.knobs.find_lag)
        return [incident for incident in found if not self.knobs.find_lag or incident.created_at <= born_before]

    def doubled(self) -> list[str]:
        """Name the external keys with more than one incident."""
        counted = Counter(self.kept(incident.external_id) for incident in self.incidents.values())
        return [key for key, number in counted.items() if number > 1]

    def create(self, body: Json) -> Incident:
        """Make an incident of a body: `externalId`, `events`, and fields by the dialect's names."""
        now = self.clock()
        self.numbers += 1
        incident = Incident(
            id=self.dialect.new_id(self._random),
            number=f"{self._prefix}-{self.numbers:06d}",
            external_id="" if self.knobs.drop_key else str(body.get("externalId") or ""),
            created_at=now,
            updated_at=now,
        )
        self.incidents[incident.id] = incident
        self._take(incident, body)
        self.wrote("create", incident, body)
        return incident

    def update(self, incident: Incident, body: Json) -> None:
        """Change what the body names; null clears; events are added."""
        self._take(incident, body)
        self.wrote("update", incident, body)

    def add_events(self, incident: Incident, body: Json) -> None:
        """Add events."""
        incident.events.extend(body.get("events") or [])
        self.wrote("add_events", incident, body)

    def close(self, incident: Incident, body: Json) -> None:
        """Close an incident through the API; `reason` is how it was resolved, the rest are fields."""
        incident.status, incident.resolution = "closed", str(body.get("reason") or "")
        self.wrote("close", incident, body)

    def wrote(self, operation: str, incident: Incident, body: Json) -> None:
        """Record an effective write."""
        incident.updated_at = self.clock()
        incident.history.append((operation, body))
        self.writes.append((operation, incident.id, body))

    def comment(self, incident: Incident, text: str) -> None:
        """Add a comment."""
        incident.comments.append(text)
        self.wrote("comment", incident, {"comment": text})

    def analyst_close(self, id: str, resolution: str) -> None:
        """Close an incident as an analyst does, with a resolution; "" where a second step gives it."""
        incident = self._by_analyst(id, "analyst_close", {"resolution": resolution})
        incident.status, incident.resolution = "closed", resolution

    def resolve(self, id: str, resolution: str) -> None:
        """Take the second step of a closing: say how the incident was resolved."""
        self._by_analyst(id, "resolve", {"resolution": resolution}).resolution = resolution

    def move(self, id: str, to: str = "") -> str:
        """Move an incident elsewhere, where it has another id (`to`, or a new one); return that."""
        incident = self._by_analyst(id, "move", {})
        del self.incidents[id]
        incident.id = to or self.dialect.new_id(self._random)
        self.incidents[incident.id] = incident
        return incident.id

    def redate(self, id: str, updated: str) -> None:
        """Have an incident say that it was changed at another time (RFC 3339)."""
        when = moment(updated)
        if when is None:
            raise SimError("updated must be RFC 3339")
        self._by_analyst(id, "redate", {}).updated_at = when

    def page_was_read(self, offset: int) -> None:
        """Change the list of closed incidents between two pages, as the knobs say."""
        if self.knobs.after_page is not None:
            self.knobs.after_page(offset)
        if self.knobs.reopened_between_pages:
            self.reopen(self.knobs.reopened_between_pages.pop(0))
        for _ in range(self.knobs.joining):
            stranger = self.create({"externalId": f"elsewhere:{len(self.incidents)}"})
            self.analyst_close(stranger.id, "Solved")
            stranger.updated_at -= timedelta(minutes=5)

    def reopen(self, id: str) -> None:
        """Open a closed incident again."""
        incident = self._by_analyst(id, "reopen", {})
        incident.status, incident.resolution = "open", ""

    def analyst_edit(self, id: str, **fields: object) -> None:
        """Change fields as an analyst does."""
        incident = self._by_analyst(id, "analyst_edit", fields)
        incident.fields.update(fields)
        incident.edited.update(fields)

    def delete(self, id: str) -> None:
        """Delete an incident as an analyst does."""
        self.deleted.append(self._by_analyst(id, "delete", {}))
        del self.incidents[id]

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """Name what `POST /_sim/act` can do."""
        calls = (self.analyst_close, self.resolve, self.reopen, self.analyst_edit, self.move, self.redate, self.delete)
        return {call.__name__: call for call in (*calls, self.access.end_sessions)}

    def state(self) -> Json:
        """Count for `GET /_sim/state`."""
        by_status = Counter(incident.status for incident in self.incidents.values())
        writes = Counter(operation for operation, _, _ in self.writes)
        counts = {"incidents": dict(by_status), "doubled": self.doubled(), "writes": dict(writes)}
        return counts | {"logins": self.access.logins, "dialect": self.dialect.name}

    def _take(self, incident: Incident, body: Json) -> None:
        incident.fields.update({name: value for name, value in body.items() if name not in ("events", "externalId")})
        incident.events.extend(body.get("events") or [])

    def _by_analyst(self, id_: str, deed: str, body: Json) -> Incident:
        if id_ not in self.incidents:
            raise SimError(f"there is no incident {id_}")
        incident = self.incidents[id_]
        incident.updated_at = self.clock()
        incident.history.append((deed, body))
        return incident
