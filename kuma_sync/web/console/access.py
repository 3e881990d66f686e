"""Who looks at the console, and how the console turns somebody away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from starlette.requests import HTTPConnection

from kuma_sync.core.sentence import Sentence

SIGN_IN = "/sign-in"
"""The address of the sign-in page."""

_OURS = re.compile(r"/(?![/\\])[^\x00-\x1f\x7f\\]*")


class Role(StrEnum):
    """What somebody may do: a viewer looks, an operator also orders."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Somebody who is signed in.

    `key` stands for the session: forms belong to it. `digest` names its row in the store; None for a user whom a
    reverse proxy vouches for, who has none.
    """

    name: str
    role: Role
    key: str
    digest: bytes | None = None

    @property
    def by(self) -> str:
        """Return the name for the audit trail."""
        return f"console:{self.name}"

    @property
    def orders(self) -> bool:
        """Tell whether this is an operator."""
        return self.role is Role.OPERATOR


class NotDone(Exception):  # it is an answer, not a fault
    """A page that says in words why something was not shown or not done."""

    def __init__(
        self, status: int, title: str, *why: Sentence, retry_after: float | None = None, sign_in: bool = False
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.why: Sequence[Sentence] = why
        self.retry_after = retry_after
        self.sign_in = sign_in


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleLimits:
    """The times and counts of the console."""

    form: timedelta = timedelta(hours=1)
    """How long a form that was shown may be sent."""

    wrong: int = 5
    """Wrong passwords of one user from one address within `wrong_within`, in all copies together; then a wait."""

    wrong_within: timedelta = timedelta(minutes=1)

    remembered: int = 10_000
    """Users and addresses that must wait, as each copy remembers them: of more the oldest are looked up anew."""

    passwords_waiting: int = 8
    """Sign-ins that wait for their turn: one password is verified at a time, for each takes 20 MB and a processor."""

    provider: timedelta = timedelta(seconds=10)
    """How long the provider of OpenID Connect may take for an answer."""

    provider_known: timedelta = timedelta(hours=1)
    """How long what the provider says about itself is believed without asking again."""


def next_of(text: str) -> str:
    """Return where to go on: an address of this console; the first page for anything else."""
    return text if _OURS.fullmatch(text) else "/"


def viewer_of(request: HTTPConnection) -> Viewer | None:
    """Return who looks at a page, as it was found out for this request."""
    found: Viewer | None = getattr(request.state, "viewer", None)
    return found
