"""The first page: does it work, what is wrong, what waits for a person, and what happened in the last 24 hours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.condition import part_named, told_apart
from kuma_sync.core.maintenance import CLOSE, KUMA, Maintenance
from kuma_sync.core.sentence import N_, Sentence
from kuma_sync.store import PassRecord, Tx
from kuma_sync.store.activity import SLOT
from kuma_sync.store.jobs import Depth
from kuma_sync.store.queue import QueueCounts
from kuma_sync.store.read_models.activity import Slot
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.telemetry.health import PartState, State, part_of, split_part
from kuma_sync.web.console.charts import Chart, Point, drawn
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.pages.passes import how, what_of
from kuma_sync.web.console.pages.waiting import UNROUTED, target_named, titled
from kuma_sync.web.console.source import Overall

DEPTHS = {
    Depth.PENDING: N_("due"),
    Depth.POSTPONED: N_("postponed"),
    Depth.BACKOFF: N_("tried again later"),
    Depth.RUNNING: N_("under way"),
    Depth.HELD: N_("held"),
    Depth.PARKED: N_("parked"),
}
"""The states of jobs in a queue."""

ALWAYS = {Depth.PENDING, Depth.HELD, Depth.PARKED}
"""The states that are shown even where nothing is in them."""

STEP = 6 * SLOT
"""Half an hour: 48 bars are still told apart on a phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look at the store shows, beside what the first sentence was judged by."""

    slots: Sequence[Slot]
    queues: Mapping[str, QueueCounts]
    passes: Sequence[PassRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the daemon as it is shown. `pauses` is what an operator may pause of it, "" for nothing.

    `waits`: it is well, and can do nothing while the IRP is away. `whole` names the part that a pause is of, also where
    `name` names the piece of it that fails. `tried_at`: when what fails is tried next, where that is known.
    """

    name: Sentence
    whole: Sentence
    state: PartState
    waits: bool
    pauses: str
    paused: Maintenance | None
    tried_at: datetime | None

    @property
    def shown(self) -> str:
        """Return its state as a badge says it: "paused" is an operator's word, "stopped" the daemon's own doing."""
        if self.paused or self.state.maintenance:
            return "paused"
        if self.waits:
            return "waiting"
        return "stopped" if self.state.state is State.PAUSED else self.state.state.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Titled:
    """A chart with its title (a msgid), and the sum of it; None where a sum means nothing."""

    key: str
    title: str
    chart: Chart
    total: float | None
    seconds: bool = False


async def overview(request: Request, console: Console) -> Response:
    """Show the page."""
    standing = await console.source.overall()  # first: it stores what is not counted yet
    seen = await console.read(partial(_look, standing))
    values = {
        "standing": standing,
        "refused": bool(console.behind.health.ready().refused),
        "parts": _parts(console, standing),
        "charts": charts(seen.slots),
        "seen": seen,
        "depths": [one for one in Depth if one in ALWAYS or any(queue.jobs.get(one) for queue in seen.queues.values())],
        "titled": titled,
        "unrouted": UNROUTED,
        "target_named": target_named,
        "states": [state for state in AlertState if standing.alerts.get(state)],
        "depth_words": DEPTHS,
        "what_of": what_of,
        "how": how,
        "now": console.behind.clock(),
    }
    return console.page(request, "overview.html", N_("Overview"), values=values, refresh=True)


def _look(standing: Overall, tx: Tx) -> Seen:
    return Seen(
        slots=tx.happened.slots(length=STEP),
        queues={**_towards_irps(tx, standing.deliveries), "kuma": standing.closes},
        passes=tx.audit.last_pass_by_kind(),
    )


def _towards_irps(tx: Tx, counted: Mapping[str, QueueCounts]) -> dict[str, QueueCounts]:
    """Count what waits for each target there is; what a target has yet to fetch is due."""
    known = {name: QueueCounts() for name in tx.targets.joined()}
    unfetched = {name: QueueCounts(jobs={Depth.PENDING: count}) for name, count in tx.handouts.waiting().items()}
    found = known | tx.deliveries(counted)
    return {name: counts.plus(unfetched.get(name, QueueCounts())) for name, counts in found.items()}


def _parts(console: Console, standing: Overall) -> list[Part]:
    by_part = {one.part: one for one in standing.paused}
    parts, shown = console.behind.health.ready().parts, []
    for name, state in parts.items():
        pauses, (kind, target) = _pausable(name), split_part(name)
        away = kind == "delivery" and state.state is State.OK and not parts[part_of("irp", target)].ready
        named, why = told_apart(name, state.reason)
        shown.append(
            Part(
                name=named,
                whole=part_named(name),
                state=replace(state, reason=why),
                waits=away,
                pauses=pauses,
                paused=by_part.get(pauses),
                tried_at=None if state.ready else standing.tries.get(name),
            )
        )
    return shown


def _pausable(part: str) -> str:
    name, target = split_part(part)
    return {"kuma": KUMA, "close": CLOSE, "irp": target}.get(name, "")


def charts(slots: Sequence[Slot]) -> list[Titled]:
    """Draw what happened."""
    counted: Sequence[tuple[str, str, Callable[[Slot], float | None]]] = (
        ("arrived", N_("New alerts"), lambda slot: slot.kuma.arrived),
        ("delivered", N_("Deliveries"), lambda slot: slot.irps.delivered),
        ("closed", N_("Closings, both ways"), lambda slot: slot.kuma.closed + slot.irps.closed),
    )
    found = [
        Titled(key=key, title=title, chart=_drawn(slots, value), total=sum(value(slot) or 0 for slot in slots))
        for key, title, value in counted
    ]
    slowest = _drawn(slots, lambda slot: slot.longest)
    return [
        *found,
        Titled(key="longest", title=N_("Slowest delivery, in seconds"), chart=slowest, total=None, seconds=True),
    ]


def _drawn(slots: Sequence[Slot], value: Callable[[Slot], float | None]) -> Chart:
    return drawn([Point(at=slot.start, value=value(slot)) for slot in slots], step=_step(slots))


def _step(slots: Sequence[Slot]) -> timedelta:
    return slots[1].start - slots[0].start if len(slots) > 1 else STEP
