"""The words by which an alert is found again."""

from __future__ import annotations

from builders import an_account, an_alert, an_asset, an_event
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import Contents, take_contents
from kuma_sync.core.words import LONGEST, searched, words_of


def contents(
    *events: dict[str, object], assets: tuple[object, ...] = (), accounts: tuple[object, ...] = ()
) -> Contents:
    return take_contents(events, assets=assets, accounts=accounts, max_events=0)  # type: ignore[arg-type]  # any JSON


def test_an_alert_is_found_by_its_name_hosts_addresses_and_users_whatever_their_case() -> None:
    its = contents(
        an_event(SourceHostName="WS-17.corp.example.com", SourceAddress="10.0.0.7", DestinationUserName="CORP\\Ivanov"),
        assets=(an_asset(name="DC-1", fqdn=["dc-1.corp"], ipAddresses=["10.0.0.1"]),),
        accounts=(an_account(),),
    )

    words = words_of(an_alert(name="  Подбор\n ПАРОЛЯ "), its).split("\n")

    assert words == [
        "подбор пароля",
        *("dc-1", "dc-1.corp", "10.0.0.1"),
        *("ivanov", "ivanov@example.com", "иванов"),
        *("ws-17.corp.example.com", "corp\\ivanov", "10.0.0.7"),
    ]


def test_events_that_an_event_was_made_of_count_and_a_value_counts_once() -> None:
    base = [an_event(SourceHostName="inner"), an_event(SourceHostName="INNER"), "no event"]

    words = words_of(an_alert(name="n"), contents({"ID": "1", "BaseEvents": base, "SourceHostName": 7}))

    assert words.split("\n").count("inner") == 1


def test_without_contents_there_is_the_name_alone() -> None:
    assert words_of(an_alert(name="Name"), None) == "name"
    assert words_of(an_alert(name=""), None) == ""


def test_of_a_thousand_hosts_the_newest_are_kept() -> None:
    its = contents(*(an_event(ID=str(number), SourceHostName=f"host-{number:04}") for number in range(1000)))

    words = words_of(an_alert(), its)

    assert "host-0999" in words
    assert "host-0000" not in words


@given(st.text(max_size=400), st.lists(st.text(min_size=1, max_size=300), max_size=8))
def test_words_are_short_enough_for_an_index_and_one_line_each(name: str, hosts: list[str]) -> None:
    its = contents(*(an_event(ID=str(number), SourceHostName=host) for number, host in enumerate(hosts)))

    words = words_of(an_alert(name=name), its)

    assert len(words.encode()) <= LONGEST
    assert "\x00" not in words
    assert words.split("\n")[0] == searched(name) or len(searched(name).encode()) >= LONGEST
