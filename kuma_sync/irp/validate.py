"""Is this profile fit for use? Compiles it, demands what the operations must extract, and tries it on sample alerts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kuma_sync.core.errors import ConfigError
from kuma_sync.core.steps import TargetCapabilities
from kuma_sync.irp.context import CURRENT, FOLLOW_GET, LOGIN
from kuma_sync.irp.encoding import content, not_flat
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.load import KEY
from kuma_sync.irp.login import compile_login
from kuma_sync.irp.owned import misowned
from kuma_sync.irp.profile import FindOperation, ListClosedOperation, Operation, Picked, Profile
from kuma_sync.irp.rendering import TEXT, Rendering
from kuma_sync.irp.responses import Answers, Current
from kuma_sync.irp.sample import sample_currents, sample_subject, sample_values, sparse_subject

_MUST_EXTRACT: Mapping[str, tuple[str, ...]] = {
    "create": ("id",),
    "find": ("items", "id", "key"),
    "list_closed": ("items", "status", "resolution", "updated"),
}
_ABSENT: Mapping[str, str] = {
    "find": "a create whose answer was lost is sent again or parked, and a lost store doubles incidents",
    "close": "close.to_irp is off, alerts closed in KUMA leave their incidents open",
    "list_closed": "close.watch is off, incidents closed in the IRP are learnt through the HTTP door only",
    "probe": "a single 401 or 403 pauses all deliveries, because the token cannot be judged",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One operation, ready for use."""

    rendering: Rendering
    answers: Answers


def compile_profile(profile: Profile, key: str = KEY) -> dict[str, Compiled]:
    """Compile all operations, once a profile. Raises ConfigError for a template or an expression that is none."""
    if not profile.compiled:
        profile.compiled.update(_compile(profile, key))
    return profile.compiled


def _compile(profile: Profile, key: str) -> dict[str, Compiled]:
    closed_when = _closed_when(profile)
    current = None if profile.get is None else {*profile.get.extract.free, "fields"}
    compiled: dict[str, Compiled] = {}
    problems = []
    for name, operation in profile.operations.items():
        try:
            compiled[name] = Compiled(
                rendering=Rendering(
                    name,
                    operation,
                    profile.maps,
                    until_edited=profile.until_edited if name in ("create", "update") else (),
                    current=current,
                ),
                answers=Answers(name, operation, closed_when=closed_when.get(name, "")),
            )
        except Unrenderable as error:
            problems.append(f"{error.where} {error.problem}")
        problems += _uncarried(name, operation)
    _refuse(profile, problems + _problems_of_login(profile), key)
    return compiled


def _problems_of_login(profile: Profile) -> list[str]:
    try:
        compile_login(profile)
    except Unrenderable as error:
        return [f"{error.where} {error.problem}"]
    return list(not_flat(LOGIN, profile.auth.login)) if profile.auth.login else []


def _uncarried(name: str, operation: Operation) -> Iterator[str]:
    """Yield what an operation wants that its encoding, or its answer, has no place for."""
    yield from not_flat(name, operation)
    listed = name in ("find", "list_closed")
    for part in type(operation.extract).model_fields if listed else ():
        if isinstance(place := getattr(operation.extract, part), Picked) and place.header:
            yield f"{name}.extract.{part} cannot come from a header: the answer is a list"


def check_profile(profile: Profile, *, options: Mapping[str, str], key: str = KEY) -> list[str]:
    """Return warnings about a usable profile; raise ConfigError with file, operation and key for one that is not."""
    if profile.mode == "pull":
        return []
    _refuse(profile, list(_missing(profile)), key)
    compiled = compile_profile(profile, key)
    full, sparse = sample_values(sample_subject(), options), sample_values(sparse_subject(), options)
    currents = sample_currents(profile)
    failures = _failures(compiled, full, currents)
    problems = [f"{where} fails on the sample alert: {problem}" for where, problem in failures]
    if "update" in compiled and TEXT in compiled["update"].rendering.event_fields:
        problems.append("update.body is one text, so it would be sent for new events alone: use events in [add_events]")
    if "add_events" in compiled and not compiled["add_events"].rendering.event_fields:
        problems.append("add_events.body has no field that uses the value events")
    _refuse(profile, [*problems, *misowned(profile, compiled)], key)
    warnings = [] if profile.verified else [f"profile {profile.name} was never proven against the real product"]
    poor = _failures(compiled, sparse, currents)
    warnings += [f"{where} fails on an alert without optional fields: {problem}" for where, problem in poor]
    return warnings + [f"no [{name}] in the profile: {what}" for name, what in _ABSENT.items() if name not in compiled]


def _failures(
    compiled: Mapping[str, Compiled], values: Mapping[str, Any], currents: Sequence[Current]
) -> Iterator[tuple[str, str]]:
    """Try every operation on a sample; yield where one fails, and why."""
    for name, one in compiled.items():
        given = currents if currents and name in FOLLOW_GET else ()
        tries: list[Mapping[str, Any]] = [{**values, CURRENT: current.template} for current in given] or [values]
        failed = [error for error in (_failure(one, each) for each in tries) if error is not None]
        if len(failed) == len(tries):
            yield failed[0].where, failed[0].problem


def _failure(one: Compiled, values: Mapping[str, Any]) -> Unrenderable | None:
    try:
        content(one.rendering.draft(values))
    except Unrenderable as error:
        return error
    return None


def capabilities(profile: Profile, *, to_irp: bool) -> TargetCapabilities:
    """Return what the IRP can do by its profile, and may by `close.to_irp`."""
    if profile.mode == "pull":
        return TargetCapabilities(pulls=True, can_find=False, may_close=to_irp)
    settle = profile.find.settle if profile.find else FindOperation.model_fields["settle"].default
    carrying = {name for name, one in compile_profile(profile).items() if one.rendering.event_fields}
    return TargetCapabilities(
        can_find=profile.find is not None,
        can_update=profile.update is not None,
        create_carries_events="create" in carrying,
        update_carries_events="update" in carrying,
        batch=profile.add_events.batch if profile.add_events else None,
        may_close=to_irp and profile.close is not None,
        can_comment=profile.comment is not None,
        audit_comments=profile.heading.audit_comments,
        settle=settle,
    )


def _closed_when(profile: Profile) -> Mapping[str, str]:
    """Return the expressions by operation; `find` borrows that of `list_closed`."""
    listed = profile.list_closed.closed_when if profile.list_closed else ""
    found = profile.find.closed_when if profile.find else ""
    return {"find": found or listed, "list_closed": listed}


def _missing(profile: Profile) -> Iterator[str]:
    if profile.get and not (profile.get.extract.fields or profile.get.extract.free):
        yield "get.extract is empty: say which fields or values are to be read"
    for name, operation in profile.operations.items():
        for part in _MUST_EXTRACT.get(name, ()):
            if not getattr(operation.extract, part):
                yield f"{name}.extract.{part} is missing"
        if isinstance(operation, ListClosedOperation):
            if not (operation.extract.id or operation.extract.key):
                yield "list_closed.extract.id is missing (or key)"
            if not operation.closed_when:
                yield "list_closed.closed_when is missing"


def _refuse(profile: Profile, problems: Sequence[str], key: str) -> None:
    """Raise ConfigError where there is a problem; it names them all."""
    errors = [ConfigError(key, f"{profile.source}: {problem}") for problem in problems]
    if errors:
        raise ConfigError(key, errors[0].problem, others=errors[1:])
