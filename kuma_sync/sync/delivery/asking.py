"""How a delivery asks its IRP: while its claim is valid, at the allowed rate, through the gates; what failures mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from kuma_sync.core.errors import Permanent, Redirected, RemoteError, Transient
from kuma_sync.core.steps import TargetCapabilities
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.rendering import Draft
from kuma_sync.sync.delivery.meter import timed
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.remote.gates import Asking, RemoteGates
from kuma_sync.telemetry.metrics import Metrics

_NOWHERE = (404, 405, 410)
_READS = ("find", "get")

T = TypeVar("T")


def surely_not(error: RemoteError | GateClosed) -> bool:
    """Tell whether the write certainly did not happen."""
    cause = error.cause if isinstance(error, GateClosed) else error
    return not (isinstance(cause, Transient | Redirected) and cause.ambiguous)


def wrong_address(operation: str, error: Permanent, *, known: bool, sure: bool) -> bool:
    """Tell whether an operation was refused for its address, so that all others of its kind would be.

    `known` says that this address has worked; `sure`, that the incident is there, or that nobody can look. An incident
    has an address of its own, and 404 is also what a deleted one is answered with.
    """
    if operation in ("create", "find"):
        return error.status in _NOWHERE
    return not known and (error.status == 405 or (sure and error.status in _NOWHERE))


class Asker:
    """Sends the requests of one target's deliveries."""

    def __init__(
        self, *, target: str, irp: IrpClient, gates: RemoteGates, capabilities: TargetCapabilities, metrics: Metrics
    ) -> None:
        self.irp = irp
        self.gates = gates
        self.capabilities = capabilities
        self._target = target
        self._metrics = metrics

    async def ask(self, operation: str, job: LeasedJob, send: Callable[[], Awaitable[T]]) -> T:
        """Send a request; raise GateClosed or RemoteError."""
        asking = Asking(
            kind=operation,
            subject=job.claim.subject,
            nowhere=partial(self._nowhere, operation, job),
            reads=operation in _READS,
        )
        return await self.gates.ask(asking, partial(self._timed, operation, job, send))

    async def ask_aside(self, operation: str, job: LeasedJob, send: Callable[[], Awaitable[T]]) -> T:
        """Send a request whose failure stops nothing else; raise GateClosed or RemoteError."""
        return await self.gates.ask_aside(partial(self._timed, operation, job, send))

    async def write(self, job: LeasedJob, draft: Draft) -> None:
        """Send a change of an incident."""
        await self.ask(draft.operation, job, partial(self.irp.write, draft))
        failpoint("incident_close_answered" if draft.operation == "close" else f"{draft.operation}_answered")

    async def _timed(self, operation: str, job: LeasedJob, send: Callable[[], Awaitable[T]]) -> T:
        job.ensure_valid()
        with timed(self._metrics, operation, target=self._target):
            return await send()

    def _nowhere(self, operation: str, job: LeasedJob, error: Permanent) -> str:
        # An incident has an address of its own: whether that is wrong, or the incident gone, `find` tells.
        sure = job.missed == operation or self.gates.kinds[operation].stands_still() or not self.capabilities.can_find
        if not wrong_address(operation, error, known=operation in self.gates.known, sure=sure):
            return ""
        return f"{operation} {error.summary} at {self.irp.address(operation)}: is the profile's path right?"
