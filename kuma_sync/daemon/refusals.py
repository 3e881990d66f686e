"""What a write that failed says about the link: it may have happened, or it certainly did not.

Must not: send, or store.
"""

from __future__ import annotations

from kuma_sync.core import delivery
from kuma_sync.core.delivery import Desk
from kuma_sync.core.errors import Permanent, RemoteError, Transient
from kuma_sync.core.incident import Link
from kuma_sync.daemon.side import SideStopped


def surely_not(error: RemoteError | SideStopped) -> bool:
    """Tell whether the write certainly did not happen."""
    return not (isinstance(error, Transient) and error.ambiguous)


def after_failed_create(link: Link, error: RemoteError | SideStopped, desk: Desk) -> Link:
    """Keep the intent where the create may have happened; take it back where it certainly did not."""
    if surely_not(error):
        return delivery.refused(link, desk)
    return delivery.unidentified(link) if isinstance(error, Transient) and error.unidentified else link


def wrong_path(error: Permanent) -> bool:
    """Tell whether a create was refused for its address, so that all others would be."""
    return error.status in (404, 405) or (error.status is not None and 300 <= error.status < 400)
