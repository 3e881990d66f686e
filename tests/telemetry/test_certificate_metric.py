"""The ends of certificates as the metric shows them, with one target and with several."""

from __future__ import annotations

from datetime import UTC, datetime

from kuma_sync.telemetry.certificates import DOOR, Certificates
from kuma_sync.telemetry.metrics import Metrics

END = datetime(2027, 1, 1, tzinfo=UTC)


def shown(metrics: Metrics) -> set[str]:
    name = "kuma_sync_certificate_expires_timestamp_seconds"
    lines = metrics.render().decode().splitlines()
    return {line.removeprefix(name).split()[0] for line in lines if line.startswith(name)}


def test_no_certificate_has_no_series() -> None:
    assert shown(Metrics()) == set()


def test_each_side_has_its_own_with_the_target_where_there_are_several() -> None:
    metrics = Metrics()
    certificates = Certificates(metrics)
    for part in ("kuma", "irp", "irp:north", DOOR):
        certificates.of(part)(END)

    assert shown(metrics) == {'{remote="kuma"}', '{remote="irp"}', '{remote="door"}'}
    metrics.expect_targets(["irp", "north"])
    assert shown(metrics) == {
        '{remote="kuma"}',
        '{remote="irp",target="irp"}',
        '{remote="irp",target="north"}',
        '{remote="door"}',
    }


def test_those_of_sides_that_are_gone_are_forgotten() -> None:
    metrics = Metrics()
    certificates = Certificates(metrics)
    for part in ("kuma", "irp"):
        certificates.shown(part, END)

    certificates.keep({"kuma"})

    assert set(certificates.ends) == {"kuma"}
    assert shown(metrics) == {'{remote="kuma"}'}
