"""What the console shows besides the read models: how it stands, why an alert is where it is, looks at one alert."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from kuma_sync.app.flow import flowing, told, wrong
from kuma_sync.app.hiding import rules_now
from kuma_sync.app.live import Live, look
from kuma_sync.app.preview import Rendered, load_stored, stored_requests, with_contents
from kuma_sync.app.processes import Running, running_beside
from kuma_sync.app.reasons import reasons
from kuma_sync.app.standing import Facts, own_troubles, standing
from kuma_sync.core.alert import AlertId, JsonObject
from kuma_sync.core.errors import KumaSyncError
from kuma_sync.core.sentence import Cause, sentence
from kuma_sync.settings import Settings
from kuma_sync.store import Store, Tx
from kuma_sync.store.read_models.story import story
from kuma_sync.sync.delivery.context import ContentsReader
from kuma_sync.sync.delivery.unit_of_work import DeliveryState
from kuma_sync.telemetry.health import State
from kuma_sync.web.console.orders import NothingDone
from kuma_sync.web.console.source import Overall, Told, Tone


class Source:
    """Answers the console from the store. What was delivered and forgotten here is read through the daemon's gate.

    `note` stores what this process did and has not stored yet: it is counted before a question is answered.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings: Callable[[], Settings],
        reader: Callable[[], ContentsReader | None],
        note: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._settings = settings
        self._reader = reader
        self._note = note

    async def overall(self) -> Overall:
        """Tell how it stands."""
        await self._note()
        return await self._store.read(partial(_overall, where=self._settings().store.url))

    async def told(self, alert_id: str) -> Told | None:
        """Tell of one alert, or of a parked piece; None where nothing is known of it."""
        return await self._store.read(partial(_told, name=alert_id))

    async def events(self, alert_id: str) -> list[JsonObject]:
        """Return the events that are passed on, in KUMA's order; raise NothingDone where they cannot be read."""
        work = await self._work(alert_id)
        contents = work.contents
        if work.lacks_contents:
            reader = self._reader()
            if reader is None:
                raise NothingDone(sentence("The daemon is starting: KUMA cannot be asked yet."))
            try:
                contents = await reader.read(work.alert_id)
            except KumaSyncError as error:
                raise NothingDone(sentence("KUMA cannot be asked for them: %(why)s.", why=Cause(str(error)))) from None
        if contents is None:
            raise NothingDone(sentence("KUMA has them no more, or they are above the size limit."))
        return list(contents.events)

    async def requests(self, alert_id: str) -> list[Rendered]:
        """Return the requests as they would be sent, secrets masked; raise NothingDone where there are none."""
        work, settings = await self._work(alert_id), self._settings()
        try:
            privacy = await self._store.read(lambda tx: rules_now(tx, settings.privacy))
            stored = await with_contents(settings, work, privacy, self._reader())
            return await asyncio.to_thread(stored_requests, settings, stored)
        except KumaSyncError as error:
            raise NothingDone(sentence("No request can be shown: %(why)s.", why=Cause(str(error)))) from None

    async def live(self, alert_id: str) -> Live:
        """Ask the IRP what the incident holds now; raise NothingDone where it cannot be asked, or is paused."""
        work = await self._work(alert_id)
        for paused in await self._store.read(lambda tx: tx.pauses.all()):
            if paused.part == work.link.target:
                raise NothingDone(sentence("The IRP cannot be asked: %(why)s.", why=Cause(paused.reason)))
        try:
            return await look(self._settings(), work)
        except KumaSyncError as error:
            raise NothingDone(sentence("The IRP cannot be asked: %(why)s.", why=Cause(str(error)))) from None

    async def _work(self, alert_id: str) -> DeliveryState:
        section = self._settings().privacy
        work = await self._store.read(lambda tx: load_stored(tx, AlertId(alert_id), rules_now(tx, section)))
        if work is None:
            raise NothingDone(sentence("There is no alert %(id)s here.", id=alert_id))
        return work


def _overall(tx: Tx, *, where: str) -> Overall:
    """Judge it as `status` does. What else is wrong follows the first sentence."""
    running = running_beside(tx)
    if not running.daemon:  # its first heartbeat is yet to come
        return Overall(tone="warn", first=sentence("The daemon is starting."))
    facts = flowing(tx, running)
    first, *more = told(facts)
    known_well = replace(running, daemons=tuple(replace(one, condition=()) for one in running.daemons))
    lines = standing(Facts(now=tx.now, store=where, running=known_well)).lines
    tone: Tone = "bad" if _stands_still(running) else "warn" if wrong(facts) else "good"
    return Overall(tone=tone, first=first, more=[*more, *lines])


def _stands_still(running: Running) -> bool:
    troubles = [one for heartbeat in running.daemons for one in own_troubles(heartbeat.condition)]
    return any(one.state in (State.FAILING, State.PAUSED) for one in troubles)


def _told(tx: Tx, *, name: str) -> Told | None:
    found = story(tx, name)
    if found.alert is None and not (found.history or found.deliveries or found.closes or found.parked_because):
        return None
    alert_id = AlertId(name)
    link, snapshot = tx.links.get(alert_id), tx.alerts.snapshots([alert_id]).get(alert_id)
    known = link is not None and snapshot is not None and link.made and not link.incident_closed
    return Told(
        story=found,
        why=reasons(tx, running_beside(tx), name),
        up_to_date=link.sent.fingerprint == snapshot.fingerprint if known and link and snapshot else None,
    )
