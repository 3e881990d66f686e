"""The composition root: settings, a store and two clients in, a crew out.

Must not: hold globals, or start anything.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

import structlog

from kuma_sync.core.plan import Brake
from kuma_sync.core.retry import LONGEST_RETRY_AFTER, RetryPolicy
from kuma_sync.core.unseen import Unseen, Wanted
from kuma_sync.core.window import Rhythm
from kuma_sync.daemon.allowance import Allowance
from kuma_sync.daemon.close import CloseAlert
from kuma_sync.daemon.closings import Closings
from kuma_sync.daemon.contents import ContentsReader
from kuma_sync.daemon.deliver import Deliver
from kuma_sync.daemon.duty import Duty, Gate
from kuma_sync.daemon.habits import Habits
from kuma_sync.daemon.letterhead import Letterhead
from kuma_sync.daemon.loops import Housekeeping
from kuma_sync.daemon.pace import Pace
from kuma_sync.daemon.poller import Poller
from kuma_sync.daemon.proof import Proof
from kuma_sync.daemon.recorder import Recorder, Rules
from kuma_sync.daemon.run import Crew
from kuma_sync.daemon.sides import LANES
from kuma_sync.daemon.steps import Steps
from kuma_sync.daemon.turn import ReadersTurn
from kuma_sync.daemon.watch import Watch, Watched
from kuma_sync.daemon.work import Workbench
from kuma_sync.daemon.worker import Worker
from kuma_sync.irp.profile import Profile
from kuma_sync.settings import Settings, normalised
from kuma_sync.store import Identity, Lane, Store, StoreLimits, store_url
from kuma_sync.wiring.gates import make_gates
from kuma_sync.wiring.ground import Ground, new_owner
from kuma_sync.wiring.remotes import Remotes, open_remotes, options

log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """Return the time; everything else gets it as an argument."""
    return datetime.now(UTC)


def open_store(settings: Settings, *, untouched: bool = False, limits: StoreLimits | None = None) -> Store:
    """Open the configured store; nothing is connected yet. An `untouched` file is only read, and stays as it is."""
    section = settings.store
    return Store(store_url(section.url), password=section.password, clock=utc_now, untouched=untouched, limits=limits)


def identity(settings: Settings, profile: str) -> Identity:
    """Return which KUMA and IRP this configuration means."""
    return Identity(kuma_instance=settings.kuma.instance, irp_url=normalised(settings.irp.url), profile=profile)


def profile_digest(profile: Profile, settings: Settings) -> str:
    """Return what stands for a profile and the IRP it is used with."""
    text = f"{normalised(settings.irp.url)}\n{profile.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()


async def make_crew(settings: Settings, ground: Ground, stack: AsyncExitStack) -> Crew:
    """Wire everything for one configuration; raise ConfigError. `stack` closes the connections."""
    remotes = await open_remotes(settings, utc_now, ground.limits, stack)
    for warning in (*settings.warnings, *remotes.warnings):
        log.warning("configuration", problem=warning)
    ground.store.expect_dues(within=max(settings.retry.max, LONGEST_RETRY_AFTER, remotes.desk.settle))
    return Fitter(settings, ground, remotes).crew()


class Fitter:
    """Puts one crew together, part by part."""

    def __init__(self, settings: Settings, ground: Ground, remotes: Remotes) -> None:
        self._settings = settings
        self._ground = ground
        self._remotes = remotes
        self._pace = Pace(
            clock=utc_now,
            policy=RetryPolicy(base=settings.retry.base, max=settings.retry.max),
            jitter=random.SystemRandom().random,
            limits=ground.limits,
        )
        self._gates = make_gates(settings, ground, remotes, self._pace)
        self._proof = self._make_proof()
        self._turns = ReadersTurn(ground.store, owner=ground.owner, ttl=ground.limits.reader_lease)
        self._worker = new_owner()  # not the former crew's: what that one still writes must not pass for ours
        self._brake = Brake(
            max_closed_percent=settings.brake.max_closed_percent,
            min_alerts=settings.brake.min_alerts,
            max_new=settings.brake.max_new,
        )
        self._closings = Closings(
            to_kuma=settings.close.to_kuma,
            reasons=settings.close.reasons,
            default=settings.close.default_reason,
            patience=settings.close.watch_interval,
        )

    def crew(self) -> Crew:
        """Return the crew."""
        settings, ground = self._settings, self._ground
        deliveries, closes = self._deliveries(), self._closes()
        return Crew(
            identity=identity(settings, self._remotes.profile.name),
            profile=self._remotes.profile,
            can_find=self._remotes.desk.can_find,
            store=ground.store,
            poller=self._poller(deliveries.bell.ring),
            watch=self._watch(),
            deliveries=deliveries,
            proof=self._proof,
            closes=closes,
            turns=self._turns,
            housekeeping=Housekeeping(
                ground.store, turns=self._turns, retention=settings.store.retention, overlap=settings.poll.overlap
            ),
            sides={"kuma": self._gates.kuma.whole, "irp": self._gates.irp.whole},
            health=ground.health,
            metrics=ground.metrics,
            poll_interval=settings.poll.interval,
            watch_interval=settings.close.watch_interval,
            closes_on=settings.close.to_kuma,
            irp_asked=self._remotes.irp.can("probe") or self._watches(),
            limits=ground.limits,
        )

    def _make_proof(self) -> Proof:
        digest, known = profile_digest(self._remotes.profile, self._settings), self._ground.profiles
        again = digest in known
        known.add(digest)
        return Proof(
            store=self._ground.store, gate=self._gates.proof, desk=self._remotes.desk, digest=digest, again=again
        )

    def _poller(self, wake: Callable[[], None]) -> Poller:
        settings, remotes = self._settings, self._remotes
        rhythm = Rhythm(
            full_only=settings.poll.strategy == "full",
            overlap=settings.poll.overlap,
            sweep_interval=settings.poll.sweep_interval,
        )
        rules = Rules(
            overlap=settings.poll.overlap,
            ignore_before=settings.poll.ignore_before,
            max_events=settings.poll.max_events,
            brake=self._brake,
            find_always=remotes.desk.find_always,
            can_find=remotes.desk.can_find,
            wanted=Wanted(statuses=frozenset(settings.kuma.statuses), unseen=Unseen(settings.poll.unseen)),
        )
        return Poller(
            store=self._ground.store,
            kuma=remotes.kuma,
            side=self._gates.kuma.whole,
            turns=self._turns,
            recorder=Recorder(
                store=self._ground.store,
                rules=rules,
                swept=self._ground.swept_of(settings.kuma),
                wake=wake,
            ),
            habits=Habits(
                clock=utc_now,
                rhythm=rhythm,
                brake=self._brake,
                to_irp=remotes.desk.may_close,
                limits=self._ground.limits,
                metrics=self._ground.metrics,
                health=self._ground.health,
            ),
        )

    def _watches(self) -> bool:
        return self._settings.close.watch and self._remotes.irp.can("list_closed")

    def _watch(self) -> Watch:
        settings, remotes = self._settings, self._remotes
        watched = Watched(
            instance=settings.kuma.instance,
            brake=self._brake,
            clock=utc_now,
            on=self._watches(),
            moved=partial(self._ground.health.beat, "watch"),
        )
        return Watch(
            store=self._ground.store,
            irp=remotes.irp,
            side=self._gates.irp.whole,
            turns=self._turns,
            closings=self._closings,
            watched=watched,
        )

    def _deliveries(self) -> Worker:
        settings, ground, remotes = self._settings, self._ground, self._remotes
        bench = Workbench(ground.store, remotes.desk, lease=ground.limits.job_lease)
        steps = Steps(
            irp=remotes.irp,
            sides=self._gates.irp,
            proof=self._proof,
            bench=bench,
            closings=self._closings,
            head=Letterhead(
                instance=settings.kuma.instance,
                web_url=settings.kuma.web_url,
                options=options(settings.irp),
                clock=utc_now,
            ),
            metrics=ground.metrics,
        )
        admit = partial(self._gates.kuma.whole.admit, reads=True)
        contents = ContentsReader(kuma=remotes.kuma, max_events=settings.poll.max_events, admit=admit)
        return Worker(
            duty=Duty(
                name="delivery",
                queue=lambda tx: tx.delivery,
                side=self._gates.irp.whole,
                concurrency=settings.irp.concurrency,
                limits=ground.limits,
                gates=self._lanes(),
                ready=settings.irp.concurrency - 1,
                weigh=lambda tx, subjects: tx.alerts.sizes(subjects),
                allowance=Allowance(ground.limits.contents_in_work),
            ),
            store=ground.store,
            handler=Deliver(bench=bench, steps=steps, contents=contents, pace=self._pace, metrics=ground.metrics),
            owner=self._worker,
            health=ground.health,
        )

    def _lanes(self) -> dict[Lane, list[Gate]]:
        """Return the gates that jobs on each lane of the delivery queue wait for."""
        gates = {LANES[operation]: list[Gate]([kind]) for operation, kind in self._gates.irp.kinds.items()}
        gates[Lane.CREATE].append(self._proof)
        return gates

    def _closes(self) -> Worker:
        ground = self._ground
        handler = CloseAlert(
            store=ground.store,
            kuma=self._remotes.kuma,
            sides=self._gates.kuma,
            waiters=ground.waiters,
            metrics=ground.metrics,
            closings=self._closings,
        )
        return Worker(
            duty=Duty(
                name="close",
                queue=lambda tx: tx.closes,
                side=self._gates.kuma.whole,
                concurrency=ground.limits.closes_in_flight,
                limits=ground.limits,
                gates={lane: list(self._gates.kuma.kinds.values()) for lane in Lane},
            ),
            store=ground.store,
            handler=handler,
            owner=self._worker,
            health=ground.health,
        )
