"""What a write that failed says about the link: it may have happened, or it certainly did not.

Must not: send, or store.
"""

from __future__ import annotations

from kuma_sync.core import delivery
from kuma_sync.core.delivery import Desk
from kuma_sync.core.errors import Permanent, Redirected, RemoteError, Transient
from kuma_sync.core.incident import Link
from kuma_sync.daemon.side import SideStopped

_NOWHERE = (404, 405, 410)


def surely_not(error: RemoteError | SideStopped) -> bool:
    """Tell whether the write certainly did not happen."""
    cause = error.cause if isinstance(error, SideStopped) else error
    return not (isinstance(cause, Transient | Redirected) and cause.ambiguous)


def after_failed_create(link: Link, error: RemoteError | SideStopped, desk: Desk) -> Link:
    """Keep the intent where the create may have happened; take it back where it certainly did not."""
    if surely_not(error) or (isinstance(error, SideStopped) and _taken_for_a_gate(error.cause, desk)):
        return delivery.refused(link, desk)
    return delivery.unidentified(link) if isinstance(error, Transient) and error.unidentified else link


def _taken_for_a_gate(cause: RemoteError | None, desk: Desk) -> bool:
    # Where nobody can look, a doubt parks the job, and each trial would park one more: 302 is what a login answers.
    return not desk.can_find and cause is not None and cause.status == 302


def wrong_address(operation: str, error: Permanent, *, known: bool, sure: bool) -> bool:
    """Tell whether an operation was refused for its address, so that all others of its kind would be.

    `known` says that this address has worked; `sure`, that the incident is there, or that nobody can look. An incident
    has an address of its own, and 404 is also what a deleted one is answered with.
    """
    if operation in ("create", "find"):
        return error.status in _NOWHERE
    return not known and (error.status == 405 or (sure and error.status in _NOWHERE))
