"""The family of errors. Each carries the decision that follows from it; none carries a secret or an alert's content.

KumaSyncError
├── ConfigError            wrong configuration or usage: exit 2, one sentence naming the key
├── StoreError             the store cannot be used as it is: exit 1
│   ├── StoreUnavailable   out of reach right now: loops wait, claims are kept
│   ├── NewerSchema        written by a newer version
│   └── StoreHeld          another daemon holds it
├── ClaimLost              somebody else owns this job or this turn now: let go of it, write nothing
└── RemoteError            KUMA or the IRP
    ├── Transient          try again later; `ambiguous` when the effect may have happened
    ├── Permanent          this request will never work: park it
    └── AccessDenied       401 or 403: judge the token, then stop that side or park that one job
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


class KumaSyncError(Exception):
    """Everything this program raises on purpose. `str()` of it may be shown to a user as it stands."""


class ConfigError(KumaSyncError):
    """A configuration key (or a command's argument) is not as it must be."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


class StoreError(KumaSyncError):
    """The store cannot be used as it is."""


class StoreUnavailable(StoreError):
    """The store is out of reach right now; nothing is lost, the caller waits and tries again.

    `key` is that of the configuration which may be wrong; "" where it is none's matter.
    """

    def __init__(self, problem: str, *, key: str = "") -> None:
        super().__init__(problem)
        self.key = key


class NewerSchema(StoreError):
    """A newer version of the program wrote this store."""


class StoreHeld(StoreError):
    """Another daemon holds this store."""


class ClaimLost(KumaSyncError):
    """The lease on a job, or the reader's turn, went to somebody else meanwhile."""


class TooManyWait(KumaSyncError):
    """As many callers wait for KUMA's answer as may; nothing was stored."""


@dataclass(kw_only=True, eq=False, repr=False)
class RemoteError(KumaSyncError):
    """KUMA or the IRP did not do what was asked.

    `summary` is ours and safe to log. `detail` is what the other side answered, at most 300 characters: for the
    record of one job only, never for a log.
    """

    remote: str
    operation: str
    summary: str
    status: int | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        super().__init__(f"{self.remote} {self.operation}: {self.summary}")
        self.detail = self.detail[:300]


@dataclass(kw_only=True, eq=False, repr=False)
class Transient(RemoteError):
    """Worth trying again.

    `retry_after` is the other side's own wish. `ambiguous` says that the effect may have happened although no proper
    answer came; `unidentified` that the answer was a success without the incident's id.
    """

    retry_after: timedelta | None = None
    ambiguous: bool = False
    unidentified: bool = False


class Permanent(RemoteError):
    """This request, sent again unchanged, would be refused again."""


class AccessDenied(RemoteError):
    """401 or 403: the token is refused, or this one request is not allowed."""
