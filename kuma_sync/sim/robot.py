"""A simulated Security Vision that asks: its stock KUMA connector, its cards, and the closings that its process sends.

What it asks is documented (KUMA help 232293): `GET api/v1/alerts/?withEvents&status=new` on a schedule, and
`POST api/v1/alerts/close`. That a repeated alert changes its card is assumed; nobody documents it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kuma_sync.sim.front import Front
from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import REASONS
from kuma_sync.sim.values import Clock, Json, SimError

DEFAULT_TOKEN = "sim-robot-token"  # noqa: S105  # the simulator's own, meant to be known
RECEIVE = "withEvents&status=new"
_FINAL = (200, 202, 204, 400, 404, 406)
"""What a closing is answered with that another try would not change."""
SEVERITIES = {"low": "Low", "medium": "Medium", "high": "High", "critical": "Critical"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotOptions:
    """How a robot asks and closes; the defaults are the stock connector's.

    `every` and the other times are seconds. `query` is what follows the `?` of its command; with `pages` it asks for
    page 1, 2, … until one is empty. A closing is tried `tries` times, `wait` apart; once is fire-and-forget. With
    `closes_after` an analyst closes each card so long after it was made; 0 = never. `tells_card` adds the card's id
    to a closing, as `incident`.
    """

    every: float = 60.0
    query: str = RECEIVE
    pages: bool = False
    timeout: float = 60.0
    tries: int = 1
    wait: float = 1.0
    closes_after: float = 0.0
    tells_card: bool = False
    reasons: Mapping[str, str] = field(default_factory=lambda: {"False positive": "incorrect data"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A closing as it was sent: the alert, the reason, and the status of the last answer (0: none came)."""

    id: str
    reason: str
    status: int
    tries: int


class RobotSim(IrpSim):
    """Ask `url`, a KUMA or what looks like one, with `kuma_token`; hold a card for each alert id.

    `url` and `options` may be changed at any time: the next request goes by them.

    `instance` is the KUMA's name in the cards' external keys; `tell` gets one line an event. SimError for a `ca_file`
    that holds no certificate.
    """

    def __init__(  # noqa: PLR0913  # whom it asks, and what every simulator has
        self,
        url: str,
        *,
        kuma_token: str,
        options: RobotOptions | None = None,
        ca_file: Path | None = None,
        token: str = DEFAULT_TOKEN,
        seed: int = 0,
        clock: Clock | None = None,
        instance: str = "kuma",
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        super().__init__(token=token, seed=seed, clock=clock, prefix="CARD")
        self.options = options or RobotOptions()
        self.rounds = 0
        self.repeats = 0
        self.unreadable = 0
        self.failures: list[str] = []
        self.closings: list[Closing] = []
        self.url = (url if "://" in url else f"https://{url}").rstrip("/")
        self._kuma_token = kuma_token
        self._trust = _trust(ca_file)
        self._instance = instance
        self._tell = tell
        self._cards: dict[str, Incident] = {}
        self._alert_of: dict[str, str] = {}
        self._unsent: deque[tuple[str, str, str]] = deque()
        self._closed = asyncio.Event()
        self.app: ASGIApp = Front(self, cards_app(self))

    def card(self, alert_id: str) -> Incident | None:
        """Give the card of an alert."""
        card = self._cards.get(alert_id)
        return card if card is not None and card.id in self.incidents else None

    def analyst_close(self, id: str, resolution: str) -> None:
        """Close a card as an analyst does; the process then sends the alert's closing, once `run` is at work."""
        super().analyst_close(id, resolution)
        self._unsent.append((self._alert_of.get(id, ""), self._reason(resolution), id))
        self._closed.set()

    def take(self, alert: object) -> None:
        """Make a card of an alert, or change its card; the alert is shown whole, with all its events."""
        if not isinstance(alert, dict) or not isinstance(alert.get("id"), str):
            self.unreadable += 1
            return
        card, told = self.card(alert["id"]), _fields(alert)
        events = [event for event in alert.get("events") or [] if isinstance(event, dict)]
        if card is None:
            card = self.create({"externalId": f"kuma:{self._instance}:{alert['id']}", **told, "events": events})
            self._cards[alert["id"]], self._alert_of[card.id] = card, alert["id"]
        else:
            self._repeated(card, told, events)
        if alert.get("status") == "closed" and card.status == "open":
            self.close(card, {"reason": alert.get("closingReason")})

    async def ask(self) -> None:
        """Run the command once: ask, and take what the answer shows; what failed is noted, and asked anew next time."""
        self.rounds += 1
        before = len(self.writes)
        try:
            async with self._client() as client:
                async for page in self._pages(client):
                    for alert in page:
                        self.take(alert)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            self._tell(f"asking failed: {self.failures[-1]}")
        counted = Counter(operation for operation, _, _ in self.writes[before:])
        if counted:
            self._tell("asked: " + ", ".join(f"{operation} {number}" for operation, number in counted.items()))

    async def send_closings(self) -> None:
        """Send the closings of all cards that analysts closed since."""
        async with self._client() as client:
            while self._unsent:
                alert_id, reason, card_id = self._unsent.popleft()
                body = {"id": alert_id, "reason": reason} | ({"incident": card_id} if self.options.tells_card else {})
                self.closings.append(await self._sent(client, body))
                self._tell(f"closing of {alert_id} sent: {reason}, answered {self.closings[-1].status or 'by nothing'}")

    async def run(self) -> None:
        """Ask on schedule, close what is due, send closings; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask_on_schedule())
            tasks.create_task(self._send_when_closed())
            if self.options.closes_after:
                tasks.create_task(self._close_when_due())

    def state(self) -> Json:
        """Count for `GET /_sim/state`."""
        closings = [{"id": one.id, "reason": one.reason, "status": one.status} for one in self.closings]
        asked = {"rounds": self.rounds, "repeats": self.repeats, "unreadable": self.unreadable}
        return {**super().state(), **asked, "failures": self.failures[-10:], "closings": closings}

    def _repeated(self, card: Incident, told: Json, events: list[Json]) -> None:
        if card.status == "closed":
            self.repeats += 1
            return
        known = {event.get("ID") for event in card.events}
        changed = {name: value for name, value in told.items() if card.fields.get(name) != value}
        news = [event for event in events if event.get("ID") not in known]
        if changed or news:
            self.update(card, {**changed, "events": news})
        else:
            self.repeats += 1

    def _reason(self, resolution: str) -> str:
        reason = self.options.reasons.get(resolution, resolution.lower())
        return reason if reason in REASONS else "responded"

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"authorization": f"Bearer {self._kuma_token}"}
        async with httpx.AsyncClient(
            headers=headers, verify=self._trust, timeout=self.options.timeout, trust_env=False
        ) as client:
            yield client

    async def _pages(self, client: httpx.AsyncClient) -> AsyncIterator[list[object]]:
        if not self.options.pages:
            yield await self._page(client, self.options.query)
            return
        number, seen = 1, set[str]()
        while page := await self._page(client, f"{self.options.query}&page={number}"):
            ids = set(_ids(page))
            if ids <= seen:
                return  # a server that always shows the same page
            seen |= ids
            number += 1
            yield page

    async def _page(self, client: httpx.AsyncClient, query: str) -> list[object]:
        answer = await client.get(f"{self.url}/api/v1/alerts/?{query}")
        answer.raise_for_status()
        page = answer.json()
        if page is not None and not isinstance(page, list):
            raise ValueError("the answer is no list of alerts")
        return page or []

    async def _sent(self, client: httpx.AsyncClient, body: Json) -> Closing:
        status = tried = 0
        while tried < self.options.tries:
            if tried:
                await asyncio.sleep(self.options.wait)
            tried += 1
            try:
                status = (await client.post(f"{self.url}/api/v1/alerts/close", json=body)).status_code
            except httpx.HTTPError:
                status = 0
            if status in _FINAL:
                break
        return Closing(id=body["id"], reason=body["reason"], status=status, tries=tried)

    async def _ask_on_schedule(self) -> None:
        while True:
            await self.ask()
            await asyncio.sleep(self.options.every)

    async def _send_when_closed(self) -> None:
        while True:
            await self._closed.wait()
            self._closed.clear()
            await self.send_closings()

    async def _close_when_due(self) -> None:
        while True:
            now = self.clock()
            for card in list(self.incidents.values()):
                if card.status == "open" and (now - card.created_at).total_seconds() >= self.options.closes_after:
                    self.analyst_close(card.id, "Resolved")
            await asyncio.sleep(min(1.0, self.options.closes_after / 4))


def cards_app(robot: RobotSim) -> ASGIApp:
    """Make the application that shows a robot's cards: `GET /cards`, `GET /cards/{id of the alert}`."""

    def listed(request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {robot.token}":
            return JSONResponse({"message": "access denied"}, status_code=403)
        if "id" not in request.path_params:
            return JSONResponse([_shown(card) for card in robot.incidents.values()])
        card = robot.card(request.path_params["id"])
        return JSONResponse({"message": "no card"}, status_code=404) if card is None else JSONResponse(_shown(card))

    async def cards(request: Request) -> Response:
        return listed(request)

    return Starlette(routes=[Route("/cards", cards), Route("/cards/{id}", cards)])


def _trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    try:
        return ssl.create_default_context(cafile=ca_file) if ca_file else True
    except OSError as error:
        raise SimError(f"{ca_file} holds no certificate that can be read: {error.strerror or error}") from error


def _fields(alert: Json) -> Json:
    """Give what a card says of an alert, in the words of the simulated IRP."""
    names = {"title": "name", "alertStatus": "status", "detectedAt": "firstSeen", "lastSeenAt": "lastSeen"}
    names |= {"tenant": "tenantName", "rule": "correlationRuleID", "assignee": "assignee"}
    severity = SEVERITIES.get(str(alert.get("priority")), "Medium")
    return {"severity": severity, **{word: alert[name] for word, name in names.items() if name in alert}}


def _shown(card: Incident) -> Json:
    return {
        "id": card.id,
        "number": card.number,
        "externalId": card.external_id,
        "status": card.status,
        "resolution": card.resolution,
        "fields": card.fields,
        "events": card.events,
        "history": [deed for deed, _ in card.history],
    }


def _ids(page: Iterable[object]) -> Iterable[str]:
    return (str(alert.get("id")) for alert in page if isinstance(alert, dict))
