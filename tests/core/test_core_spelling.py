"""Spellings: what counts as the same key or id, and what does not."""

from __future__ import annotations

import pytest
from builders import ALERT_ID, a_link, an_incident
from hypothesis import given, settings
from hypothesis import strategies as st

from kuma_sync.core.alert import AlertId, Fingerprint
from kuma_sync.core.incident import alert_of, external_key
from kuma_sync.core.link import DeliveredState, Doubt
from kuma_sync.core.text import alert_spellings, incident_spellings, same_incident_id, uuid_of

UUID = str(ALERT_ID)
RELAXED = settings(deadline=None)  # timings on a shared machine prove nothing


@pytest.mark.parametrize(
    "text",
    [
        UUID,
        UUID.upper(),
        f" {UUID} ",
        f"{{{UUID}}}",
        f"urn:uuid:{UUID}",
        f"URN:UUID:{UUID.upper()}",
        UUID.replace("-", ""),
    ],
)
def test_a_uuid_is_one_in_every_spelling(text: str) -> None:
    assert uuid_of(text) == UUID
    assert UUID in alert_spellings(text)
    assert UUID in incident_spellings(text)


@pytest.mark.parametrize(
    "text", ["", "17", "x7Q", UUID[:-1], UUID + "0", UUID.replace("5", "g"), UUID.replace("-", "_")]
)
def test_what_is_no_uuid_has_one_spelling_as_an_incident(text: str) -> None:
    assert uuid_of(text) is None
    assert incident_spellings(text) == (text,)


@RELAXED
@given(st.text(max_size=40))
def test_the_given_spelling_comes_first(text: str) -> None:
    assert alert_spellings(text)[0] == incident_spellings(text)[0] == text
    assert same_incident_id(text, text)


@pytest.mark.parametrize(("other", "same"), [("X7Q", False), ("x7Q", True)])
def test_ids_that_are_no_uuids_are_compared_exactly(other: str, same: bool) -> None:
    assert same_incident_id("x7Q", other) is same


@pytest.mark.parametrize("instance", ["kuma", "Msk", "Straße", "ИСТОК"])
@pytest.mark.parametrize("change", [str, str.upper, str.lower, lambda key: key + "  "])
def test_a_key_names_its_alert_in_whatever_case(instance: str, change: type[str]) -> None:
    named = alert_of(change(external_key(instance, ALERT_ID)), instance)

    assert named is not None
    assert ALERT_ID in alert_spellings(named)


@pytest.mark.parametrize("key", ["", "17", f"kuma:other:{ALERT_ID}", "KUMA:KUM", f"xkuma:kuma:{ALERT_ID}"])
def test_another_ones_key_names_no_alert(key: str) -> None:
    assert alert_of(key, "kuma") is None


def test_an_exact_key_names_its_alert_as_it_is_written() -> None:
    assert alert_of("kuma:kuma:Odd One", "kuma") == AlertId("Odd One")


def test_an_incident_missing_for_a_moment_and_back_in_capitals_is_the_same() -> None:
    sent = DeliveredState(fingerprint=Fingerprint("1:sent"), fields={"title": "t"})
    link = a_link(incident=an_incident(id=UUID), sent=sent, doubt=Doubt.MISSING)

    assert link.sent_to(an_incident(id=UUID.upper())) == sent
