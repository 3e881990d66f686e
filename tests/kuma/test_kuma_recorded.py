"""Recorded attacks, as KUMA alerts, pass the splitter and the parser field for field."""

from __future__ import annotations

import gzip
import json
from datetime import datetime

from recorded import RECORDED, needs_recorded

from kuma_sync.core.privacy import Privacy
from kuma_sync.kuma.array_splitter import ArraySplitter
from kuma_sync.kuma.parse import Parsed, parse_alert


@needs_recorded
def test_recorded_alerts_are_read_field_for_field():
    document = gzip.decompress(RECORDED.read_bytes())
    expected = json.loads(document)

    splitter = ArraySplitter(max_size=32 << 20)
    elements = [item for at in range(0, len(document), 65536) for item in splitter.feed(document[at : at + 65536])]

    assert splitter.complete
    assert len(elements) == len(expected) == 20
    for element, alert in zip(elements, expected, strict=True):
        found = parse_alert(element.raw or b"", with_events=True, max_events=0, privacy=Privacy())
        assert isinstance(found, Parsed)
        assert found.left_out == ()
        assert element.alert_id_hint() == found.seen.alert.id == alert["id"]
        seen = found.seen.alert
        assert (seen.tenant_id, seen.tenant_name, seen.name) == (alert["tenantID"], alert["tenantName"], alert["name"])
        assert (seen.priority, seen.status) == (alert["priority"], alert["status"])
        assert (seen.rule_id, seen.assignee, seen.overflow) == (
            alert["correlationRuleID"],
            alert["assignee"],
            alert["overflow"],
        )
        assert seen.first_seen == datetime.fromisoformat(alert["firstSeen"])
        assert seen.last_seen == datetime.fromisoformat(alert["lastSeen"])
        assert found.seen.contents is not None
        assert list(found.seen.contents.events) == alert["events"]
        assert list(found.seen.contents.assets) == alert["affectedAssets"]
        assert list(found.seen.contents.accounts) == alert["affectedAccounts"]
