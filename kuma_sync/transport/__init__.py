"""HTTP: one client a remote; every failure becomes Transient, Permanent or AccessDenied here."""

from kuma_sync.transport.auth import BasicAuth, QueryAuth, TokenAuth, header_text
from kuma_sync.transport.client import RemoteClient, Stream
from kuma_sync.transport.endpoint import Endpoint
from kuma_sync.transport.login import LoginAuth, Session
from kuma_sync.transport.response import Answer, Outgoing, media_type, refusal

__all__ = [
    "Answer",
    "BasicAuth",
    "Endpoint",
    "LoginAuth",
    "Outgoing",
    "QueryAuth",
    "RemoteClient",
    "Session",
    "Stream",
    "TokenAuth",
    "header_text",
    "media_type",
    "refusal",
]
