"""The metrics are those of the contract, with exactly those labels."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from kuma_sync import __version__
from kuma_sync.telemetry.metrics import Metrics

CONTRACT = {
    "polls_total": {"kind", "result"},
    "poll_seconds": set(),
    "poll_bytes_total": set(),
    "alerts_total": {"change"},
    "late_alerts_total": set(),
    "deliveries_total": {"operation", "result"},
    "delivery_seconds": {"operation"},
    "closes_total": {"result"},
    "queue_depth": {"queue", "state"},
    "queue_oldest_seconds": {"queue"},
    "parked": {"queue"},
    "ambiguous_total": set(),
    "end_to_end_seconds": set(),
    "last_success_timestamp_seconds": {"part"},
    "clock_skew_seconds": set(),
    "breaker_open": {"remote"},
    "brake_held": set(),
    "config_refused": set(),
    "ready": set(),
    "build_info": {"version"},
}


def shown(metrics: Metrics) -> dict[str, set[str]]:
    """Return the sample names without a histogram's suffixes, and their labels without a histogram's `le`."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            name = family.name if family.type == "histogram" else sample.name
            found.setdefault(name.removeprefix("kuma_sync_"), set()).update(set(sample.labels) - {"le"})
    return found


def test_every_metric_of_the_contract_is_there_with_exactly_its_labels() -> None:
    metrics = Metrics()

    metrics.polls.labels(kind="window", result="complete").inc()
    metrics.deliveries.labels(operation="create", result="ok", target="irp").inc()
    metrics.delivery_seconds.labels(operation="create", target="irp").observe(0.1)
    metrics.closes.labels(result="ok").inc()
    metrics.queue_depth.labels(queue="delivery", state="pending", target="irp").set(1)
    metrics.last_success.labels(part="poll", target="").set(1)

    assert shown(metrics) == CONTRACT
    assert f'kuma_sync_build_info{{version="{__version__}"}} 1.0' in metrics.render().decode()


def test_what_may_stay_zero_for_long_is_shown_from_the_start() -> None:
    text = Metrics().render().decode()

    for line in (
        'kuma_sync_alerts_total{change="rejected"} 0.0',
        'kuma_sync_parked{queue="close"} 0.0',
        'kuma_sync_breaker_open{remote="irp"} 0.0',
        "kuma_sync_ambiguous_total 0.0",
        "kuma_sync_config_refused 0.0",
    ):
        assert line in text.splitlines()


def test_two_sets_of_metrics_do_not_share_numbers() -> None:
    one, other = Metrics(), Metrics()

    one.ambiguous.labels(target="irp").inc()

    assert "kuma_sync_ambiguous_total 1.0" in one.render().decode()
    assert "kuma_sync_ambiguous_total 0.0" in other.render().decode()


def test_one_target_that_is_not_the_plain_one_is_named_and_shown_once() -> None:
    metrics = Metrics()
    metrics.expect_targets(["north"])
    metrics.queue_depth.labels(queue="delivery", state="held", target="no route").set(2)

    lines = series(metrics)

    assert 'kuma_sync_parked{queue="delivery",target="north"} 0.0' in lines
    assert 'kuma_sync_parked{queue="close"} 0.0' in lines
    assert 'kuma_sync_queue_depth{queue="delivery",state="held",target="no route"} 2.0' in lines
    assert not [line for line in lines if 'target="irp"' in line]


def test_what_an_irp_that_polls_asked_for_always_names_it() -> None:
    metrics = Metrics()
    metrics.expect_targets(["irp"])
    metrics.handed_out.labels(target="irp").inc()
    metrics.last_asked.labels(target="irp").set(5)

    lines = series(metrics)

    assert 'kuma_sync_handed_out_total{target="irp"} 1.0' in lines
    assert 'kuma_sync_last_asked_timestamp_seconds{target="irp"} 5.0' in lines


def test_a_target_that_is_gone_is_shown_no_more_and_goes_on_counting_when_it_is_back() -> None:
    metrics = Metrics()
    metrics.expect_targets(["irp", "north"])
    for target in ("irp", "north"):
        metrics.deliveries.labels(operation="create", result="ok", target=target).inc(3)
    metrics.queue_depth.labels(queue="delivery", state="held", target="no route").set(2)

    metrics.expect_targets(["irp"])
    alone = series(metrics)
    metrics.expect_targets(["irp", "north"])

    assert [line for line in alone if "deliveries_total" in line] == [
        'kuma_sync_deliveries_total{operation="create",result="ok"} 3.0'
    ]
    assert not [line for line in alone if "no route" in line]
    assert 'kuma_sync_deliveries_total{operation="create",result="ok",target="north"} 3.0' in series(metrics)


def series(metrics: Metrics) -> list[str]:
    """Return the lines of a scrape, of which none may appear twice: Prometheus would refuse all of it."""
    lines = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    names = [line.rpartition(" ")[0] for line in lines]
    assert len(names) == len(set(names))
    return lines
