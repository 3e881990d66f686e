"""What the console shows besides the read models: how it stands, why an alert is where it is, looks at one alert."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import ParamSpec, TypeVar

from kuma_sync.app.flow import flowing, told, wrong
from kuma_sync.app.hiding import rules_now
from kuma_sync.app.live import assure_asked
from kuma_sync.app.one_alert import Newest, StoredAlert, load_packed, newest
from kuma_sync.app.preview import Rendered, Stored, stored_requests, with_contents
from kuma_sync.app.processes import Running, running_beside
from kuma_sync.app.reasons import reasons
from kuma_sync.app.standing import Facts, own_troubles, standing
from kuma_sync.core.alert import AlertId, Contents
from kuma_sync.core.errors import ConfigError, KumaSyncError
from kuma_sync.core.sentence import Cause, Sentence, sentence
from kuma_sync.settings import Settings
from kuma_sync.store import Store, Tx
from kuma_sync.store.read_models.story import story
from kuma_sync.sync.delivery.looking import Live, in_time
from kuma_sync.sync.delivery.unit_of_work import DeliveryState
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.telemetry.health import State
from kuma_sync.web.console.orders import NothingDone
from kuma_sync.web.console.source import Overall, Told, Tone

P = ParamSpec("P")
T = TypeVar("T")


class Source:
    """Answers the console from the store. What is not there is asked through the daemon's gates, for a short time.

    `runtime` is None before the daemon works. `note` stores what this process did and has not stored yet: it is counted
    before a question is answered.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings: Callable[[], Settings],
        runtime: Callable[[], Runtime | None],
        note: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._settings = settings
        self._runtime = runtime
        self._note = note
        self._one_at_a_time = asyncio.Semaphore(1)  # several would be no faster, and each may take much memory

    async def overall(self) -> Overall:
        """Tell how it stands."""
        await self._note()
        runtime, where = self._runtime(), self._settings().store.url
        look = partial(_overall, where=where, tries=runtime.tries if runtime else {})
        return await self._store.read(look, long=True)

    async def told(self, alert_id: str) -> Told | None:
        """Tell of one alert, or of a parked piece; None where nothing is known of it."""
        return await self._store.read(partial(_told, name=alert_id), long=True)

    async def events(self, alert_id: str, most: int) -> Newest:
        """Return the newest of the events that are passed on; raise NothingDone where they cannot be read."""
        stored = await self._stored(alert_id)
        if not stored.lacks_contents:
            found = await self._beside(stored.newest, most)
        else:
            contents = await self._read(stored.link.alert_id)
            found = None if contents is None else await self._beside(newest, contents.events, most)
        if found is None:
            raise NothingDone(sentence("KUMA has them no more, or they are above the size limit."))
        return found

    async def requests(self, alert_id: str) -> list[Rendered]:
        """Return the requests as they would be sent, secrets masked; raise NothingDone where there are none."""
        work, settings = await self._work(alert_id), self._settings()
        try:
            stored = Stored(work=work, read=work)
            if work.lacks_contents:
                runtime = self._at_work()
                reading = with_contents(settings, work, runtime.contents)
                stored = await in_time(reading, remote="kuma", within=runtime.limits.look_within)
            return await self._beside(stored_requests, settings, stored)
        except GateClosed as closed:
            raise NothingDone(_kuma_closed(closed)) from None
        except KumaSyncError as error:
            raise NothingDone(sentence("No request can be shown: %(why)s.", why=Cause(str(error)))) from None

    async def live(self, alert_id: str) -> Live:
        """Ask the IRP what the incident holds now; raise NothingDone where it cannot be asked, or is not asked now."""
        work, runtime = await self._work(alert_id), self._at_work()
        target = work.link.target
        try:
            assure_asked(self._settings(), target)
            if target not in runtime.looks:
                raise ConfigError("", runtime.broken.get(target, "the configuration is just being read again"))
            return await runtime.looks[target].look(work)
        except GateClosed as closed:
            raise NothingDone(_irp_closed(closed, target)) from None
        except KumaSyncError as error:
            raise NothingDone(sentence("The IRP cannot be asked: %(why)s.", why=Cause(str(error)))) from None

    async def _read(self, alert_id: AlertId) -> Contents | None:
        runtime = self._at_work()
        try:
            return await in_time(runtime.contents.read(alert_id), remote="kuma", within=runtime.limits.look_within)
        except GateClosed as closed:
            raise NothingDone(_kuma_closed(closed)) from None
        except KumaSyncError as error:
            raise NothingDone(sentence("KUMA cannot be asked for them: %(why)s.", why=Cause(str(error)))) from None

    def _at_work(self) -> Runtime:
        runtime = self._runtime()
        if runtime is None:
            raise NothingDone(sentence("The daemon is starting: neither KUMA nor an IRP can be asked yet."))
        return runtime

    async def _work(self, alert_id: str) -> DeliveryState:
        return await self._beside((await self._stored(alert_id)).unpacked)

    async def _stored(self, alert_id: str) -> StoredAlert:
        section = self._settings().privacy
        found = await self._store.read(lambda tx: load_packed(tx, AlertId(alert_id), rules_now(tx, section)), long=True)
        if found is None:
            raise NothingDone(sentence("There is no alert %(id)s here.", id=alert_id))
        return found

    async def _beside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do in a thread what takes long for a large alert."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(work, *args, **kwargs)


def _irp_closed(closed: GateClosed, target: str) -> Sentence:
    """Say why a target is not asked now."""
    if closed.gate.maintenance is not None:
        return sentence("The IRP is not asked: %(why)s.", why=Cause(closed.summary))
    return sentence(
        "Deliveries to %(target)s wait until %(until)s, so it is not asked now either: %(why)s.",
        target=target,
        until=closed.until,
        why=Cause(closed.summary),
    )


def _kuma_closed(closed: GateClosed) -> Sentence:
    """Say why KUMA is not asked now."""
    if closed.gate.maintenance is not None:
        return sentence("KUMA is not asked: %(why)s.", why=Cause(closed.summary))
    return sentence(
        "KUMA is asked nothing until %(until)s, so not for this alert either: %(why)s.",
        until=closed.until,
        why=Cause(closed.summary),
    )


def _overall(tx: Tx, *, where: str, tries: Mapping[str, datetime]) -> Overall:
    """Judge it as `status` does. What else is wrong follows the first sentence."""
    running = running_beside(tx)
    tries = {part: at for part, at in tries.items() if at > tx.now}  # a try that was waited for meanwhile is no news
    facts = flowing(tx, running, tries=tries)
    judged = partial(
        Overall,
        alerts=facts.alerts,
        stopped=facts.stopped,
        paused=facts.paused,
        deliveries=facts.deliveries,
        closes=facts.closes,
        tries=tries,
    )
    if not running.daemon:  # its first heartbeat is yet to come
        return judged(tone="warn", first=sentence("The daemon is starting."))
    first, *more = told(facts)
    known_well = replace(running, daemons=tuple(replace(one, condition=()) for one in running.daemons))
    lines = standing(Facts(now=tx.now, store=where, running=known_well)).lines
    tone: Tone = "bad" if _stands_still(running) else "warn" if wrong(facts) else "good"
    return judged(tone=tone, first=first, more=[*more, *lines])


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
