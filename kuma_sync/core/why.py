"""Why an alert is where it is, in words, and what a person can do about it: for `show` and the console."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kuma_sync.core.alert import AlertSnapshot
from kuma_sync.core.breaker import TOKEN_REFUSED
from kuma_sync.core.condition import Trouble, part_named
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Link, Offered
from kuma_sync.core.maintenance import CLOSE, KUMA, Maintenance
from kuma_sync.core.plan import CLOSING_HELD, CREATE_HELD
from kuma_sync.core.routing import IGNORE, IRP, NO_ROUTE
from kuma_sync.core.sentence import N_, Cause, Sentence, Value, counted, sentence


class Press(StrEnum):
    """What a person can do: a command, and a button of the console."""

    RETRY = "retry"
    DROP = "drop"
    RELEASE = "release"
    RESUME = "resume"
    RESYNC = "resync"
    ROUTE = "route"  # in the configuration
    START = "start"  # the daemon


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """A sentence, and what can be done about it, the usual thing first. `part` is what RESUME resumes."""

    said: Sentence
    press: tuple[Press, ...] = ()
    part: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """A job as it stands: `pending`, `running`, `parked` or `held`. `since` is when it was put on its queue."""

    state: str
    since: datetime
    due: datetime
    attempts: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """All that decides where an alert is. Without `link` it is a parked piece, or unknown here.

    `delivery` and `closing` are its jobs towards the IRP and KUMA, `troubles` the parts of the daemon that are not
    well. `running`: a daemon works on the store.
    """

    now: datetime
    link: Link | None = None
    snapshot: AlertSnapshot | None = None
    delivery: Waits | None = None
    closing: Waits | None = None
    piece: str = ""
    """Why a piece of KUMA's answer is no alert."""
    troubles: Sequence[Trouble] = ()
    paused: Sequence[Maintenance] = ()
    running: bool = True
    unfetched: bool = False
    """It was put out for an IRP that polls us, which has not fetched it since it changed."""


def why(facts: Circumstances) -> list[Why]:
    """Say why, at least one sentence: what waits for a human first, then what waits by itself, then what is done."""
    if facts.piece:
        return [_piece(facts.piece)]
    link = facts.link
    found = list(_given_up(link)) if link is not None else []
    found = found or [*_delivery(facts), *_closing(facts)]
    if found and not facts.running and any(_moves(job) for job in (facts.delivery, facts.closing)):
        found.append(Why(said=sentence("No daemon runs: nothing is sent before it does."), press=(Press.START,)))
    if link is not None and link.gone:
        found.append(Why(said=sentence("KUMA no longer has this alert. Nothing is closed because of that.")))
    if found:
        return found
    return [_at_rest(link, facts)] if link is not None else [Why(said=sentence("Nothing is known of it here."))]


def _piece(reason: str) -> Why:
    said = sentence(
        "This piece of KUMA's answer is no alert: %(reason)s. `retry` reads it once more, `drop` gives it up.",
        reason=Cause(reason),
    )
    return Why(said=said, press=(Press.RETRY, Press.DROP))


def _given_up(link: Link) -> Iterator[Why]:
    if link.dropped:
        said = sentence("An operator dropped it: whatever changes, nothing is done for it until `resync` takes it up.")
        yield Why(said=said, press=(Press.RESYNC,))
    elif link.missed:
        said = sentence("It left the statuses that KUMA is asked for before it was ever read: no incident was made.")
        yield Why(said=said)
    elif link.ignored and link.target == IGNORE:
        said = sentence("A route says that it is ignored. It is looked at anew when it changes in KUMA.")
        yield Why(said=said)
    elif link.ignored:
        said = sentence("It is older than poll.ignore_before. It becomes an incident when it changes in KUMA.")
        yield Why(said=said)
    elif link.target == NO_ROUTE:
        said = sentence(
            "No route takes it, and there is no [irp]. It is delivered once a [[route]] takes it and the configuration "
            "is read again; `release` does not free it."
        )
        yield Why(said=said, press=(Press.ROUTE,))


def _delivery(facts: Circumstances) -> Iterator[Why]:
    link, job = facts.link, facts.delivery
    target = link.target if link is not None else IRP
    if link is not None and link.held_create:
        yield _held(sentence("The brake holds its incident: %(reason)s.", reason=sentence(CREATE_HELD)))
    if link is not None and link.held_close:
        yield _held(sentence("The brake holds the closing of its incident: %(reason)s.", reason=sentence(CLOSING_HELD)))
    if job is None:
        return
    if job.state == "parked":
        yield _parked(job, _to(target))
    elif job.state == "held":
        yield _held(sentence("The brake holds its delivery to %(target)s.", target=target))
    else:
        yield from _on_its_way(facts, job, _Way(parts=_parts_of(target), paused=(target,), to=_to(target)))


def _closing(facts: Circumstances) -> Iterator[Why]:
    job = facts.closing
    if job is None:
        return
    if job.state == "parked":
        yield _parked(job, sentence("Its closing in KUMA"))
    elif job.state == "held":
        yield _held(sentence("The brake holds its closing in KUMA: %(reason)s.", reason=sentence(CLOSING_HELD)))
    else:
        way = _Way(parts=("store", KUMA, CLOSE), paused=(KUMA, CLOSE), to=sentence("Its closing in KUMA"))
        yield from _on_its_way(facts, job, way)


def _held(said: Sentence) -> Why:
    return Why(said=sentence("%(what)s It waits for `release`.", what=said), press=(Press.RELEASE,))


def _parked(job: Waits, to: Sentence) -> Why:
    said = counted(
        "%(to)s failed and was set aside: %(reason)s. It is tried again by `retry`, or when the alert changes.",
        "%(to)s failed %(count)d times and was set aside: %(reason)s. It is tried again by `retry`, or when the alert "
        "changes.",
        max(job.attempts, 1),
        to=to,
        reason=Cause(job.reason) or sentence("no reason is known"),
    )
    return Why(said=said, press=(Press.RETRY, Press.DROP))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """What a job passes: parts that must be well, parts that an operator may have paused, and where it goes."""

    parts: tuple[str, ...]
    paused: tuple[str, ...]
    to: Sentence


def _on_its_way(facts: Circumstances, job: Waits, way: _Way) -> Iterator[Why]:
    for one in facts.paused:
        if one.part in way.paused and one.lasts(facts.now):
            yield _maintained(one)
            yield from _failing_beneath(facts, way)
            return
    if job.state == "running":
        yield Why(said=sentence("%(to)s is under way now.", to=way.to))
        return
    trouble = next((one for part in way.parts for one in facts.troubles if one.part == part and _stops(one)), None)
    if trouble is not None:
        said = sentence(
            N_("%(to)s waits: %(part)s is not well since %(since)s: %(reason)s. Look at its token.")
            if trouble.reason.startswith(TOKEN_REFUSED)
            else N_(
                "%(to)s waits: %(part)s is not well since %(since)s: %(reason)s. "
                "It is tried again without anybody's doing."
            ),
            to=way.to,
            part=part_named(trouble.part),
            since=trouble.since,
            reason=Cause(trouble.reason or trouble.state),
        )
        yield Why(said=said)
    elif job.attempts:
        yield Why(said=_failed(job, way, facts.now))
    elif job.due > facts.now:
        waits = sentence("%(to)s waits until %(due)s", to=way.to, due=job.due)
        yield Why(said=_because(waits, job.reason))
    else:
        yield Why(said=sentence("%(to)s is on the queue since %(since)s.", to=way.to, since=job.since))


def _failed(job: Waits, way: _Way, now: datetime) -> Sentence:
    failed = counted(
        "%(to)s failed: %(reason)s.",
        "%(to)s failed %(count)d times, the last time: %(reason)s.",
        job.attempts,
        to=way.to,
        reason=Cause(job.reason) or sentence("no reason is known"),
    )
    if job.due <= now:
        return sentence("%(failed)s It is tried again now.", failed=failed)
    return sentence("%(failed)s It is tried again at %(due)s.", failed=failed, due=job.due)


def _because(said: Sentence, reason: str) -> Sentence:
    if not reason:
        return sentence("%(said)s.", said=said)
    return sentence("%(said)s: %(reason)s.", said=said, reason=Cause(reason))


def _maintained(one: Maintenance) -> Why:
    values: dict[str, Value] = {"part": one.part, "by": one.by, "since": one.since}
    if one.until is None:
        said = sentence("%(part)s is paused (by %(by)s; begun %(since)s): it waits for `resume`.", **values)
    else:
        said = sentence("%(part)s is paused (by %(by)s; begun %(since)s; ends %(until)s).", **values, until=one.until)
    return Why(said=said, press=(Press.RESUME,), part=one.part)


def _failing_beneath(facts: Circumstances, way: _Way) -> Iterator[Why]:
    """Say what fails besides of what is paused: the end of the pause alone will not let it pass."""
    trouble = next((one for part in way.parts for one in facts.troubles if one.part == part and one.maintained), None)
    if trouble is not None:
        said = sentence(
            "%(part)s also fails since %(since)s: %(reason)s.",
            part=part_named(trouble.part),
            since=trouble.since,
            reason=Cause(trouble.reason or trouble.state),
        )
        yield Why(said=said)


def _at_rest(link: Link, facts: Circumstances) -> Why:
    """Say where an alert is that has no job, and is not held."""
    snapshot = facts.snapshot
    if facts.unfetched and not link.incident_closed:
        said = sentence("It was not fetched yet: it waits until %(target)s asks us for its alerts.", target=link.target)
        return Why(said=said)
    if link.alert_closed or link.incident_closed:
        return Why(said=_closed(link))
    if isinstance(link.live, Offered):
        said = sentence("It is put out for %(target)s, which asks us for its alerts.", target=link.target)
        return Why(said=said)
    if not link.made:
        said = sentence("It has no incident, and no job is queued for it: `resync` queues one.")
        return Why(said=said, press=(Press.RESYNC,))
    if snapshot is not None and link.sent.fingerprint == snapshot.fingerprint:
        return Why(said=sentence("Its incident in %(target)s holds all that KUMA shows.", target=link.target))
    said = sentence("Its incident is out of date, and no job is queued for it: `resync` queues one.")
    return Why(said=said, press=(Press.RESYNC,))


def _closed(link: Link) -> Sentence:
    origin = {
        Origin.KUMA: sentence("It was closed in KUMA"),
        Origin.IRP: sentence("Its incident was closed in %(target)s", target=link.target),
        Origin.OPERATOR: sentence("An operator closed it"),
        None: sentence("It is closed"),
    }[link.close_origin]
    if not link.incident_closed and link.close_origin is Origin.IRP:
        rest = sentence("it was opened again there, and the alert stays closed")
    elif not link.incident_closed:
        rest = sentence("its incident stays open: closings do not go there (close.to_irp, or the profile has no close)")
    elif not link.alert_closed:
        rest = sentence("the alert stays open: closings do not go to KUMA (close.to_kuma)")
    else:
        rest = sentence("both sides are closed")
    return sentence("%(origin)s; %(rest)s.", origin=origin, rest=rest)


def _moves(job: Waits | None) -> bool:
    return job is not None and job.state in ("pending", "running")


def _stops(trouble: Trouble) -> bool:
    return trouble.state in ("failing", "paused") and not trouble.maintained


def _parts_of(target: str) -> tuple[str, ...]:
    return ("store", *(name if target == IRP else f"{name}:{target}" for name in ("irp", "delivery")))


def _to(target: str) -> Sentence:
    return sentence("Its delivery to %(target)s", target=target)
