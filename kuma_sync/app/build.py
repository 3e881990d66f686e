"""The composition root: settings, a store and two clients in, a runtime out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

import structlog

from kuma_sync.app.identity import identity, joined, routing_of
from kuma_sync.app.remotes import (
    Gatekeeper,
    Remotes,
    Target,
    TargetGates,
    open_remotes,
    retry_context,
    template_context,
)
from kuma_sync.app.shared_state import SharedState, new_owner
from kuma_sync.core.comparison import Unseen, Wanted
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.recording import RecordSettings
from kuma_sync.core.retry import LONGEST_RETRY_AFTER
from kuma_sync.core.window import ReadSchedule
from kuma_sync.irp.client import IrpClient
from kuma_sync.settings import Settings
from kuma_sync.store import Lane, Store, StoreLimits, store_url
from kuma_sync.sync.closing.requests import Closings
from kuma_sync.sync.closing.to_kuma import CloseAlert
from kuma_sync.sync.closing.watch import Watch, Watched
from kuma_sync.sync.delivery.context import ContentsReader
from kuma_sync.sync.delivery.handler import Acts, Deliver
from kuma_sync.sync.delivery.looking import IncidentLook
from kuma_sync.sync.delivery.proof import Proof
from kuma_sync.sync.delivery.requests import Steps
from kuma_sync.sync.delivery.unit_of_work import DeliveryUnitOfWork
from kuma_sync.sync.handout.expecting import Expecting
from kuma_sync.sync.handout.giving import Puller
from kuma_sync.sync.handout.offering import Offering
from kuma_sync.sync.leader import LeaderLease
from kuma_sync.sync.passing import Passing
from kuma_sync.sync.polling.poller import Poller
from kuma_sync.sync.polling.recorder import Recorder
from kuma_sync.sync.polling.round import PollSettings
from kuma_sync.sync.queue.memory_limit import MemoryLimit
from kuma_sync.sync.queue.worker import Gate, Worker, WorkerConfig
from kuma_sync.sync.remote.gates import LANES
from kuma_sync.sync.runtime.housekeeping import Housekeeping
from kuma_sync.sync.runtime.maintenance import MaintenanceWatch
from kuma_sync.sync.runtime.runner import Runtime, TargetRuntime
from kuma_sync.sync.write_back import WriteBackLoop
from kuma_sync.telemetry.health import part_of

log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """Return the time; everything else gets it as an argument."""
    return datetime.now(UTC)


def open_store(settings: Settings, *, untouched: bool = False, limits: StoreLimits | None = None) -> Store:
    """Open the configured store; nothing is connected yet. An `untouched` file is only read, and stays as it is."""
    section = settings.store
    return Store(store_url(section.url), password=section.password, clock=utc_now, untouched=untouched, limits=limits)


def profile_digest(target: Target) -> str:
    """Return what stands for a profile and the IRP it is used with."""
    irp = joined(target.section, target.profile.name)
    text = f"{irp.irp_url}\n{target.profile.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()


async def build(
    settings: Settings, shared: SharedState, stack: AsyncExitStack, *, broken_before: Collection[str] | None = None
) -> Runtime:
    """Wire everything for one configuration; raise ConfigError. `stack` closes the connections.

    Only a target that was `broken_before` may be broken; None: any of several.
    """
    remotes = await open_remotes(settings, utc_now, shared.limits, stack, shared.certificates)
    for name in remotes.broken:
        if broken_before is not None and name not in broken_before:
            # The sentence begins with the key.
            key, _, problem = remotes.broken[name].partition(": ")
            raise ConfigError(key, problem)
    warnings = [warning for target in remotes.targets.values() for warning in target.warnings]
    for warning in (*map(str, settings.warnings), *warnings):
        log.warning("configuration", problem=warning)
    for name, problem in remotes.broken.items():
        log.error("target_stopped", target=name, problem=problem)
    settles = [can.settle for can in remotes.capabilities.values()]
    shared.store.expect_dues(within=max(settings.retry.max, LONGEST_RETRY_AFTER, *settles))
    return RuntimeBuilder(settings, shared, remotes).runtime()


def pullers(settings: Settings) -> dict[str, Puller]:
    """Return the targets that poll us."""
    return {
        name: Puller(name=name, repeat_for=section.repeat_for, expect_every=section.expect_every)
        for name, section in settings.irps.items()
        if section.pulls
    }


class RuntimeBuilder:
    """Puts one runtime together, part by part."""

    def __init__(self, settings: Settings, shared: SharedState, remotes: Remotes) -> None:
        self._settings = settings
        self._shared = shared
        self._remotes = remotes
        self._pace = retry_context(settings, utc_now, shared.limits)
        self._routing = routing_of(settings)
        self._privacy = settings.privacy.rules()
        self._gatekeeper = Gatekeeper(shared, self._pace)
        self._kuma = self._gatekeeper.kuma(remotes.kuma)
        admit = partial(self._kuma.whole.admit, reads=True)
        self._contents = ContentsReader(
            kuma=remotes.kuma, max_events=settings.poll.max_events, privacy=self._privacy, admit=admit
        )
        self._leader = LeaderLease(shared.store, owner=shared.owner, ttl=shared.limits.leader_lease)
        self._brake = settings.brake.brake
        self._closings = Closings(
            to_kuma=settings.close.to_kuma,
            reasons=settings.close.reasons,
            default=settings.close.default_reason,
            patience=settings.close.watch_interval,
        )

    def runtime(self) -> Runtime:
        """Return the runtime."""
        settings, shared, remotes = self._settings, self._shared, self._remotes
        targets = {name: self._target(target) for name, target in remotes.targets.items()}
        workers = [target.deliveries for target in targets.values()]
        return Runtime(
            identity=identity(settings, {name: target.profile.name for name, target in remotes.targets.items()}),
            routing=self._routing,
            privacy=self._privacy,
            targets=targets,
            broken=remotes.broken,
            store=shared.store,
            poller=self._poller(partial(_ring, workers)),
            closes=self._closes(),
            kuma=self._kuma.whole,
            contents=self._contents,
            passing=Passing(
                kuma=remotes.passage, gate=self._kuma.whole, store=shared.store, most=shared.limits.passed_at_once
            ),
            leader=self._leader,
            housekeeping=Housekeeping(
                shared.store,
                leader=self._leader,
                retention=settings.store.retention,
                overlap=settings.poll.overlap,
                health=shared.health,
            ),
            write_back=self._write_back() if settings.kuma.writes_back else None,
            maintenance=MaintenanceWatch(
                shared.store,
                shared.paused,
                health=shared.health,
                metrics=shared.metrics,
                targets=[*targets, *remotes.broken],
                clock=utc_now,
            ),
            health=shared.health,
            metrics=shared.metrics,
            poll_interval=settings.poll.interval,
            watch_interval=settings.close.watch_interval,
            closes_on=settings.close.to_kuma,
            limits=shared.limits,
        )

    def _target(self, target: Target) -> TargetRuntime:
        gates = self._gatekeeper.target(target)
        if target.irp is None:
            return self._puller(target, gates)
        proof = self._proof(target, gates)
        watches = self._settings.close.watch and target.irp.can("list_closed")
        context = template_context(self._settings, target.name, utc_now)
        acts = partial(
            Steps,
            irp=target.irp,
            gates=gates.irp,
            proof=proof,
            closings=self._closings,
            context=context,
            metrics=self._shared.metrics,
        )
        return TargetRuntime(
            name=target.name,
            profile=target.profile,
            can_find=target.capabilities.can_find,
            find_always=target.capabilities.find_always,
            gate=gates.irp.whole,
            deliveries=self._deliveries(target, gates, acts, proof),
            look=IncidentLook(target.irp, gates.irp, context, within=self._shared.limits.look_within),
            proof=proof,
            watch=self._watch(target, target.irp, gates, on=watches),
            asked=target.irp.can("probe") or watches,
        )

    def _puller(self, target: Target, gates: TargetGates) -> TargetRuntime:
        acts = partial(Offering, target=target.name, pace=self._pace)
        puller, shared = pullers(self._settings)[target.name], self._shared
        return TargetRuntime(
            name=target.name,
            profile=target.profile,
            can_find=False,
            find_always=False,
            gate=gates.irp.whole,
            deliveries=self._deliveries(target, gates, acts),
            expecting=Expecting(
                puller,
                store=shared.store,
                health=shared.health,
                clock=utc_now,
                pausable=gates.irp.whole.pausable,
            ),
            asked=False,
        )

    def _proof(self, target: Target, gates: TargetGates) -> Proof:
        digest, known = profile_digest(target), self._shared.profiles
        again = (target.name, digest) in known
        known.add((target.name, digest))
        return Proof(
            target=target.name,
            store=self._shared.store,
            gate=gates.proof,
            capabilities=target.capabilities,
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
            wanted=Wanted(statuses=frozenset(settings.kuma.statuses), unseen=Unseen(settings.poll.unseen)),
            routing=self._routing,
            targets=remotes.capabilities,
        )
        return Poller(
            store=self._shared.store,
            kuma=remotes.kuma,
            gate=self._kuma.whole,
            leader=self._leader,
            recorder=Recorder(
                store=self._shared.store,
                rules=rules,
                max_events=settings.poll.max_events,
                privacy=self._privacy,
                swept=self._shared.swept_of(settings.kuma),
                wake=wake,
            ),
            poll_settings=PollSettings(
                clock=utc_now,
                schedule=schedule,
                brake=self._brake,
                to_irp=self._remotes.closed_with_alerts(to_irp=self._settings.close.to_irp),
                routing=self._routing,
                limits=self._shared.limits,
                metrics=self._shared.metrics,
                health=self._shared.health,
            ),
        )

    def _watch(self, target: Target, irp: IrpClient, gates: TargetGates, *, on: bool) -> Watch:
        watched = Watched(
            target=target.name,
            instance=self._settings.kuma.instance,
            brake=self._brake,
            clock=utc_now,
            on=on,
            moved=partial(self._shared.health.beat, part_of("watch", target.name)),
        )
        return Watch(
            store=self._shared.store,
            irp=irp,
            gate=gates.irp.whole,
            leader=self._leader,
            closings=self._closings,
            watched=watched,
        )

    def _deliveries(
        self, target: Target, gates: TargetGates, acts: Callable[..., Acts], proof: Proof | None = None
    ) -> Worker:
        settings, shared = self._settings, self._shared
        unit_of_work = DeliveryUnitOfWork(
            shared.store,
            target.capabilities,
            lease=shared.limits.job_lease,
            target=target.name,
            write_back=settings.kuma.writes_back,
        )
        lanes = {lane: list[Gate]() for lane in LANES.values()}
        for operation, kind in gates.irp.kinds.items():
            lanes[LANES[operation]].append(kind)
        if proof is not None:
            lanes[Lane.CREATE].append(proof)
        return Worker(
            config=WorkerConfig(
                name="delivery",
                target=target.name,
                queue=lambda tx: tx.delivery,
                gate=gates.irp.whole,
                concurrency=target.section.concurrency,
                limits=shared.limits,
                gates=lanes,
                ready=target.section.concurrency - 1,
                weigh=lambda tx, subjects: tx.alerts.sizes(subjects),
                # Each its share: a slow target must not take the room of another.
                allowance=MemoryLimit(shared.limits.contents_in_work // max(len(self._remotes.targets), 1)),
                pausable=gates.irp.whole.pausable,
            ),
            store=shared.store,
            handler=Deliver(
                target=target.name,
                unit_of_work=unit_of_work,
                steps=acts(unit_of_work=unit_of_work),
                contents=self._contents,
                pace=self._pace,
                metrics=shared.metrics,
            ),
            owner=new_owner(),  # nobody else's, the former runtime's neither: what that still writes is not ours
            health=shared.health,
        )

    def _write_back(self) -> WriteBackLoop:
        store, kuma = self._shared.store, self._remotes.kuma
        return WriteBackLoop(store=store, kuma=kuma, gate=self._kuma.whole)

    def _closes(self) -> Worker:
        shared = self._shared
        handler = CloseAlert(
            store=shared.store,
            kuma=self._remotes.kuma,
            gates=self._kuma,
            waiters=shared.waiters,
            metrics=shared.metrics,
            closings=self._closings,
        )
        return Worker(
            config=WorkerConfig(
                name="close",
                queue=lambda tx: tx.closes,
                gate=self._kuma.whole,
                concurrency=shared.limits.closes_in_flight,
                limits=shared.limits,
                gates={lane: list(self._kuma.kinds.values()) for lane in Lane},
                pausable=self._kuma.kinds["close"].pausable,
            ),
            store=shared.store,
            handler=handler,
            owner=new_owner(),
            health=shared.health,
        )


def _ring(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.bell.ring()
