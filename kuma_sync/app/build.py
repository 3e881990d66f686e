"""The composition root: settings, a store and two clients in, a runtime out."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

import structlog

from kuma_sync.app.remotes import Remotes, make_gates, open_remotes, options
from kuma_sync.app.shared_state import SharedState, new_owner
from kuma_sync.core.comparison import Unseen, Wanted
from kuma_sync.core.plan import Brake
from kuma_sync.core.recording import RecordSettings
from kuma_sync.core.retry import LONGEST_RETRY_AFTER, RetryPolicy
from kuma_sync.core.window import ReadSchedule
from kuma_sync.irp.profile import Profile
from kuma_sync.settings import Settings, normalised
from kuma_sync.store import Identity, Lane, Store, StoreLimits, store_url
from kuma_sync.sync.closing.requests import Closings
from kuma_sync.sync.closing.to_kuma import CloseAlert
from kuma_sync.sync.closing.watch import Watch, Watched
from kuma_sync.sync.delivery.context import ContentsReader, TemplateContext
from kuma_sync.sync.delivery.handler import Deliver
from kuma_sync.sync.delivery.proof import Proof
from kuma_sync.sync.delivery.requests import Steps
from kuma_sync.sync.delivery.unit_of_work import DeliveryUnitOfWork
from kuma_sync.sync.leader import LeaderLease
from kuma_sync.sync.polling.poller import Poller
from kuma_sync.sync.polling.recorder import Recorder
from kuma_sync.sync.polling.round import PollSettings
from kuma_sync.sync.queue.memory_limit import MemoryLimit
from kuma_sync.sync.queue.worker import Gate, Worker, WorkerConfig
from kuma_sync.sync.remote.gates import LANES
from kuma_sync.sync.remote.rate import RetryContext
from kuma_sync.sync.runtime.housekeeping import Housekeeping
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.web.responses import AccessRules


def door_rules(settings: Settings) -> AccessRules:
    """Return who may pass which door."""
    return AccessRules(
        to_kuma=settings.close.to_kuma,
        tokens=settings.web.tokens,
        metrics_token=settings.web.metrics_token,
        metrics_public=settings.web.metrics_public,
    )


def served(identity: Identity) -> str:
    """Return a mark of the KUMA and IRP that a daemon joins: equal for equal ones, and it names neither."""
    joined = "\n".join((identity.kuma_instance, identity.irp_url, identity.profile))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


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


async def build(settings: Settings, shared: SharedState, stack: AsyncExitStack) -> Runtime:
    """Wire everything for one configuration; raise ConfigError. `stack` closes the connections."""
    remotes = await open_remotes(settings, utc_now, shared.limits, stack)
    for warning in (*settings.warnings, *remotes.warnings):
        log.warning("configuration", problem=warning)
    shared.store.expect_dues(within=max(settings.retry.max, LONGEST_RETRY_AFTER, remotes.capabilities.settle))
    return RuntimeBuilder(settings, shared, remotes).runtime()


class RuntimeBuilder:
    """Puts one runtime together, part by part."""

    def __init__(self, settings: Settings, shared: SharedState, remotes: Remotes) -> None:
        self._settings = settings
        self._shared = shared
        self._remotes = remotes
        self._pace = RetryContext(
            clock=utc_now,
            policy=RetryPolicy(base=settings.retry.base, max=settings.retry.max),
            jitter=random.SystemRandom().random,
            limits=shared.limits,
        )
        self._gates = make_gates(settings, shared, remotes, self._pace)
        self._proof = self._make_proof()
        self._turns = LeaderLease(shared.store, owner=shared.owner, ttl=shared.limits.reader_lease)
        self._worker = new_owner()  # not the former runtime's: what that one still writes must not pass for ours
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

    def runtime(self) -> Runtime:
        """Return the runtime."""
        settings, shared = self._settings, self._shared
        deliveries, closes = self._deliveries(), self._closes()
        return Runtime(
            identity=identity(settings, self._remotes.profile.name),
            profile=self._remotes.profile,
            can_find=self._remotes.capabilities.can_find,
            store=shared.store,
            poller=self._poller(deliveries.bell.ring),
            watch=self._watch(),
            deliveries=deliveries,
            proof=self._proof,
            closes=closes,
            turns=self._turns,
            housekeeping=Housekeeping(
                shared.store,
                turns=self._turns,
                retention=settings.store.retention,
                overlap=settings.poll.overlap,
                health=shared.health,
            ),
            gates={"kuma": self._gates.kuma.whole, "irp": self._gates.irp.whole},
            health=shared.health,
            metrics=shared.metrics,
            poll_interval=settings.poll.interval,
            watch_interval=settings.close.watch_interval,
            closes_on=settings.close.to_kuma,
            irp_asked=self._remotes.irp.can("probe") or self._watches(),
            limits=shared.limits,
        )

    def _make_proof(self) -> Proof:
        digest, known = profile_digest(self._remotes.profile, self._settings), self._shared.profiles
        again = digest in known
        known.add(digest)
        return Proof(
            store=self._shared.store,
            gate=self._gates.proof,
            capabilities=self._remotes.capabilities,
            digest=digest,
            again=again,
        )

    def _poller(self, wake: Callable[[], None]) -> Poller:
        settings, remotes = self._settings, self._remotes
        schedule = ReadSchedule(
            full_only=settings.poll.strategy == "full",
            overlap=settings.poll.overlap,
            sweep_interval=settings.poll.sweep_interval,
        )
        rules = RecordSettings(
            overlap=settings.poll.overlap,
            ignore_before=settings.poll.ignore_before,
            brake=self._brake,
            find_always=remotes.capabilities.find_always,
            can_find=remotes.capabilities.can_find,
            wanted=Wanted(statuses=frozenset(settings.kuma.statuses), unseen=Unseen(settings.poll.unseen)),
        )
        return Poller(
            store=self._shared.store,
            kuma=remotes.kuma,
            gate=self._gates.kuma.whole,
            turns=self._turns,
            recorder=Recorder(
                store=self._shared.store,
                rules=rules,
                max_events=settings.poll.max_events,
                swept=self._shared.swept_of(settings.kuma),
                wake=wake,
            ),
            poll_settings=PollSettings(
                clock=utc_now,
                schedule=schedule,
                brake=self._brake,
                to_irp=remotes.capabilities.may_close,
                limits=self._shared.limits,
                metrics=self._shared.metrics,
                health=self._shared.health,
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
            moved=partial(self._shared.health.beat, "watch"),
        )
        return Watch(
            store=self._shared.store,
            irp=remotes.irp,
            gate=self._gates.irp.whole,
            turns=self._turns,
            closings=self._closings,
            watched=watched,
        )

    def _deliveries(self) -> Worker:
        settings, shared, remotes = self._settings, self._shared, self._remotes
        unit_of_work = DeliveryUnitOfWork(shared.store, remotes.capabilities, lease=shared.limits.job_lease)
        steps = Steps(
            irp=remotes.irp,
            gates=self._gates.irp,
            proof=self._proof,
            unit_of_work=unit_of_work,
            closings=self._closings,
            context=TemplateContext(
                instance=settings.kuma.instance,
                web_url=settings.kuma.web_url,
                options=options(settings.irp),
                clock=utc_now,
            ),
            metrics=shared.metrics,
        )
        admit = partial(self._gates.kuma.whole.admit, reads=True)
        contents = ContentsReader(kuma=remotes.kuma, max_events=settings.poll.max_events, admit=admit)
        return Worker(
            config=WorkerConfig(
                name="delivery",
                queue=lambda tx: tx.delivery,
                gate=self._gates.irp.whole,
                concurrency=settings.irp.concurrency,
                limits=shared.limits,
                gates=self._lanes(),
                ready=settings.irp.concurrency - 1,
                weigh=lambda tx, subjects: tx.alerts.sizes(subjects),
                allowance=MemoryLimit(shared.limits.contents_in_work),
            ),
            store=shared.store,
            handler=Deliver(
                unit_of_work=unit_of_work, steps=steps, contents=contents, pace=self._pace, metrics=shared.metrics
            ),
            owner=self._worker,
            health=shared.health,
        )

    def _lanes(self) -> dict[Lane, list[Gate]]:
        """Return the gates that jobs on each lane of the delivery queue wait for."""
        gates = {LANES[operation]: list[Gate]([kind]) for operation, kind in self._gates.irp.kinds.items()}
        gates[Lane.CREATE].append(self._proof)
        return gates

    def _closes(self) -> Worker:
        shared = self._shared
        handler = CloseAlert(
            store=shared.store,
            kuma=self._remotes.kuma,
            gates=self._gates.kuma,
            waiters=shared.waiters,
            metrics=shared.metrics,
            closings=self._closings,
        )
        return Worker(
            config=WorkerConfig(
                name="close",
                queue=lambda tx: tx.closes,
                gate=self._gates.kuma.whole,
                concurrency=shared.limits.closes_in_flight,
                limits=shared.limits,
                gates={lane: list(self._gates.kuma.kinds.values()) for lane in Lane},
            ),
            store=shared.store,
            handler=handler,
            owner=self._worker,
            health=shared.health,
        )
