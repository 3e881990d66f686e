"""HTTP: one client a remote; every failure becomes Transient, Permanent or AccessDenied here."""

from kuma_sync.transport.auth import TokenAuth
from kuma_sync.transport.client import RemoteClient, Stream
from kuma_sync.transport.endpoint import Endpoint
from kuma_sync.transport.response import Answer, Outgoing, media_type, refusal

__all__ = ["Answer", "Endpoint", "Outgoing", "RemoteClient", "Stream", "TokenAuth", "media_type", "refusal"]
