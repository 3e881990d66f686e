"""Profiles that own: what is refused at the load, what is rendered before and after the incident was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from builders import an_asset, seen
from irp_desk import Irp, client, small_profile, values_of

from kuma_sync.core.errors import ConfigError, Permanent, Transient
from kuma_sync.irp.context import CURRENT
from kuma_sync.irp.errors import Missing, Outdated
from kuma_sync.irp.load import parse_profile
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.rendering import Draft
from kuma_sync.irp.responses import Current
from kuma_sync.irp.validate import capabilities, check_profile, compile_profile

GET = """
[get]
method = "GET"
path = "/incidents/{{ incident.id }}"
[get.extract]
etag = { header = "ETag" }
version = "version"
[get.extract.fields]
title = "card.title"
"""
COMMENT = """
[comment]
method = "POST"
path = "/incidents/{{ incident.id }}/comments"
body = { text = "{{ comment }}" }
"""
BODY = 'title = "{{ alert.name }}"\nseverity = "{{ alert.priority }}"\nevents = "{{ events }}"'
KNOWN = values_of(seen(name="R001", assets=[an_asset()]))


def owning(update: str = "", *, body: str = BODY, get: str = GET, more: str = "") -> Profile:
    written = (
        f'[update]\nmethod = "PATCH"\npath = "/incidents/{{{{ incident.id }}}}"\n{update}\n[update.body]\n{body}\n'
    )
    return small_profile(BODY, more=written + get + more)


def draft(profile: Profile, operation: str, current: Current | None = None, **values: object) -> Draft:
    read = {} if current is None else {CURRENT: current.template}
    return compile_profile(profile)[operation].rendering.draft({**KNOWN, **read, **values})


def refusals(profile: Profile) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        check_profile(profile, options={})
    return [line.removeprefix("irp.profile: small.toml: ") for line in refused.value.lines]


def current(fields: Mapping[str, object] | None = None, **values: object) -> Current:
    return Current(fields=fields or {}, values=values)


# What is refused


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (
            owning('until_edited = ["title"]', get=""),
            "update.until_edited needs a [get] operation, which reads what the incident holds",
        ),
        (
            owning('until_edited = ["titel"]'),
            'update.until_edited names "titel", which is no field of update.body; did you mean "title"?',
        ),
        (
            owning('once = ["owner"]'),
            'update.once names "owner", which is no field of update.body (known: events, severity, title)',
        ),
        (
            owning('once = ["owner"]', body=BODY + '\nowner = "us"'),
            'update.once names "owner", which create.body does not have: nothing would ever send it',
        ),
        (
            owning('once = ["title"]\nuntil_edited = ["title"]'),
            'update.once and update.until_edited both name "title": it is one or the other',
        ),
        (
            owning('until_edited = ["severity"]'),
            'update.until_edited names "severity", which get.extract.fields does not read (known: title)',
        ),
        (
            owning('until_edited = ["events"]', get=GET + 'events = "events"'),
            'update.until_edited names "events", which holds events: these are added, not compared',
        ),
        (
            owning('until_edited = ["ref"]', body=BODY + '\nref = "{{ incident.id }}"', get=GET + 'ref = "id"'),
            'update.until_edited names "ref", which tells which incident is meant: it goes with every update',
        ),
        (
            owning(body=BODY + '\ntags = "{{ current.version }} {{ alert.name }}"'),
            "update.body.tags uses current beside values of the alert: it would be a change every time",
        ),
        (
            owning('headers = { If-Match = "{{ current.etak }}" }'),
            'update.headers.If-Match there is no current.etak; did you mean "etag"?',
        ),
        (
            owning('headers = { If-Match = "{{ current.fields.titel }}" }'),
            "update.headers.If-Match fails on the sample alert: 'dict object' has no attribute 'titel'",
        ),
    ],
)
def test_a_profile_that_cannot_keep_its_word_is_refused(profile: Profile, expected: str) -> None:
    assert expected in refusals(profile)


def test_current_is_known_only_where_get_is_and_only_to_writes_of_what_is_there() -> None:
    without = owning('headers = { If-Match = "{{ current.etag }}" }', get="")
    of_create = small_profile('title = "{{ current.version }}"', more=GET)

    assert refusals(without)[0].startswith('update.headers.If-Match there is no value "current" here')
    assert refusals(of_create)[0].startswith('create.body.title there is no value "current" here')


def test_audit_comments_need_a_comment() -> None:
    heading = '[profile]\nname = "x"\naudit_comments = true\n'
    create = '[create]\nmethod = "POST"\npath = "/i"\n[create.extract]\nid = "id"'
    profile = parse_profile(heading + create, source="small.toml")

    assert refusals(profile) == ["profile.audit_comments needs a [comment] operation"]


@pytest.mark.parametrize("owned", ["once", "until_edited"])
def test_a_create_that_is_the_upsert_owns_nothing(owned: str) -> None:
    with pytest.raises(ConfigError, match=f"create.{owned} is not known"):
        small_profile(BODY, create=f'{owned} = ["title"]')


@pytest.mark.parametrize(
    "template", ["{{ current.version + 1 }}", "{{ current.version | upper }}", "{{ current.version | join }}"]
)
def test_a_value_of_any_kind_may_have_been_read(template: str) -> None:
    check_profile(owning(body=BODY + f'\nversion = "{template}"'), options={})


def test_what_a_profile_can_do_is_told_to_the_core() -> None:
    plain, commented = owning(), owning(more=COMMENT)

    assert not capabilities(plain, to_irp=True).can_comment
    assert capabilities(commented, to_irp=True).can_comment
    assert not capabilities(commented, to_irp=True).audit_comments


# What is rendered


def test_a_field_that_is_sent_once_is_no_field_of_an_update() -> None:
    profile = owning('once = ["severity"]')

    assert draft(profile, "create").body == {"title": "R001", "severity": "high"}
    told = draft(profile, "update")
    assert (told.body, told.rendered.names) == ({"title": "R001"}, {"title", "events"})


def test_what_holds_the_incident_as_it_was_read_waits_until_it_was() -> None:
    profile = owning(
        'headers = { If-Match = "{{ current.etag }}", X-Plain = "{{ key }}" }',
        body=BODY + '\nversion = "{{ current.version + 1 }}"',
    )

    before = draft(profile, "update")
    after = draft(profile, "update", current(etag='"7"', version=41))

    assert (before.unread, before.body) == (True, {"title": "R001", "severity": "high"})
    assert (after.unread, after.headers["If-Match"]) == (False, '"7"')
    assert after.body == {"title": "R001", "severity": "high", "version": 42}
    assert before.rendered.digests == after.rendered.digests, "what was read is no change"
    assert "version" not in after.rendered.names


def test_a_header_of_what_the_incident_does_not_show_is_left_out() -> None:
    profile = owning('headers = { If-Match = "{{ current.etag }}", X-Empty = "{{ alert.assignee }}" }')

    assert draft(profile, "update", current(etag=None, version=1)).headers == {"X-Empty": ""}


# What is asked


@pytest.mark.parametrize("answer", [{}, {"success": False, "error": "try later"}, [], {"data": {"title": "x"}}])
async def test_an_answer_that_shows_nothing_of_the_incident_is_no_edit(answer: object) -> None:
    irp = Irp(httpx.Response(200, json=answer, headers={"ETag": '"1"'}))

    async with client(irp, profile=owning()) as irp_client:
        with pytest.raises(Permanent, match=r"shows nothing of what get\.extract names"):
            await irp_client.read(irp_client.draft("get", KNOWN))


async def test_get_reads_fields_to_compare_and_values_also_from_headers() -> None:
    irp = Irp(httpx.Response(200, json={"card": {"title": "Checked"}, "version": 7}, headers={"ETag": 'W/"7"'}))
    async with client(irp, profile=owning()) as asked:
        read = await asked.read(asked.draft("get", KNOWN))

    assert irp.lines == ["GET /incidents/1001"]
    assert (read.fields, read.values) == ({"title": "Checked"}, {"etag": 'W/"7"', "version": 7})


@pytest.mark.parametrize(("status", "kind"), [(404, Missing), (500, Transient), (400, Permanent)])
async def test_get_that_is_refused_says_how(status: int, kind: type[Exception]) -> None:
    async with client(Irp((status, {})), profile=owning()) as asked:
        with pytest.raises(kind):
            await asked.read(asked.draft("get", KNOWN))


@pytest.mark.parametrize(
    ("update", "kind"), [('headers = { If-Match = "{{ current.etag }}" }', Outdated), ("", Permanent)]
)
async def test_412_means_changed_meanwhile_only_where_we_said_what_we_had_read(update: str, kind: Any) -> None:
    async with client(Irp((412, {"message": "no"})), profile=owning(update)) as asked:
        told = draft(owning(update), "update", current(etag='"1"', version=1))
        with pytest.raises(kind) as refused:
            await asked.write(told)

    assert type(refused.value) is kind
    assert refused.value.status == 412
