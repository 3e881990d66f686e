"""Routes: which alert goes where, checked when the configuration is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import Settings, load
from kuma_sync.settings.expressions import Expression

KUMA = {"KUMA_SYNC_KUMA__URL": "kuma.example.com", "KUMA_SYNC_KUMA__TOKEN": "t"}
NORTH = "[targets.north]\nurl = 'n'\n"
IRP = "[irp]\nurl = 'sv'\n"


def loaded(folder: Path, toml: str) -> Settings:
    file = folder / "config.toml"
    file.write_text(toml, encoding="utf-8")
    return load(file, KUMA)


def test_routes_keep_their_order_and_what_is_left_out_fits_all(tmp_path: Path) -> None:
    toml = (
        f"{IRP}{NORTH}[[route]]\ntenants = ['Филиал «Север»', '5f0c']\npriorities = ['HIGH', 'critical']\n"
        "names = ['^R0[12]', '(?i)ransom']\ntarget = 'north'\n[[route]]\ntarget = 'irp'\n[[route]]\ntarget = 'ignore'"
    )

    first, second, third = loaded(tmp_path, toml).route

    assert (first.tenants, first.priorities) == (("Филиал «Север»", "5f0c"), ("high", "critical"))
    assert first.names == (Expression("^R0[12]"), Expression("(?i)ransom"))
    assert [one.target for one in (first, second, third)] == ["north", "irp", "ignore"]
    assert (second.tenants, second.priorities, second.names) == ((), (), ())


WRONG = [
    ("target = 'nroth'", "target: there is no target 'nroth'; did you mean \"north\"?"),
    ("target = 'East'", "target: there is no target 'East' (known: ignore, irp, north)"),
    ("target = 'North'", "target: there is no target 'North'; did you mean \"north\"?"),
    ("names = ['x']", "target: is required"),
    (
        "target = 'north'\nnames = ['a', '(b']",
        "names: is no RE2 expression: missing ): (b",
    ),
    ("target = 'north'\nnames = ['(a{1000}){1000}']", "names: is no RE2 expression: "),
    (
        "target = 'north'\nnames = ['a(?=b)']",
        "names: is no RE2 expression: invalid perl operator",
    ),
    (
        f"target = 'north'\nnames = ['{'(' * 3000}{')' * 3000}']",
        "names: is no RE2 expression: it is longer",
    ),
    ("target = 'north'\nnames = ['']", "names: expected a regular expression, in quotes"),
    ("target = 'north'\nnames = [5]", "names: expected a regular expression, in quotes"),
    ("target = 'north'\nnames = 'a'", "names: expected a list"),
    ("target = 'north'\npriorities = ['hgh']", "priorities: 'hgh' is not known, expected one of low, medium, high, cr"),
    ("target = 'north'\ntenants = ['']", "tenants: must not be empty"),
    ("target = 'north'\ntenant = ['x']", "tenant: is not a known key, did you mean route[2].tenants?"),
]


@pytest.mark.parametrize(("toml", "sentence"), WRONG, ids=[sentence[:50] for _toml, sentence in WRONG])
def test_a_wrong_route_is_named_by_its_number(tmp_path: Path, toml: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"{IRP}{NORTH}[[route]]\ntarget = 'irp'\n[[route]]\n{toml}")

    assert caught.value.lines[0].startswith(f"route[2].{sentence}")
    assert len(caught.value.lines) == 1


def test_a_route_may_lead_to_irp_only_where_irp_is_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"{NORTH}[[route]]\ntarget = 'irp'")

    assert str(caught.value) == "route[1].target: there is no target 'irp' (known: ignore, north)"


def test_a_route_may_lead_to_a_target_that_is_broken_or_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"{IRP}{NORTH}token_file = 'gone'\n[[route]]\ntarget = 'north'\n[[route]]\ntarget = 'far-south'")

    settings = load(file, {**KUMA, "KUMA_SYNC_TARGETS__FAR_SOUTH__URL": "s"})

    assert list(settings.broken) == ["north"]
    assert [route.target for route in settings.route] == ["north", "far-south"]


def test_a_route_in_single_brackets_is_told_how_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^route: expected a list of tables, each written \[\[route\]\] in two"):
        loaded(tmp_path, f"{NORTH}[route]\ntarget = 'north'")


def test_problems_of_routes_come_behind_those_of_targets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"{NORTH}ulr = 'x'\n[[route]]\ntarget = 'x'\n[log]\nlevel = 'loud'\n[close]\nwatch = 'x'")

    assert [line.partition(":")[0] for line in caught.value.lines] == [
        *("targets.north.ulr", "route[1].target", "close.watch", "log.level"),
    ]
