"""One of several IRPs whose secret or certificate cannot be read: it is left out, and the others are served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextvars import copy_context
from copy import deepcopy
from dataclasses import replace
from typing import Any

from kuma_sync.core.errors import ConfigError
from kuma_sync.core.routing import IRP
from kuma_sync.settings.secrets import FILE
from kuma_sync.settings.sections import IrpSection
from kuma_sync.settings.targets import configured
from kuma_sync.settings.types import GIVEN, Given
from kuma_sync.settings.types import table as parsed_table

Location = Sequence[str | int]
Finding = Mapping[str, Any]

_OF_FILES = {"secret_file": FILE, "file": ""}


def target_of(location: Location) -> str:
    """Return the name of the IRP that a finding is about, "" where it is about something else."""
    match location:
        case ("irp", *_):
            return IRP
        case ("targets", str() as name, _, *_):
            return name
        case _:
            return ""


def lacking_files(found: Iterable[Finding], tree: Mapping[str, Any]) -> dict[str, list[Finding]]:
    """Return what was found about files alone, by IRP; {} where something else is wrong, or no IRP is left over."""
    by_target: dict[str, list[Finding]] = {}
    for one in found:
        name = target_of(one["loc"])
        if not name or one["type"] not in _OF_FILES:
            return {}
        by_target.setdefault(name, []).append(one)
    return by_target if set(configured(tree)) - by_target.keys() else {}


def without_files(name: str, found: Iterable[Finding], given: Given) -> IrpSection:
    """Read the section of one IRP without the files that were found to be unreadable."""
    table = deepcopy(given.tree[IRP] if name == IRP else given.tree["targets"][name])
    for one in found:
        _drop(table, one)

    def read() -> IrpSection:
        # What needs the file (a key its certificate, a token its profile) is not asked for.
        GIVEN.set(replace(given, remotes=False))
        return IrpSection.model_validate(table)

    return copy_context().run(read)


def sentence(problems: Iterable[ConfigError]) -> str:
    """Return all that is wrong with one IRP."""
    return "; ".join(dict.fromkeys(problem.line for problem in problems))


def _drop(table: dict[str, Any], found: Finding) -> None:
    *tables, key = found["loc"][1 if found["loc"][0] == IRP else 2 :]
    for inner in tables:
        table[inner] = parsed_table(table[inner])
        table = table[inner]
    table.pop(f"{key}{_OF_FILES[found['type']]}", None)
