"""Alerts for the simulators: made from a seed, so that a seed gives the same day again, or read from a file.

Shapes after KUMA help 217941 (events), 217780 (correlation events), 222254 (alerts). The values hold texts
that break parsers: braces, quotes and backslashes inside strings, Cyrillic, integers beyond 2^53.
"""

from __future__ import annotations

import gzip
import json
import random
import uuid
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from kuma_sync.sim.values import Json, SimError, whole_second

TENANTS = ("Main", "Филиал Казань", "Дочернее общество «Восток»")
PRIORITIES = ("low", "medium", "high", "critical")
RULES = (
    "R001. Подбор пароля",
    "R014. Запуск PowerShell с закодированной командой",
    "R022. Вход под служебной учётной записью вне рабочего времени",
    "R035. Outbound transfer of unusual size",
    'R041. Доступ к "lsass.exe" {credential dumping}',
    "R058. SSH brute force from one address",
    "R063. Изменение группы Domain Admins",
    "R077. Malware found & not removed <EPP>",
)

USERS = ("svc-backup", "i.petrova", "EXAMPLE\\administrator", "root", "a.смирнов")
HOSTS = ("dc01.example.test", "ws-0117.example.test", "mail.example.test", "db-2.example.test")


def dice(seed: int) -> random.Random:
    """Give a source of repeatable chance."""
    return random.Random(seed)  # noqa: S311  # repeatable content, no secret


def tenant_id(name: str) -> str:
    """Tell the id of a tenant by its name: always the same for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"tenant {name}"))


class Content:
    """Make alerts, events, assets and accounts out of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = dice(seed)

    def uuid(self) -> str:
        """Make an id in KUMA's form."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def alert(self, *, seen: datetime, name: str | None, priority: str | None, tenant: str | None) -> Json:
        """Make an alert without events: the fifteen keys of KUMA's item, in KUMA's order."""
        rule = name or self.random.choice(RULES)
        owner = tenant or self.random.choice(TENANTS)
        return {
            "id": self.uuid(),
            "tenantID": tenant_id(owner),
            "tenantName": owner,
            "name": rule,
            "correlationRuleID": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"rule {rule}")),
            "priority": priority or self.random.choice(PRIORITIES),
            "status": "new",
            "firstSeen": whole_second(seen),
            "lastSeen": whole_second(seen),
            "assignee": "",
            "closingReason": "",
            "overflow": False,
            "events": [],
            "affectedAssets": [self._asset(owner)],
            "affectedAccounts": [self._account()],
        }

    def correlation_event(self, alert: Json, at: datetime) -> Json:
        """Make one more correlation event of an alert, with one to three base events inside."""
        base = [self._base_event(alert, at - timedelta(seconds=2)) for _ in range(self.random.randint(1, 3))]
        return {
            "ID": self.uuid(),
            "Type": 3,
            "Timestamp": _epoch_ms(at),
            "TenantID": alert.get("tenantID", ""),
            "ServiceName": "Correlator 1",
            "Name": alert.get("name", ""),
            "Priority": self.random.randint(1, 4),
            "DeviceVendor": "Kaspersky",
            "DeviceProduct": "KUMA",
            "CorrelationRuleID": alert.get("correlationRuleID", ""),
            "CorrelationRuleName": alert.get("name", ""),
            "GroupedBy": ["SourceAddress", "DestinationUserName"],
            "SourceAddress": base[0]["SourceAddress"],
            "DestinationUserName": base[0]["DestinationUserName"],
            "BaseEventCount": len(base),
            "BaseEvents": base,
        }

    def _base_event(self, alert: Json, at: datetime) -> Json:
        special = self.random.choice(_KINDS)(self.random)
        return {
            "ID": self.uuid(),
            "Type": 1,
            "Timestamp": _epoch_ms(at),
            "TenantID": alert.get("tenantID", ""),
            "DeviceHostName": self.random.choice(HOSTS),
            "SourceAddress": f"192.0.2.{self.random.randint(1, 254)}",
            "SourcePort": self.random.randint(1024, 65535),
            "DestinationUserName": self.random.choice(USERS),
            **special,
        }

    def _asset(self, tenant: str) -> Json:
        host = self.random.choice(HOSTS)
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, host)),
            "tenantID": tenant_id(tenant),
            "tenantName": tenant,
            "name": host.partition(".")[0],
            "fqdn": host,
            "ipAddresses": [f"198.51.100.{self.random.randint(1, 254)}"],
            "macAddresses": ["00:00:5e:00:53:0a"],
            "owner": "",
            "os": self.random.choice([{"name": "Windows Server", "version": 2**63 - 1}, None]),
            "software": [],
            "vulnerabilities": [],
            "ksc": None,
            "created": "2024-11-05T10:00:00Z",
            "updated": "2025-02-28T23:10:00Z",
        }

    def _account(self) -> Json:
        user = self.random.choice(USERS)
        return {
            "displayName": user,
            "cn": user,
            "dn": f"CN={user},OU=Служебные,DC=example,DC=test",
            "upn": f"{user}@example.test",
            "sAMAccountName": user,
            "company": "",
            "department": "",
            "created": "2024-01-10T07:00:00Z",
            "updated": "2025-02-28T23:10:00Z",
        }


def _epoch_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _windows_logon(chance: random.Random) -> Json:
    return {
        "Name": "An account failed to log on",
        "DeviceVendor": "Microsoft",
        "DeviceProduct": "Windows",
        "DeviceEventClassID": "4625",
        "EventOutcome": "failure",
        "DeviceCustomString4": "NtLmSsp ",
        "DeviceCustomString4Label": "LogonProcess",
        "Extra": {"Keywords": "0x8010000000000000", "LogonGuid": f"{{{uuid.UUID(int=chance.getrandbits(128))}}}"},
    }


def _windows_process(chance: random.Random) -> Json:
    return {
        "Name": "A new process has been created",
        "DeviceVendor": "Microsoft",
        "DeviceProduct": "Windows",
        "DeviceEventClassID": "4688",
        "DestinationProcessName": "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe",
        "Message": 'Creator:\r\n\tCommand: powershell -c "& {iex \'{\\"a\\":[\\"}]\\"]}\'}" \\\\dc01\\c$\\',
        "FileHash": f"{chance.getrandbits(256):064x}",
        "DeviceCustomNumber1": chance.randint(2**53, 2**63 - 1),
    }


def _linux_ssh(chance: random.Random) -> Json:
    return {
        "Name": "sshd: Failed password",
        "DeviceVendor": "Linux",
        "DeviceProduct": "auditd",
        "Message": f'Failed password for "админ" from ::1 port {chance.randint(1024, 65535)} ssh2 [preauth] {{',
        "Reason": "Неверный пароль",
        "EventOutcome": "failure",
    }


def _proxy(chance: random.Random) -> Json:
    return {
        "Name": "CONNECT",
        "DeviceVendor": "Squid",
        "DeviceProduct": "Proxy",
        "RequestUrl": 'https://storage.example.net/upload?name=отчёт&part={1}#"q"',
        "DestinationAddress": f"203.0.113.{chance.randint(1, 254)}",
        "BytesOut": chance.randint(2**53 + 1, 2**62),
        "DeviceCustomFloatingPoint1": 0.1,
    }


_KINDS: tuple[Callable[[random.Random], Json], ...] = (_windows_logon, _windows_process, _linux_ssh, _proxy)


def read_alerts(path: str | Path) -> list[Json]:
    """Read FILE.json or FILE.json.gz with a bare array of alerts; raise SimError with the file and the mistake."""
    file = Path(path)
    try:
        raw = file.read_bytes()
        alerts = json.loads(gzip.decompress(raw) if file.suffix == ".gz" else raw)
    except OSError as error:
        raise SimError(f"{file}: {error.strerror or 'not a gzip file'}") from error
    except (EOFError, zlib.error) as error:
        raise SimError(f"{file}: a damaged gzip file") from error
    except ValueError as error:
        raise SimError(f"{file}: not JSON in UTF-8") from error
    if not isinstance(alerts, list):
        raise SimError(f"{file}: expected a JSON array of alerts, as KUMA answers it")
    for position, alert in enumerate(alerts):
        if not isinstance(alert, dict) or not alert.get("id"):
            raise SimError(f"{file}: element {position} is no alert with an id")
    return alerts
