"""Every metric of the contract, in a registry of its own.

No label ever holds an alert's id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from kuma_sync import __version__
from kuma_sync.core.routing import IRP, UNROUTED

TARGET = "target"
"""The label of what concerns one target. Alerts that no route takes have "no route" there, which names no target."""

_OF_PULL = ("kuma_sync_handed_out", "kuma_sync_last_asked_timestamp_seconds")
"""What there is for IRPs that poll us alone."""

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LONG_SECONDS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)

# Else the library adds a `_created` series to every counter, which doubles the number of names.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has not typed it


def _without_target(sample: Sample, *, named: bool) -> Sample:
    labels = {name: value for name, value in sample.labels.items() if name != TARGET or (named and value)}
    return sample._replace(labels=labels)


class Metrics:
    """The metrics, one attribute each, with the metric's name without prefix and suffix."""

    def __init__(self, *, version: str = __version__) -> None:
        self.registry = CollectorRegistry()
        self.polls = self._counter("polls", "Reads of KUMA.", "kind", "result")
        self.poll_seconds = self._histogram("poll_seconds", "How long a poll with all its reads took.", _SECONDS)
        self.poll_bytes = self._counter("poll_bytes", "Bytes received from KUMA's listings.")
        self.alerts = self._counter("alerts", "What reads brought: new, updated, left, rejected, missed.", "change")
        self.late_alerts = self._counter("late_alerts", "Alerts that KUMA published behind the watermark.")
        self.deliveries = self._counter("deliveries", "Attempts towards the IRP.", "operation", "result", TARGET)
        self.delivery_seconds = self._histogram(
            "delivery_seconds", "How long a request took.", _SECONDS, "operation", TARGET
        )
        self.closes = self._counter("closes", "Attempts to close an alert in KUMA.", "result")
        self.queue_depth = self._gauge("queue_depth", "Jobs in a queue.", "queue", "state", TARGET)
        self.queue_oldest_seconds = self._gauge(
            "queue_oldest_seconds", "Age of the oldest waiting job.", "queue", TARGET
        )
        self.parked = self._gauge("parked", "Jobs set aside for a human.", "queue", TARGET)
        self.ambiguous = self._counter("ambiguous", "Writes whose effect is unknown until `find` has told.", TARGET)
        self.end_to_end_seconds = self._histogram(
            "end_to_end_seconds", "From the read that saw a change to the IRP's answer.", _LONG_SECONDS, TARGET
        )
        self.last_success = self._gauge("last_success_timestamp_seconds", "When a part last succeeded.", "part", TARGET)
        self.handed_out = self._counter("handed_out", "New and changed alerts given to an IRP that polls us.", TARGET)
        self.last_asked = self._gauge("last_asked_timestamp_seconds", "When such an IRP last asked.", TARGET)
        self.clock_skew_seconds = self._gauge("clock_skew_seconds", "KUMA's clock less ours.")
        self.breaker_open = self._gauge("breaker_open", "1 while a side is paused.", "remote", TARGET)
        self.maintenance = self._gauge("paused", "1 while an operator has paused a part.", "part", TARGET)
        self.certificate_expires = self._gauge(
            "certificate_expires_timestamp_seconds", "When a certificate expires that was shown.", "remote", TARGET
        )
        self.brake_held = self._gauge("brake_held", "What the brake holds, and alerts without a route.")
        self.ready = self._gauge("ready", "1 while the process is ready, as `/readyz` says.")
        self.config_refused = self._gauge("config_refused", "1 while the configuration on disk is refused.")
        self._gauge("build_info", "1, with the version.", "version").labels(version=version).set(1)
        self._targets: Sequence[str] = ()
        self._longest: dict[str, float] = {}
        self.expect_targets([IRP])

    def expect_targets(self, targets: Sequence[str]) -> None:
        """Take over which targets there are; a label names the target unless there is the plain one alone."""
        self._targets = targets
        self._start_at_zero()

    def delivered(self, target: str, seconds: float) -> None:
        """Note that a change reached an IRP so many seconds after the read that saw it."""
        self.end_to_end_seconds.labels(target=target).observe(seconds)
        if seconds > self._longest.get(target, 0.0):
            self._longest[target] = seconds

    def take_longest(self) -> dict[str, float]:
        """Return the longest of these times by target since the last call: a histogram does not keep it."""
        longest, self._longest = self._longest, {}
        return longest

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the targets that there are, with the label `target` where it says something.

        What there is for IRPs that poll us alone always has it.

        Of a target that is gone the registry keeps the series: it goes on where the target comes back.
        """
        named = list(self._targets) != [IRP]
        nobodys = () if IRP in self._targets else (UNROUTED,)
        known = {"", *self._targets, *nobodys}
        for metric in self.registry.collect():
            shown = Metric(metric.name, metric.documentation, metric.type)
            ours = [sample for sample in metric.samples if sample.labels.get(TARGET, "") in known]
            shown.samples = [_without_target(sample, named=named or metric.name in _OF_PULL) for sample in ours]
            yield shown

    def _start_at_zero(self) -> None:
        """Create the series that may stay zero for long, so that alarms see them from the start."""
        for change in ("new", "updated", "left", "rejected", "missed"):
            self.alerts.labels(change=change)
        for queue, remote, target in (
            ("close", "kuma", ""),
            *(("delivery", "irp", target) for target in self._targets),
        ):
            self.parked.labels(queue=queue, target=target)
            self.queue_oldest_seconds.labels(queue=queue, target=target)
            self.breaker_open.labels(remote=remote, target=target)
        for target in self._targets:
            self.ambiguous.labels(target=target)
            self.end_to_end_seconds.labels(target=target)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"kuma_sync_{name}_total", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"kuma_sync_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"kuma_sync_{name}", meaning, labels, registry=self.registry, buckets=buckets)


def sums(metric: Counter | Histogram, suffix: str, label: str, **wanted: str) -> dict[str, float]:
    """Sum a metric's series up by the values of a label; `wanted` are values of other labels."""
    found: dict[str, float] = {}
    for family in metric.collect():
        for sample in family.samples:
            if sample.name.endswith(suffix) and wanted.items() <= sample.labels.items():
                name = sample.labels[label]
                found[name] = found.get(name, 0.0) + sample.value
    return found
