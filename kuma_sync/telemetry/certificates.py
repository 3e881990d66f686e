"""When the certificates expire that remotes showed us, and our own: for the metric, notifications and `check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from kuma_sync.telemetry.health import Part, split_part
from kuma_sync.telemetry.metrics import Metrics

DOOR: Part = "door"
"""Our own door, among the remotes."""


class Certificates:
    """The ends of the certificates, by the part of the process that met them: `kuma`, `irp`, `irp:north`, `door`."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics
        self._ends: dict[Part, datetime] = {}

    @property
    def ends(self) -> Mapping[Part, datetime]:
        """Return when each expires; those of which none was shown yet are missing."""
        return self._ends

    def of(self, part: Part) -> Callable[[datetime], None]:
        """Return what takes the end of a part's certificate whenever one is shown."""
        return partial(self.shown, part)

    def shown(self, part: Part, end: datetime) -> None:
        """Note the end of a part's certificate."""
        self._ends[part] = end
        if self._metrics is not None:
            remote, target = split_part(part)
            self._metrics.certificate_expires.labels(remote=remote, target=target).set(end.timestamp())

    def keep(self, parts: set[Part]) -> None:
        """Forget all but these parts: a reload may have taken a target away, or its https."""
        for part in self._ends.keys() - parts:
            del self._ends[part]
            if self._metrics is not None:
                self._metrics.certificate_expires.remove(*split_part(part))
