"""Requests towards the IRP, timed and counted by how they ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from kuma_sync.core.errors import AccessDenied, Redirected, RemoteError, Transient
from kuma_sync.telemetry.metrics import Metrics


@contextmanager
def timed(metrics: Metrics, operation: str, *, target: str) -> Iterator[None]:
    """Count one request to a target: ok, transient, ambiguous, denied or refused."""
    started = time.monotonic()
    result = "ok"
    try:
        yield
    except RemoteError as error:
        result = _result(error)
        raise
    finally:
        metrics.delivery_seconds.labels(operation=operation, target=target).observe(time.monotonic() - started)
        metrics.deliveries.labels(operation=operation, result=result, target=target).inc()
        if result == "ambiguous":
            metrics.ambiguous.labels(target=target).inc()


def _result(error: RemoteError) -> str:
    match error:
        case Transient(ambiguous=True) | Redirected(ambiguous=True):
            return "ambiguous"
        case Transient():
            return "transient"
        case AccessDenied():
            return "denied"
        case _:
            return "refused"
