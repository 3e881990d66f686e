"""Profiles: what is built in, how a file is read, and one plain sentence for every way to get it wrong."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from irp_desk import changed_profile, small_profile
from locked import locked

from kuma_sync.core.errors import ConfigError
from kuma_sync.core.steps import TargetCapabilities
from kuma_sync.irp.load import built_in, load_profile, parse_profile, profile_text
from kuma_sync.irp.validate import capabilities, check_profile

UNVERIFIED = "profile security-vision was never proven against the real product"


def wrong(text: str) -> str:
    """Return the sentence that a profile's text earns."""
    with pytest.raises(ConfigError) as caught:
        check_profile(parse_profile(text, source="my.toml"), options={})
    sentence = str(caught.value)
    assert caught.value.key == "irp.profile"
    assert sentence.startswith("irp.profile: my.toml")
    assert "\n" not in sentence
    return sentence.removeprefix("irp.profile: my.toml").removeprefix(": ")


def with_change(old: str, new: str) -> str:
    text = profile_text("security-vision")
    assert old in text
    return text.replace(old, new)


def without_section(name: str) -> str:
    return re.sub(rf"(?ms)^\[{name}(\.\w+)?\].*?(?=^\[(?!{name})|\Z)", "", profile_text("security-vision"))


# Built in


def test_the_default_profile_is_fit_for_use_and_says_that_it_is_a_template() -> None:
    profile = load_profile("security-vision")

    assert built_in() == ["request-tracker", "rvision-v2", "security-vision", "security-vision-pull", "thehive-v1"]
    assert (profile.name, profile.mode, profile.verified) == ("security-vision", "push", False)
    assert list(profile.operations) == ["probe", "find", "create", "update", "add_events", "close", "list_closed"]
    assert check_profile(profile, options={}) == [UNVERIFIED]
    assert "READ THIS FIRST" in profile_text("security-vision")


def test_a_copy_of_a_built_in_profile_works_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(profile_text("security-vision"), encoding="utf-8")

    profile = load_profile(str(path))

    assert profile.model_dump() == load_profile("security-vision").model_dump()
    assert profile.source == str(path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "security-visio",
            '"security-visio" is neither a built-in profile nor a file; did you mean "security-vision"?',
        ),
        (
            "jira",
            '"jira" is neither a built-in profile nor a file '
            "(known: request-tracker, rvision-v2, security-vision, security-vision-pull, thehive-v1)",
        ),
        ("nowhere/my.toml", "nowhere/my.toml cannot be read: No such file or directory"),
        ("my.toml", "my.toml cannot be read: No such file or directory"),
    ],
)
def test_a_profile_that_is_not_there_is_named(
    name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError) as caught:
        load_profile(name)

    assert str(caught.value) == f"irp.profile: {sentence}"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mine", "{folder}/mine cannot be looked for (Permission denied)"),
        ("mine.toml", "mine.toml cannot be read: Permission denied"),
    ],
)
def test_a_profile_in_a_folder_that_lets_nobody_in_is_named(
    name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with locked(tmp_path), pytest.raises(ConfigError) as caught:
        load_profile(name)

    assert str(caught.value) == f"irp.profile: {sentence.format(folder=tmp_path)}"


def test_a_file_that_is_no_text_and_a_directory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="is UTF-16 text"):
        load_profile(str(path))
    with pytest.raises(ConfigError, match="Is a directory"):
        load_profile(str(tmp_path))


def test_the_text_of_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match='there is no built-in profile "securityvision"; did you mean'):
        profile_text("securityvision")


# Broken profiles


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[profile]", "[profile", "is not valid TOML at line 14, column 9: a section is written"),
        ("verified = false", f"verified = {'9' * 5000}", "holds a whole number of more than 64 bits at line"),
        ("verified = false", f"verified = {'[' * 5000}", "is nested too deep"),
        ('mode = "push"', 'mode = "pull"', r'mode = "pull" sends nothing: take out \['),
        ('name = "security-vision"', "", "profile.name is missing"),
        ("verified = false", "verfied = false", 'profile.verfied is not known; did you mean "verified"'),
        ("verified = false", 'verified = "no"', "profile.verified: expected true or false"),
        ('kind = "bearer"', 'kind = "login"', 'auth: kind = "login" needs the section'),
        ('kind = "bearer"', 'kind = "header"', 'auth: kind = "header" needs name, that of the header'),
        ('kind = "bearer"', 'kind = "header"\nname = "X Token"', "auth: name is no name of a header"),
        ("[find]", "[finds]", 'finds is not known; did you mean "find"'),
        ("[find.extract]", "[find.extracts]", 'find.extracts is not known; did you mean "extract"'),
        ('key = "externalId"', 'kei = "externalId"', 'find.extract.kei is not known; did you mean "key"'),
        ("[create]\nmethod", "[create]\nmetod", 'create.metod is not known; did you mean "method"'),
        ('method = "PATCH"', 'method = "PTCH"', "update.method: 'PTCH' is not known, expected one of GET, "),
        ('path = "/api/v1/incidents"', 'path = "api/v1/incidents"', '(create|probe).path: must start with one "/"'),
        ('path = "/api/v1/incidents"', 'path = "//evil.example.com/"', '(create|probe).path: must start with one "/"'),
        ('path = "/api/v1/incidents"', 'path = "/api/v1/incidents?a=1"', r'(create|probe).path: must hold no "\?"'),
        ('settle = "5s"', 'settle = "soon"', "find.settle: expected a duration"),
        ('settle = "5s"', "batch = 5", "find.batch is not known"),
        ("batch = 500", "batch = 0", "add_events.batch: must be at least 1"),
        (
            "batch = 500",
            'encoding = "xml"',
            "add_events.encoding: 'xml' is not known, expected one of json, form, multipart, text",
        ),
        ("ok_status = [200, 201]", "ok_status = []", "create.ok_status: expected at least one entry"),
        ("ok_status = [200, 201]", 'ok_status = ["200"]', "create.ok_status.0: expected a whole number"),
        (
            "{ status = 409 }",
            "{ status = 200 }",
            "create.duplicate_when: status = 200 alone is no refusal: say with `when` which answers are meant",
        ),
        ("{ status = 409 }", "{ code = 409, status = 409 }", "create.duplicate_when.code is not known"),
        ('low = "Low"', "low = []", "maps.severity.low"),
        ('number = "number"', 'number = "number["', "find.extract.number is no valid JMESPath"),
        ('number = "number"', 'number = "lenght(@)"', 'no JMESPath function "lenght"; did you mean "length"'),
        ("duplicate_when", 'ok_when = "a =="\nduplicate_when', "create.ok_when is no valid JMESPath"),
        ("status == 'closed'", "status = 'closed'", "find.closed_when is no valid JMESPath"),
        ("{{ alert.name }}", "{{ alert.name", "create.body.title is no valid template: unexpected end of template"),
        ("{{ alert.name }}", "{{ alert.name | uper }}", 'body.title there is no filter "uper"; did you mean "upper"'),
        ("{{ alert.name }}", "{{ alert.nmae }}", 'body.title there is no alert.nmae; did you mean "name"'),
        (
            "{{ alert.name }}",
            "{{ alrt.name }}",
            'create.body.title there is no value "alrt" here; did you mean "alert"',
        ),
        ("{{ alert.name }}", "{{ incident.id }}", 'create.body.title there is no value "incident" here'),
        ("{{ alert.name }}", "{{ alert.name is strnge }}", "create.body.title is no valid template: No test named"),
        ("{{ alert.name }}", "{{ options.title }}", "create.body.title fails on the sample alert: .*'title'"),
        ("{{ alert.name }}", "{{ key, alert.name }}", "create.body.title is no valid template: chunk after expression"),
        (
            "/{{ incident.id }}/close",
            "/{{ '' }}/close",
            "close.path fails on the sample alert: a value in a path is empty",
        ),
        ("/{{ incident.id }}/close", "/../close", 'close.path fails on the sample alert: a part of the path is "."'),
        ("{{ alert.name }}", "{{ 1 / 0 }}", "create.body.title fails on the sample alert: division by zero"),
        ("{{ alert.name }}", "{% if false %}{{ nothing }}{% endif %}", 'body.title there is no value "nothing"'),
        ("{{ alert.name }}", "{% if false %}{{ key | nothing }}{% endif %}", 'there is no filter "nothing"'),
        ('map("severity")', 'map("severty")', r'there is no \[maps.severty\]; did you mean "severity"'),
        ("{{ key }}", "{{ kye }}", 'find.query.externalId there is no value "kye" here; did you mean "key"'),
        ("{{ since }}", "{{ sinse }}", 'list_closed.query.updatedSince there is no value "sinse" here'),
        ("{{ incident.id }}/close", "{{ incident.uuid }}/close", "close.path there is no incident.uuid"),
        ('rule = "{{ alert.rule_id }}"', "rule = 2026-01-01", "create.body.rule is a date; write it as text"),
        (
            '[create.extract]                   # JMESPath into the answer\nid = "id"',
            "[create.extract]",
            "create.extract.id",
        ),
        ('items = "items"\nid = "id"\nkey', 'id = "id"\nkey', "find.extract.items is missing"),
        ('updated = "updatedAt"', "", "list_closed.extract.updated is missing"),
        (
            '[add_events.body]\nevents = "{{ events }}"',
            '[add_events.body]\nx = "{{ key }}"',
            "add_events.body has no field",
        ),
        ("closed_when = \"status == 'closed'\" # what", "# what", "list_closed.closed_when is missing"),
    ],
)
def test_a_broken_profile_earns_one_sentence_with_its_place(old: str, new: str, sentence: str) -> None:
    assert re.search(sentence, wrong(with_change(old, new)))


@pytest.mark.parametrize("section", ["create", "profile"])
def test_a_section_that_must_be_there_is_missed(section: str) -> None:
    assert wrong(without_section(section)) == f"the section [{section}] is missing"


def test_a_section_that_is_no_table_is_refused() -> None:
    assert wrong("create = 3\n[profile]\nname = 'x'").startswith("create: expected a table")


def test_a_list_of_closed_must_name_incidents_somehow() -> None:
    text = profile_text("security-vision")
    head, marker, tail = text.rpartition("[list_closed.extract]")

    sentence = wrong(head + marker + tail.replace('id = "id"\nkey = "externalId"\n', ""))

    assert sentence == "list_closed.extract.id is missing (or key)"


# Fit, but


def test_what_a_profile_cannot_do_is_said_with_its_consequence() -> None:
    warnings = check_profile(small_profile(), options={})

    assert [warning.partition(":")[0] for warning in warnings] == [
        "no [find] in the profile",
        "no [close] in the profile",
        "no [list_closed] in the profile",
        "no [probe] in the profile",
    ]


def test_a_template_that_fails_only_on_a_poor_alert_is_a_warning() -> None:
    profile = small_profile('title = "{{ assets[0].name }}"')

    warnings = check_profile(profile, options={})

    assert warnings[0].startswith("create.body.title fails on an alert without optional fields: ")


def test_options_reach_the_templates() -> None:
    profile = changed_profile(("{{ alert.name }}", "{{ options.prefix }} {{ alert.name }}"))

    assert check_profile(profile, options={"prefix": "[KUMA]"}) == [UNVERIFIED]


# What the IRP can do


def test_the_desk_can_what_the_profile_has() -> None:
    full = load_profile("security-vision")

    assert capabilities(full, to_irp=True) == TargetCapabilities(settle=timedelta(seconds=5))
    assert capabilities(full, to_irp=False) == TargetCapabilities(may_close=False)
    assert capabilities(small_profile(), to_irp=True) == TargetCapabilities(
        can_find=False,
        can_update=False,
        create_carries_events=False,
        update_carries_events=False,
        batch=None,
        may_close=False,
    )


def test_the_batch_is_the_profiles() -> None:
    assert capabilities(changed_profile(("batch = 500", "batch = 7")), to_irp=True).batch == 7


def test_the_settle_time_is_the_profiles() -> None:
    assert capabilities(changed_profile(('settle = "5s"', 'settle = "2m"')), to_irp=True).settle == timedelta(minutes=2)


OWN = """[profile]
name = "x"
[create]
method = "POST"
path = "/x"
[create.extract]
id = "id"
"""
LIST = """[find]
method = "GET"
path = "/x"
[find.extract]
items = "items"
key = "key"
"""
WRONG = [
    (LIST + 'id = { header = "X-Id" }', "find.extract.id cannot come from a header: the answer is a list"),
    (
        OWN.replace('"id"', '{ header = "X", path = "id" }'),
        "create.extract.id: expected either path, a JMESPath, or header",
    ),
    (OWN.replace('"id"', '{ path = "id", pattern = "[0-9]+" }'), "create.extract.id.pattern: needs a group, in ()"),
    (OWN.replace('"id"', '{ path = "id", pattern = "(" }'), "create.extract.id.pattern: is no RE2 expression"),
    (OWN.replace('"id"', '{ path = "id[" }'), "create.extract.id is no valid JMESPath"),
    (OWN.replace('"id"', '{ paht = "id" }'), 'create.extract.id.paht is not known; did you mean "path"?'),
    (OWN.replace('"id"', "5"), "create.extract.id: expected a JMESPath, in quotes, or a table"),
    (
        OWN.replace('"/x"', '"/{{ secrets.a }}"'),
        "create.path secrets may be used in headers, query and [auth.login] only",
    ),
    (OWN.replace('"/x"', '"/x"\nquery = { a = "{{ secrets }}" }'), "create.query.a secrets are used one by one"),
    (
        OWN.replace('"/x"', '"/x"\nencoding = "text"\nbody = { a = "b" }'),
        'create: encoding = "text" needs a body that is one',
    ),
    (OWN.replace('"/x"', '"/x"\nbody = "b"'), 'create: encoding = "json" needs a body that is a table'),
    (
        OWN.replace('"/x"', '"/x"\nencoding = "form"\nbody = { a = { file = "x", content = "y" } }'),
        "create.body.a is a file",
    ),
    (
        OWN.replace('"/x"', '"/x"\nencoding = "multipart"\nbody = { a = { file = "x" } }'),
        "create.body.a is a file: it has",
    ),
    (OWN.replace('"/x"', '"/x"\nmissing_when = "a["'), "create.missing_when is no valid JMESPath"),
    (OWN.replace('"/x"', '"/x"\nretry_when = 5'), "create.retry_when: expected a JMESPath, in quotes, or a table with"),
    (OWN.replace('"/x"', '"/x"\nmissing_when = { when = "a" }'), "create.missing_when.status is missing"),
    (
        OWN.replace('"/x"', '"/x"\nmissing_when = { staus = 200 }'),
        'create.missing_when.staus is not known; did you mean "status"?',
    ),
    (
        OWN.replace('"/x"', '"/x"\nretry_when = { status = 200, when = "a[" }'),
        "create.retry_when.when is no valid JMESPath",
    ),
    (OWN.replace('"/x"', '"/x"\nretry_when = "no(a)"'), 'create.retry_when there is no JMESPath function "no"'),
    (
        OWN.replace('"/x"', '"/x"\nretry_when = "fault.code == \\"BUSY\\""'),
        """create.retry_when takes "BUSY" for a field of that name: write 'BUSY' for a text, or @."BUSY" for the""",
    ),
    (OWN.replace('"/x"', """"/x"\nok_when = '"YES" == state.code || ok'"""), 'create.ok_when takes "YES" for a field'),
    (OWN.replace('"/x"', """"/x"\nmissing_when = '!contains(a, "b c")'"""), 'create.missing_when takes "b c" for a'),
    (LIST + """id = 'r[?s == "x"].id'""", 'find.extract.id takes "x" for a field of that name'),
    (OWN + '[get]\nmethod = "GET"\npath = "/x"', "get.extract is empty: say which fields or values are to be read"),
    (
        OWN + '[update]\nmethod = "PUT"\npath = "/x"\nencoding = "text"\nbody = "{{ events | json }}"',
        "update.body is one text, so it would be sent for new events alone: use events in [add_events]",
    ),
    (
        OWN + '[auth]\nkind = "login"\ncookie = true\n[auth.login]\nmethod = "POST"\npath = "/{{ key }}"',
        'auth.login.path there is no value "key" here',
    ),
    (
        OWN + '[auth]\nkind = "login"\ncookie = true\n[auth.login]\nmethod = "POST"\npath = "/x"\nencoding = "form"\n'
        "body = { a = { b = 1 } }",
        "auth.login.body.a is nested",
    ),
]


@pytest.mark.parametrize(
    "expression", ["\"x-code\" == 'BUSY'", 'error."x-code" == `7`', 'a == @."x-code"', "contains(\"x-text\", 'y')"]
)
def test_a_field_whose_name_needs_double_quotes_may_be_compared(expression: str) -> None:
    text = OWN.replace('"/x"', f'"/x"\nretry_when = """{expression}"""')

    assert check_profile(parse_profile(text, source="my.toml"), options={})


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_a_request_or_an_answer_that_cannot_be_meant_earns_a_sentence(text: str, sentence: str) -> None:
    assert wrong(text if text.startswith("[profile]") else OWN + text).startswith(sentence)
