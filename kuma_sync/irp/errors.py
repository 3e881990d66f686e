"""What can go wrong in this room only: a template that does not work, and refusals that say what to do next."""

from __future__ import annotations

from kuma_sync.core.errors import Permanent, Transient


class Unrenderable(Exception):
    """A template cannot be compiled or rendered.

    `where` is its place in the profile (`create.body.title`). `problem` may quote a value of the alert: for the record
    of one job, and for the built-in sample.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where)
        self.where = where
        self.problem = problem


class Duplicate(Permanent):
    """The IRP refused a create because the incident exists already: find it and link it."""


class Missing(Permanent):
    """The IRP does not know this incident: find it again."""


class Absent(Missing):
    """`find` was answered, by `missing_when`, that no such incident is there."""


class TooLarge(Permanent):
    """The request is larger than the IRP takes: with fewer events it may pass."""


class Outdated(Transient):
    """412: the incident is no longer as we read it before this write. Read again, it may pass."""
