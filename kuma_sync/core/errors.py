"""The family of errors. Each carries the decision that follows from it; none carries a secret or an alert's content.

KumaSyncError
├── ConfigError            wrong configuration or usage: exit 2, one sentence naming the key
├── StoreError             the store cannot be used as it is: exit 1
│   ├── StoreUnavailable   out of reach right now: loops wait, claims are kept
│   │   └── StoreReplaced  another file is in its place: as above, and the process ends
│   ├── ValueRefused       it works, but takes no value of this row: its neighbours go on
│   ├── NewerSchema        written by a newer version
│   └── StoreHeld          another daemon holds it
├── UsedAlready            a form of the console was sent a second time: nothing is done
├── ClaimLost              somebody else owns this job or this lease now: let go of it, write nothing
└── RemoteError            KUMA or the IRP
    ├── Transient          try again later; `ambiguous` when the effect may have happened
    ├── Permanent          this request will never work: park it
    │   └── NotAllowed     401 or 403 on this one request, though the token is accepted: once more, then park it
    ├── AccessDenied       401 or 403: judge the token, then pause that remote or park that one job
    └── Redirected         a write was answered with a redirect: pause that remote
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}
)


def speaks_no_tls(reason: str | None) -> bool:
    """Tell whether the other side does not speak TLS at all."""
    return reason in _NO_TLS


def is_alert(reason: str | None) -> bool:
    """Tell whether the other side refused in TLS's own words: so it speaks TLS."""
    return "ALERT" in (reason or "")


class KumaSyncError(Exception):
    """Everything this program raises on purpose. `str()` of it may be shown to a user as it stands."""


class ConfigError(KumaSyncError):
    """A configuration key (or a command's argument) is not as it must be; `others` were found at the same time."""

    def __init__(self, key: str, problem: str, *, others: Sequence[ConfigError] = ()) -> None:
        self.key = key
        self.problem = problem
        self.others = tuple(others)
        more = f" ({len(others)} more: `kuma-sync config check` lists them)" if others else ""
        super().__init__(self.line + more)

    @property
    def line(self) -> str:
        """Return this problem alone, as one line."""
        return f"{self.key}: {self.problem}" if self.key else self.problem

    @property
    def lines(self) -> list[str]:
        """Return every problem, a line each."""
        return [self.line, *(one.line for one in self.others)]


class StoreError(KumaSyncError):
    """The store cannot be used as it is."""


class StoreUnavailable(StoreError):
    """The store is out of reach right now; nothing is lost, the caller waits and tries again.

    `key` is that of the configuration which may be wrong; "" where it is none's matter.
    """

    def __init__(self, problem: str, *, key: str = "") -> None:
        super().__init__(problem)
        self.key = key


class StoreReplaced(StoreUnavailable):
    """Another store is in the place of the one that was opened, and that will not change: the process must end."""


class ValueRefused(StoreError):
    """The database refuses a value: one row is at fault, its neighbours are not."""


class NewerSchema(StoreError):
    """A newer version of the program wrote this store."""


class StoreHeld(StoreError):
    """Another daemon holds this store."""


class ClaimLost(KumaSyncError):
    """The lease on a job, or the leader's lease, went to somebody else meanwhile."""


class UsedAlready(KumaSyncError):
    """This form of the console was sent before; nothing is done a second time."""


class TooManyWait(KumaSyncError):
    """As many callers wait for KUMA's answer as may; nothing was stored."""


class NotAsked(KumaSyncError):
    """KUMA is not asked now, and may be in `seconds`; nothing was sent."""

    def __init__(self, problem: str, *, seconds: float) -> None:
        super().__init__(problem)
        self.seconds = seconds


class NotTheirs(KumaSyncError):
    """The alert belongs to another target than the one that asks for it, or wants it closed; nothing was stored."""


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


class NotAllowed(Permanent):
    """This one request was answered 401 or 403, although the token is accepted."""


class AccessDenied(RemoteError):
    """401 or 403: the token is refused, or this one request is not allowed."""


@dataclass(kw_only=True, eq=False, repr=False)
class Redirected(RemoteError):
    """A write was answered with a redirect: its address is wrong, or something in front of the remote answered.

    `ambiguous` as in Transient: 302 and 303 are also how a server ends a request that it carried out.
    """

    ambiguous: bool = False
