"""The state that survives a reload: store, reports, owner, sweeps, and waits that remotes asked for."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kuma_sync import __version__
from kuma_sync.settings.sections import KumaSection
from kuma_sync.store import Process, Store
from kuma_sync.sync.closing.intake import Waiters
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.polling.recorder import Swept
from kuma_sync.sync.remote.maintenance import Paused
from kuma_sync.sync.remote.rate import RetryAfter
from kuma_sync.telemetry.certificates import Certificates
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics

Asked = tuple[frozenset[str], frozenset[str]]
"""The statuses and tenants that KUMA is asked for."""


def new_owner() -> str:
    """Return a token that no other process start ever had."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedState:
    """The state that one runtime leaves to the next."""

    store: Store
    limits: Limits = field(default_factory=Limits)
    health: Health = field(default_factory=lambda: Health(monotonic=time.monotonic))
    metrics: Metrics = field(default_factory=Metrics)
    certificates: Certificates = field(default_factory=Certificates)
    waiters: Waiters = field(default_factory=lambda: Waiters(most=0))
    """Callers of the close API that wait for KUMA's answer."""

    owner: str = field(default_factory=new_owner)
    waits: defaultdict[str, RetryAfter] = field(default_factory=lambda: defaultdict(RetryAfter))
    paused: Paused = field(default_factory=Paused)
    swept: defaultdict[Asked, Swept] = field(default_factory=lambda: defaultdict(Swept))
    profiles: set[tuple[str, str]] = field(default_factory=set)
    """Targets, with digests of their profiles so far: a profile that comes back was chosen by a human again."""

    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def process(self, *, single_pass: bool = False) -> Process:
        """Return this process as its heartbeat describes it."""
        return Process(
            owner=self.owner,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started_at=self.started_at,
            single_pass=single_pass,
        )

    def swept_of(self, kuma: KumaSection) -> Swept:
        """Return the sweeps with these statuses and tenants; sweeps with others prove nothing about them."""
        return self.swept[frozenset(kuma.statuses), frozenset(kuma.tenants)]
