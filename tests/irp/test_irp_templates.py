"""Value templates: types that stay, hostile contents that stay contents, and a sandbox that holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import an_event, events, seen
from irp_desk import small_profile, values_of

from kuma_sync.core.alert import Observation
from kuma_sync.core.errors import ConfigError
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.validate import check_profile, compile_profile

ALERT = seen(events=events("e1", "e2"), priority="high", assignee="")
MAPS = '[maps.severity]\nhigh = "High"\nnumber = 7\n"*" = "Medium"\n[maps.strict]\nlow = 1\n[maps.flag]\ntrue = "yes"'


def body(template: str, alert: Observation = ALERT) -> dict[str, Any]:
    """Return the body of a create whose only field is this template (TOML)."""
    compiled = compile_profile(small_profile(f"field = {template}", maps=MAPS))
    return dict(compiled["create"].rendering.draft(values_of(alert)).body or {})


def field(template: str, alert: Observation = ALERT) -> Any:
    return body(json.dumps(template), alert)["field"]


# Types


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ events_total }}", 2),
        ("{{events_total}}", 2),
        ("{{- events_total -}}", 2),
        ("  {{ events_total }}\n", "  2"),
        ("{{ events_total }} events", "2 events"),
        ("{{ events_total }}{{ events_total }}", "22"),
        ("{{ alert.overflow }}", False),
        ("{{ events_total * 0 }}", 0),
        ("{{ events_total > 1 }}", True),
        ("{{ events_total / 4 }}", 0.5),
        ("{{ events | length }}", 2),
        ("{{ [alert.name, alert.assignee, 1] }}", ["Подбор пароля", 1]),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ {'a': '', 'b': {'c': none, 'd': 0}} }}", {"b": {"d": 0}}),
        ("{{ '}}' }}", "}}"),
        ("{{ '{{ x }}' }}", "{{ x }}"),
        ("{{ events | map(attribute='ID') }}", ["e1", "e2"]),
        ("{{ events | map(attribute='ID') | join(', ') }}", "e1, e2"),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{% if events_total > 1 %}many{% else %}one{% endif %}", "many"),
        ("{% for event in events %}{{ loop.index }}{{ event.ID }}{% endfor %}", "1e12e2"),
        ("{% set ns = namespace(n=0) %}{% set ns.n = 5 %}{{ ns.n }}", "5"),
        ("plain", "plain"),
        ("it is {{ alert.last_seen }}", "it is 2026-01-15T12:00:00Z"),
    ],
)
def test_a_bare_expression_keeps_its_type_and_all_else_is_text(template: str, value: object) -> None:
    found = field(template)

    assert found == value
    assert type(found) is type(value)


def test_a_text_prints_nothing_for_a_value_that_is_not_there() -> None:
    assert field("seen {{ alert.last_seen }}.", seen(last_seen=None)) == "seen ."


@pytest.mark.parametrize(
    ("toml", "value"),
    [
        ("7", 7),
        ("1.5", 1.5),
        ("false", False),
        ("0", 0),
        ("""{ a = "{{ events_total }}", b = { c = "x" } }""", {"a": 2, "b": {"c": "x"}}),
        ("""["{{ alert.priority }}", { n = "{{ events_total }}" }]""", ["high", {"n": 2}]),
    ],
)
def test_trees_keep_their_shape_and_constants_their_type(toml: str, value: object) -> None:
    assert body(toml) == {"field": value}


@pytest.mark.parametrize(
    "toml",
    [
        '""',
        '"{{ alert.assignee }}"',
        '"{{ none }}"',
        '"{{ [] }}"',
        '"{{ {} }}"',
        "[]",
        "{}",
        '{ a = { b = "{{ alert.assignee }}" } }',
        '[["{{ alert.assignee }}"], { a = "" }]',
        '"{{ observables }}"',
    ],
)
def test_what_is_empty_is_left_out(toml: str) -> None:
    assert body(toml, seen(events=[])) == {}


def test_events_travel_as_they_came_with_their_empty_fields() -> None:
    raw = an_event(Message="", Extra={}, Code=None, GroupedBy=[])

    assert field("{{ events }}", seen(events=[raw])) == [raw]


def test_a_template_can_tell_the_marked_observables_from_the_others() -> None:
    base = an_event(ID="e2", DestinationAddress="1.2.3.4", FileHash=f"MD5={'a' * 32},IMPHASH={'b' * 32}")
    alert = seen(events=[an_event(BaseEvents=[base])])

    assert field("{{ observables.public_ips }}", alert) == ["1.2.3.4"]
    assert field('{{ observables.hashes | reject("in", observables.imphashes) | list }}', alert) == ["a" * 32]
    assert field('{{ observables.ips | reject("in", observables.public_ips) | list }}', alert) == ["10.0.0.7"]


# Filters


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ('{{ alert.priority | map("severity") }}', "High"),
        ('{{ "number" | map("severity") }}', 7),
        ('{{ alert.name | map("severity") }}', "Medium"),
        ('{{ alert.overflow | string | map("severity") }}', "Medium"),
        ('{{ (not alert.overflow) | map("flag") }}', "yes"),
        ('{{ alert.first_seen | date("%d.%m.%Y %H:%M", "Europe/Moscow") }}', "15.01.2026 14:50"),
        ("{{ alert.first_seen | date }}", "2026-01-15T11:50:00Z"),
        ('{{ alert.first_seen | date("%H:%M") }}', "11:50"),
        ('{{ alert.first_seen | date(tz="Asia/Yekaterinburg") }}', "2026-01-15T16:50:00+05:00"),
        ('{{ events[0].Timestamp | date("%Y-%m-%d") }}', "2026-01-15"),
        ('{{ alert.first_seen | date("epoch") }}', 1_768_477_800),
        ('{{ alert.first_seen | date("epoch_ms", "Europe/Moscow") }}', 1_768_477_800_000),
        ('since {{ alert.first_seen | date("epoch") }}', "since 1768477800"),
        ("{{ alert.name | truncate(8) }}", "Подбор..."[:5] + "..."),
        ('{{ "abcdefgh" | truncate(6, true, "…") }}', "abcde…"),
        ('{{ ["a", "A", "a", {"x": 1}, {"x": 1}] | unique }}', ["a", "A", {"x": 1}]),
        ('{{ [1, 2] | join("-") }}', "1-2"),
        ('{{ {"a": "é\\"<"} | json }}', '{"a": "é\\"<"}'),
        ("{{ alert.name | upper }}", "ПОДБОР ПАРОЛЯ"),
        ('{{ options.missing | default("none") }}', "none"),
    ],
)
def test_filters(template: str, value: object) -> None:
    assert field(template) == value


def test_a_time_that_is_not_there_is_left_out() -> None:
    assert body("""'{{ alert.last_seen | date("%d") }}'""", seen(last_seen=None)) == {}


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ('{{ alert.priority | map("strict") }}', '[maps.strict] has neither "high" nor "*"'),
        ("{{ alert.priority | map(alert.status) }}", "there is no [maps.new]"),
        ('{{ alert.first_seen | date("%d", "Mars/Olympus") }}', 'there is no time zone "Mars/Olympus"'),
        ('{{ alert.name | date("%d") }}', "Invalid isoformat string"),
        ("{{ options.missing }}", "has no attribute 'missing'"),
        ("x {{ options.missing }}", "has no attribute 'missing'"),
        ("{{ [options.missing] }}", "has no attribute 'missing'"),
        ("{{ events[9].ID }}", "has no"),
        ("{{ 1 // 0 }}", "by zero"),
    ],
)
def test_a_template_that_fails_says_where_and_why(template: str, problem: str) -> None:
    with pytest.raises(Unrenderable) as caught:
        field(template)

    assert caught.value.where == "create.body.field"
    assert problem in caught.value.problem


# Hostile contents

HOSTILE = [
    '"}, {"externalId": "kuma:other',
    "{{ 7 * 7 }}",
    "{% for x in range(100000) %}x{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "line\nbreak\r\n\x00\u2028",
    "\\u0022 \\ ' \" <script>&amp;",
    "%s %(x)s {0.__class__} {alert}",
    "{# comment #}",
    "null",
    "[]",
    "12",
    "true",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("template", ["{{ alert.name }}", "<{{ alert.name }}>", "{{ alert.name | join }}"])
def test_what_an_alert_says_is_never_taken_for_a_template_or_for_json(name: str, template: str) -> None:
    found = field(template, seen(name=name))

    assert found == (f"<{name}>" if template.startswith("<") else name)
    assert json.loads(json.dumps({"field": found})) == {"field": found}


def test_keys_of_events_that_are_called_like_methods_are_keys() -> None:
    event = an_event(items="mine", keys=3, __class__="x")

    assert field("{{ events[0].items }}", seen(events=[event])) == "mine"
    assert field("{{ events[0]['keys'] }}", seen(events=[event])) == 3
    assert field("{{ events[0].__class__ }}", seen(events=[event])) == "x"


# The sandbox


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ alert.__class__ }}",
        "{{ alert['__class__'] }}",
        "{{ alert | attr('__class__') }}",
        "{{ events.append(1) }}",
        "{{ events.__init__.__globals__ }}",
        "{{ options.items() }}",
        "{{ alert.name.upper() }}",
        "{{ '{0.__class__}'.format(alert) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ joiner }}",
        "{{ self }}",
        "{{ self.__init__ }}",
        "{{ range(1000000000) }}",
        "{% for x in range(1000000000) %}x{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ 1000000000 * [1] }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% include 'other' %}",
        "{% import 'os' as os %}",
        "{% extends 'other' %}",
        "{% for x in events %}{{ loop.__class__ }}{% endfor %}",
        "{% for x in events %}{{ loop._iterator }}{% endfor %}",
        "{{ namespace().__class__ }}",
        "{{ events | map(attribute='__class__') | list }}",
        "{{ range }}",
        "{{ dict }}",
    ],
)
def test_a_template_that_reaches_out_is_a_configuration_error(template: str) -> None:
    profile = small_profile(f"field = {json.dumps(template)}")

    with pytest.raises(ConfigError) as caught:
        check_profile(profile, options={})

    assert str(caught.value).startswith("irp.profile: small.toml: create.body.field ")
    assert "\n" not in str(caught.value)


def test_one_template_cannot_leave_anything_behind_for_the_next() -> None:
    compiled = compile_profile(small_profile('a = "{% set key = 1 %}{{ key }}"\nb = "{{ key }}"'))

    rendered = compiled["create"].rendering.draft(values_of(ALERT))

    assert (rendered.body or {})["a"] == "1"
    assert str((rendered.body or {})["b"]).startswith("kuma:")
