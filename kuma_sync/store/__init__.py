"""The store: the only package that knows SQL."""

from kuma_sync.core.lanes import Lane
from kuma_sync.store.alerts import Shape, Shown
from kuma_sync.store.attempt import StoreLimits
from kuma_sync.store.audit import AuditEntry, PassRecord
from kuma_sync.store.copies import Heartbeat, Leadership, Process
from kuma_sync.store.engine import store_file, store_url
from kuma_sync.store.file import is_held
from kuma_sync.store.jobs import Claim, Job, Put, put_of
from kuma_sync.store.pruning import Mark
from kuma_sync.store.queue import DurableQueue
from kuma_sync.store.rejects import ParkedAlert
from kuma_sync.store.session import Store, Tx
from kuma_sync.store.targets import Identity, Joined

__all__ = [
    "AuditEntry",
    "Claim",
    "DurableQueue",
    "Heartbeat",
    "Identity",
    "Job",
    "Joined",
    "Lane",
    "Leadership",
    "Mark",
    "ParkedAlert",
    "PassRecord",
    "Process",
    "Put",
    "Shape",
    "Shown",
    "Store",
    "StoreLimits",
    "Tx",
    "is_held",
    "put_of",
    "store_file",
    "store_url",
]
