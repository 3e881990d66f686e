"""A built-in sample alert, so that templates can be tried before the first real one comes.

Must not: resemble anybody's data; addresses and names are those reserved for documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from kuma_sync.core.alert import (
    Alert,
    AlertId,
    AlertSnapshot,
    Contents,
    JsonObject,
    Observation,
    first_snapshot,
    take_contents,
)
from kuma_sync.core.incident import Incident, external_key
from kuma_sync.core.moments import rfc3339
from kuma_sync.irp.context import Subject, values
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.responses import Current

SAMPLE_NOW = datetime(2025, 3, 1, 9, 42, tzinfo=UTC)

_WEB_URL = "https://kuma.example.com:7220"
_ALERT = Alert(
    id=AlertId("5f0c2a3e-6b1d-4a77-9c55-2b7f0e4d1a01"),
    tenant_id="1a2b3c4d-0000-4000-8000-000000000001",
    tenant_name="Main",
    name="R001. Подбор пароля",
    rule_id="c0ffee00-1111-4222-8333-444455556666",
    priority="high",
    status="new",
    first_seen=datetime(2025, 3, 1, 8, 15, 2, tzinfo=UTC),
    last_seen=datetime(2025, 3, 1, 9, 41, 37, tzinfo=UTC),
    assignee="analyst",
    closing_reason="responded",
)
_RAW: JsonObject = {
    "id": _ALERT.id,
    "tenantID": _ALERT.tenant_id,
    "tenantName": _ALERT.tenant_name,
    "name": _ALERT.name,
    "correlationRuleID": _ALERT.rule_id,
    "priority": _ALERT.priority,
    "status": _ALERT.status,
    "firstSeen": "2025-03-01T08:15:02Z",
    "lastSeen": "2025-03-01T09:41:37Z",
    "assignee": _ALERT.assignee,
    "closingReason": _ALERT.closing_reason,
    "overflow": False,
}
_BASE_EVENT: JsonObject = {
    "ID": "e1111111-0000-4000-8000-000000000001",
    "Type": 1,
    "Timestamp": 1740822095000,
    "Name": "An account failed to log on",
    "DeviceHostName": "dc01.example.test",
    "SourceAddress": "192.0.2.15",
    "DestinationUserName": "svc-backup",
    "SourceNtDomain": "EXAMPLE",
    "DestinationAddress": "10.0.0.8",
    "FileName": "eicar.com",
    "FileHash": "MD5=44d88612fea8a8f36de82e1278abb02f,SHA1=3395856ce81f2b7382dee72602f798b642f14140",
    "RequestUrl": "https://example.test/login",
}
_EVENT: JsonObject = {
    "ID": "e1111111-0000-4000-8000-000000000002",
    "Type": 3,
    "Timestamp": 1740822097000,
    "Name": "R001. Подбор пароля",
    "BaseEventCount": 1,
    "BaseEvents": [_BASE_EVENT],
}
_ASSET: JsonObject = {
    "id": "a3333333-0000-4000-8000-0000000000aa",
    "name": "dc01",
    "fqdn": "dc01.example.test",
    "ipAddresses": ["192.0.2.10"],
}
_ACCOUNT: JsonObject = {"displayName": "Backup", "sAMAccountName": "svc-backup", "upn": "svc-backup@example.test"}
_LIST: Mapping[str, object] = {"since": rfc3339(SAMPLE_NOW), "offset": 0, "limit": 100, "page": 1}


def sample_subject(instance: str = "kuma") -> Subject:
    """Return a full alert with events, an asset, an account, and an incident that is to be closed."""
    taken = take_contents([_EVENT], assets=[_ASSET], accounts=[_ACCOUNT], max_events=0)
    contents = replace(taken, raw=_RAW)
    return _subject(first_snapshot(Observation(alert=_ALERT, contents=contents)), instance, contents)


def sparse_subject() -> Subject:
    """Return an alert that is nothing but an id and too large to be read: templates must live with it."""
    alert = Alert(id=_ALERT.id)
    return _subject(first_snapshot(Observation(alert=alert, oversize=True)), "kuma", None)


def sample_values(subject: Subject, options: Mapping[str, str]) -> dict[str, object]:
    """Return the values that every operation's templates need, all in one."""
    return {**values(subject, web_url=_WEB_URL, options=options, now=SAMPLE_NOW), **_LIST}


def sample_currents(profile: Profile) -> list[Current]:
    """Return what `get` might have read, in several kinds of values: nobody knows which kind the IRP's are."""
    if profile.get is None:
        return []
    names, fields = profile.get.extract.free, profile.get.extract.fields
    told = Current(
        values={name: f"<current.{name}>" for name in names},
        fields={name: f"<current.fields.{name}>" for name in fields},
    )
    kinds: tuple[object, ...] = (1, [], None)
    return [told, *(Current(values=dict.fromkeys(names, kind), fields=dict.fromkeys(fields, kind)) for kind in kinds)]


def _subject(snapshot: AlertSnapshot, instance: str, contents: Contents | None) -> Subject:
    return Subject(
        snapshot=snapshot,
        key=external_key(instance, snapshot.alert.id),
        contents=contents,
        events=contents.events if contents else (),
        incident=Incident(id="1001", number="INC-1001", url="https://sv.example.com/incidents/1001"),
        reason="responded",
        comment="Closed in KUMA",
    )
