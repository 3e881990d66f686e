"""What an order concerns, in words: which remotes, by their addresses, and which limits of the brake."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from kuma_sync.core.maintenance import KUMA
from kuma_sync.core.routing import IRP
from kuma_sync.core.sentence import Sentence, counted, sentence
from kuma_sync.settings import Settings
from kuma_sync.settings.sections import BrakeSection
from kuma_sync.store.read_models.waiting import Towards


def remotes_concerned(settings: Settings, sides: Iterable[tuple[Towards, str]]) -> list[Sentence]:
    """Name the remotes of these sides and targets, KUMA first, in one sentence; none where there is no remote."""
    names = sorted(
        {KUMA if towards == KUMA else target for towards, target in sides}, key=lambda one: (one != KUMA, one)
    )
    remotes = tuple(_named(settings, name) for name in names if name)
    return [sentence("It concerns %(remotes)s.", remotes=remotes)] if remotes else []


def _named(settings: Settings, name: str) -> Sentence:
    if name == KUMA:
        return sentence("KUMA (%(host)s)", host=_host(settings.kuma.url))
    irp = sentence("the IRP") if name == IRP else sentence("the IRP %(target)s", target=name)
    section = settings.irps.get(name)
    if section is None:
        return sentence("%(irp)s (not usable now)", irp=irp)
    if section.pulls:
        return sentence("%(irp)s (it asks us)", irp=irp)
    return sentence("%(irp)s (%(host)s)", irp=irp, host=_host(section.url))


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or url}" + (f":{parts.port}" if parts.port else "")


def creates_held(brake: BrakeSection, count: int) -> Sentence:
    """Say how many incidents the brake holds back, and how many it lets through."""
    if not brake.max_new:
        return counted(
            "The brake holds one new incident; by now it has no limit for them (brake.max_new).",
            "The brake holds %(count)d new incidents; by now it has no limit for them (brake.max_new).",
            count,
        )
    return counted(
        "The brake holds one new incident: of one read of KUMA it lets %(limit)d through (brake.max_new).",
        "The brake holds %(count)d new incidents: of one read of KUMA it lets %(limit)d through (brake.max_new).",
        count,
        limit=brake.max_new,
    )


def closings_held(brake: BrakeSection, count: int) -> Sentence:
    """Say how many closings the brake holds, and how many it lets through."""
    return counted(
        "The brake holds one closing: where %(least)d or more come at once, it lets them through up to %(limit)g %% of "
        "what is open (brake.min_alerts, brake.max_closed_percent).",
        "The brake holds %(count)d closings: where %(least)d or more come at once, it lets them through up to "
        "%(limit)g %% of what is open (brake.min_alerts, brake.max_closed_percent).",
        count,
        least=brake.min_alerts,
        limit=brake.max_closed_percent,
    )
