"""THE WIRE: one HTTP client a remote; every HTTP failure becomes Transient, Permanent or AccessDenied here.

Must not: know KUMA's or an IRP's paths, bodies or words, log, or let an httpx exception (or its text) out.
"""

from kuma_sync.transport.answer import Answer, Outgoing, media_type, refusal
from kuma_sync.transport.endpoint import Endpoint
from kuma_sync.transport.stream import Stream
from kuma_sync.transport.wire import Wire

__all__ = ["Answer", "Endpoint", "Outgoing", "Stream", "Wire", "media_type", "refusal"]
