"""What analysts look for in an alert's contents: split, cleaned, each value once, and under the kind it belongs to."""

from __future__ import annotations

import gzip
import ipaddress
import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from builders import an_account, an_asset, an_event
from recorded import RECORDED, needs_recorded

from kuma_sync.core.alert import Contents
from kuma_sync.irp.observables import DEEPEST, KEYS, MARKS, Observables, observables

SHA1 = "4C7308C2A323D850C3E5DCB88A32A1C7DF9CBE4F"
MD5 = "A9BC5F3E3C6406C3C5ABE804FBF7BC76"
SHA256 = "A0177FD4B7690A680E5EAC9BDC78E21117B523622607BCA47305EB74984CF901"
IMPHASH = "0B8AFE4E5A1F6B1F1C9C0C4E5D2F3A71"
SYSMON = f"SHA1={SHA1},MD5={MD5},SHA256={SHA256},IMPHASH={IMPHASH}"


def found(*events: dict[str, Any], assets: Sequence[Any] = (), accounts: Sequence[Any] = ()) -> dict[str, list[str]]:
    """Gather, and leave out the kinds of which there is nothing."""
    contents = Contents(events=events, assets=tuple(assets), accounts=tuple(accounts))
    return {kind: values for kind, values in observables(contents).items() if values}


def test_values_come_once_as_first_seen_from_events_then_assets_then_accounts() -> None:
    base = an_event(ID="b", SourceAddress="10.0.0.9", DeviceHostName="dc01", FileHash="aa", RequestUrl="https://x/?a=1")
    events = (
        an_event(SourceAddress="10.0.0.8", DestinationAddress="10.0.0.7", BaseEvents=[base]),
        an_event(SourceUserName="root", OldFileHash="bb", FileHash="aa"),
    )
    assets = (an_asset(ipAddresses=["10.0.0.7", "10.0.1.1"]), an_asset(fqdn=["a.example.com", "b.example.com"]))
    accounts = (an_account(), an_account(sAMAccountName="", upn="petrov@example.com"))

    assert found(*events, assets=assets, accounts=accounts) == {
        "hosts": ["dc01", "ws-17", "a.example.com", "b.example.com"],
        "ips": ["10.0.0.8", "10.0.0.7", "10.0.0.9", "10.0.1.1"],
        "private_ips": ["10.0.0.8", "10.0.0.7", "10.0.0.9", "10.0.1.1"],
        "users": ["ivanov", "root", "petrov@example.com"],
        "hashes": ["aa", "bb"],
        "urls": ["https://x/?a=1"],
    }


def test_every_kind_is_there_as_a_list_of_texts_though_there_is_nothing() -> None:
    assert observables(None) == {key: [] for key in KEYS}
    assert set(KEYS) >= {"hosts", "ips", "users", "hashes", "urls", "domains", "files"}


def test_of_nonsense_there_are_none() -> None:
    events = ({"SourceAddress": 7, "FileHash": None, "DeviceHostName": "  ", "BaseEvents": "x"}, {"BaseEvents": [1]})
    assets = ({"fqdn": None, "ipAddresses": None}, {"ipAddresses": [None, 1, {}]}, {})

    assert found(*events, assets=assets, accounts=({},)) == {}


def test_events_nested_without_end_are_followed_to_a_depth() -> None:
    event: dict[str, Any] = {"SourceUserName": "deepest"}
    for level in range(5000):
        event = {"SourceUserName": f"level {level}", "BaseEvents": [event]}

    assert found(event) == {"users": [f"level {level}" for level in range(4999, 4998 - DEEPEST, -1)]}


# Hashes


def test_the_hashes_that_sysmon_writes_as_one_value_are_split() -> None:
    assert found({"FileHash": SYSMON}) == {"hashes": [SHA1, MD5, SHA256, IMPHASH], "imphashes": [IMPHASH]}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (MD5, [MD5]),
        (f"MD5={MD5}", [MD5]),
        (f"md5:{MD5}; sha256:{SHA256}", [MD5, SHA256]),
        (f"MD5 = {MD5}", [MD5]),
        (f"{SHA1}|{MD5}", [SHA1, MD5]),
        (f"QUICKHASH={MD5}", [MD5]),
        (f"SHA1={SHA1},IMPHASH={'0' * 32}", [SHA1]),
        (f"SHA1=-,MD5={MD5}", [MD5]),
        (f"{SHA1},{SHA1.lower()}", [SHA1]),
        ("ssdeep=3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C", ["3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C"]),
        ("1B2M2Y8AsgTpgAmY7PhCfg==", ["1B2M2Y8AsgTpgAmY7PhCfg=="]),
        (f"not computed, {MD5}", [MD5]),
    ],
)
def test_hashes_come_one_by_one_without_the_names_of_their_algorithms(written: str, read: list[str]) -> None:
    assert found({"FileHash": written}) == {"hashes": read}


# Addresses


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("192.0.2.5", "192.0.2.5"),
        ("::ffff:192.0.2.5", "192.0.2.5"),
        ("::FFFF:c000:205", "192.0.2.5"),
        ("192.0.2.5:443", "192.0.2.5"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_an_address_has_one_notation(written: str, read: str) -> None:
    assert found({"SourceAddress": written}, {"DestinationAddress": read}) == {"ips": [read], "public_ips": [read]}


@pytest.mark.parametrize(
    ("mark", "addresses"),
    [
        ("loopback_ips", ["127.0.0.1", "127.8.8.8", "::1"]),
        ("empty_ips", ["0.0.0.0", "::"]),
        ("private_ips", ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254"]),
        ("private_ips", ["fd00::1", "fe80::1", "224.0.0.251", "ff02::fb", "239.255.255.250", "255.255.255.255"]),
        ("public_ips", ["1.2.3.4", "172.32.0.1", "100.128.0.1", "2a00:1450:4010::1", "203.0.113.7"]),
    ],
)
def test_addresses_are_marked_by_where_they_mean_something(mark: str, addresses: list[str]) -> None:
    assert found(*({"SourceAddress": address} for address in addresses)) == {"ips": addresses, mark: addresses}


def test_the_zone_of_an_address_is_left_out() -> None:
    events = ({"SourceAddress": "fe80::1%eth0"}, {"SourceAddress": "fe80::1%12"}, {"DestinationAddress": "FE80:0::1"})

    assert found(*events) == {"ips": ["fe80::1"], "private_ips": ["fe80::1"]}


def test_several_addresses_in_one_value_come_one_by_one() -> None:
    assert found({"DeviceAddress": "10.0.0.1, fe80::1;192.0.2.5"})["ips"] == ["10.0.0.1", "fe80::1", "192.0.2.5"]


def test_what_stands_in_the_wrong_field_comes_under_the_kind_it_is() -> None:
    events = (
        {"SourceAddress": "ec2.amazonaws.com"},
        {"DeviceHostName": "::ffff:10.0.0.5"},
        {"SourceAddress": "7 of 9"},
    )

    assert found(*events) == {"hosts": ["ec2.amazonaws.com"], "ips": ["10.0.0.5"], "private_ips": ["10.0.0.5"]}


def test_texts_without_end_cost_no_more_than_their_length() -> None:
    """A sender may write megabytes into any field; what takes the square of that stands still for minutes."""
    blanks, digits = "a" + " " * 300_000 + "b", "1" * 300_000
    fields = ("DeviceHostName", "SourceAddress", "FileHash", "RequestUrl", "SourceDnsDomain", "SourceProcessName")
    started = time.process_time()

    for text in (blanks, digits, "a-" * 150_000, "a=" * 150_000, "1." * 150_000, "[" * 300_000, "://" + "[" * 300_000):
        observables(Contents(events=(dict.fromkeys(fields, text),)))

    assert time.process_time() - started < 5


@pytest.mark.parametrize("field", ["FileHash", "DeviceAddress"])
def test_a_text_of_megabytes_is_no_list_of_hashes_or_addresses(field: str) -> None:
    """As values it would be ten times as much, taken apart anew for every request while nothing else goes on."""
    values = [f"{number:08x}" if field == "FileHash" else f"fe80::{number:x}" for number in range(100_000)]

    assert found({field: ",".join(values)}, {field: ",".join(values[:20])}) == found({field: ",".join(values[:20])})


# No value, and twice the same


WORDS = ("N/A", "n/a", "(null)", "<null>", "NULL", "None", "unknown", "%%1793", "<value not set>", "S-1-0-0")
EMPTY_GUID = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("nothing", ["-", " - ", "--", "-\\-", "?", "...", *WORDS, EMPTY_GUID, f"{{{EMPTY_GUID}}}"])
def test_what_windows_writes_for_no_value_is_left_out(nothing: str) -> None:
    fields = ("SourceHostName", "SourceAddress", "DestinationUserName", "FileHash", "RequestUrl", "DestinationNtDomain")

    event = dict.fromkeys([*fields, "FileName", "SourceProcessName"], nothing)
    asset, account = an_asset(fqdn=[nothing], name="ws-17", ipAddresses=[nothing]), an_account(sAMAccountName=nothing)

    assert found(event, assets=[asset], accounts=[account]) == {"hosts": ["ws-17"], "users": ["ivanov@example.com"]}


def test_windows_own_names_are_users_and_no_domains() -> None:
    events = (
        {"SourceUserName": "NT AUTHORITY\\SYSTEM", "SourceNtDomain": "NT AUTHORITY"},
        {"SourceUserName": "LOCAL SERVICE", "SourceNtDomain": "WORKGROUP"},
        {"DestinationUserName": "Administrators", "DestinationNtDomain": "Builtin"},
        {"SourceAddress": "LOCAL"},
    )

    assert found(*events) == {"users": ["NT AUTHORITY\\SYSTEM", "LOCAL SERVICE", "Administrators"]}


def test_what_differs_in_meaningless_case_only_comes_once_as_first_spelt() -> None:
    events = (
        {"DeviceHostName": "DC01.Example.test", "SourceNtDomain": "EXAMPLE", "SourceUserName": "Root"},
        {"DeviceHostName": "dc01.example.test.", "SourceNtDomain": "example", "SourceUserName": "root"},
        {"DeviceHostName": "\\\\dc01.example.test", "FilePath": "C:\\Windows\\Explorer.EXE", "FileName": "Run.sh"},
        {"FilePath": "c:\\windows\\explorer.exe", "FileName": "run.sh"},
    )

    assert found(*events) == {
        "hosts": ["DC01.Example.test"],
        "domains": ["EXAMPLE"],
        "users": ["Root", "root"],
        "files": ["C:\\Windows\\Explorer.EXE", "Run.sh", "run.sh"],
    }


# Domains and files


def test_domains_are_those_of_events_and_the_hosts_of_their_addresses_in_the_web() -> None:
    events = (
        {"SourceDnsDomain": "example.test.", "DestinationNtDomain": "THESHIRE", "DeviceDnsDomain": "corp.example.test"},
        {"RequestUrl": "https://user:pw@Storage.Example.net:8443/upload?x=1"},
        {"RequestUrl": "http://198.51.100.7/a"},
        {"RequestUrl": "http://[2001:db8::1]:8080/"},
        {"RequestUrl": "/index.php"},
        {"RequestUrl": "http://[broken/"},
        {"RequestUrl": "http://intranet/"},
    )

    gathered = found(*events)

    assert gathered["domains"] == ["example.test", "THESHIRE", "corp.example.test", "storage.example.net"]
    assert gathered["ips"] == ["198.51.100.7", "2001:db8::1"]
    assert len(gathered["urls"]) == 6


def test_files_are_names_and_paths_and_of_processes_only_what_looks_like_one() -> None:
    events = (
        {
            "FileName": "invoice.docm",
            "FilePath": "C:\\Users\\pedro\\invoice.docm",
            "OldFileName": "a",
            "OldFilePath": "/b",
        },
        {"SourceProcessName": "C:\\Windows\\System32\\lsass.exe", "DestinationProcessName": "System"},
        {"DeviceProcessName": "payload.exe"},
        {"DeviceProcessName": "/usr/sbin/sshd"},
    )

    names = ["invoice.docm", "C:\\Users\\pedro\\invoice.docm", "a", "/b"]
    assert found(*events) == {
        "files": [*names, "C:\\Windows\\System32\\lsass.exe", "payload.exe", "/usr/sbin/sshd"],
    }


# Real attacks


def recorded() -> Iterator[Observables]:
    for alert in json.loads(gzip.decompress(RECORDED.read_bytes())):
        assets, accounts = tuple(alert["affectedAssets"]), tuple(alert["affectedAccounts"])
        yield observables(Contents(events=tuple(alert["events"]), assets=assets, accounts=accounts))


@needs_recorded
def test_recorded_attacks_show_values_that_an_irp_can_look_up() -> None:
    everything = list(recorded())

    for one in everything:
        values = [value for kind in one.values() for value in kind]
        assert not [value for value in values if not re.search(r"\w", value)]
        assert all(str(ipaddress.ip_address(address)) == address for address in one["ips"])
        assert all(re.fullmatch(r"[0-9A-F]{32,64}", each) and each.strip("0") for each in one["hashes"])
        assert sorted(one["ips"]) == sorted(address for mark in MARKS if "ips" in mark for address in one[mark])
        for kind in ("hosts", "hashes", "domains", "ips"):
            assert len(one[kind]) == len({value.casefold() for value in one[kind]})
    together = {kind: {value for one in everything for value in one[kind]} for kind in KEYS}
    assert {"NT AUTHORITY\\SYSTEM", "SYSTEM", "wardog"} <= together["users"]
    assert together["loopback_ips"] == {"::1", "127.0.0.1"}
    assert together["public_ips"] == {"1.2.3.4"}
    assert {"THESHIRE", "SIMULANDLABS.COM"} <= together["domains"]
    assert not {"NT AUTHORITY", "WORKGROUP"} & together["domains"]
    assert {"C:\\Users\\pedro\\Downloads\\payload.exe", "C:\\Windows\\Sysmon.exe"} <= together["files"]
