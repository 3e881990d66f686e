"""A template or an expression that runs away is cut off, and the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from builders import seen
from irp_desk import Irp, client, small_profile, values_of

from kuma_sync.core.errors import ConfigError, Permanent, RemoteError, Transient
from kuma_sync.irp import bounds
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.expressions import Expression
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.validate import check_profile, compile_profile
from kuma_sync.transport import Answer

SHORT = 0.1

VALUES = values_of(seen(events=[{"ID": str(number), "Name": "x" * 100} for number in range(200)]))

LONG = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    '{{ range(99999) | select("in", range(99999) | list) | list | length }}',
    "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
]
LARGE = [
    '{{ (["x" * 999999] * 999) | join }}',
    '{% set n = namespace(x="x") %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}',
    '{% set n = namespace(x="x") %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}',
    '{% set n = namespace(x="x") %}{% for a in range(99) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}',
    "{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for a in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | json }}",
    "{% set n = namespace(x=[1]) %}{% for a in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=[1]) %}{% for a in range(60) %}{% set n.x = {1: n.x, 2: n.x} %}{% endfor %}{{ n.x ~ 1 }}",
    "{% set n = namespace(x=[1]) %}{% for a in range(60) %}{% set n.x = dict(a=n.x, b=n.x) %}{% endfor %}"
    "{{ n.x | string }}",
    "{% set n = namespace(x=[1], y=[1]) %}{% for a in range(60) %}{% set n.x = [n.x, n.x] %}"
    "{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}",
    "{% for a in range(999) %}{% for e in events %}{{ events | json }}{% endfor %}{% endfor %}",
    '{{ range(99999) | join("x" * 99999) }}',
    '{{ ("x" * 999999) | replace("x", "y" * 999999) }}',
    '{{ ("\n" * 999999) | indent(9999) }}',
    '{% set x = "x" * 999999 %}{% set n = namespace(x=[]) %}'
    "{% for a in range(9999) %}{% set n.x = n.x + [x[1:], x[1:], x[1:], x[1:]] %}{% endfor %}",
    "{% for a in range(999) %}{% for b in range(999) %}" + "x" * 999 + "{% endfor %}{% endfor %}",
    "{% macro f() %}" + "x" * 99999 + "{% endmacro %}{% set n = namespace(x=[]) %}"
    "{% for a in range(99999) %}{% set n.x = n.x + [f()] %}{% endfor %}",
]
FORBIDDEN = [
    '{{ ("x" * 999999) | wordwrap(1) }}',
    '{{ "x" * 10 ** 9 }}',
    '{{ "x" * 1000000000 }}',
    "{{ [1] * 1000000000 }}",
    '{{ "x" | center(1000000000) }}',
    '{{ "x" | indent(1000000000) }}',
    "{{ 1.5 | round(1000000000, 'ceil') }}",
    '{{ "%1000000000d" % 1 }}',
    '{{ "%*d" % (1000000000, 1) }}',
    '{{ "%1000000000d" | format(1) }}',
    '{{ "%(a)1000000000d" % {"a": 1} }}',
    '{{ "%(a)1000000000d" | format(a=1) }}',
    '{{ "%((a))1000000000d" % {"(a)": 1} }}',
    "{{ [1] | batch(1000000000, 0) | list }}",
    "{{ [1] | slice(1000000000) | list }}",
    "{{ [[1], [2]] | sum(start=[]) }}",
    "{% set n = namespace(x=9) %}{% for a in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
]


def profile_of(template: str) -> Profile:
    return small_profile(f"title = {json.dumps(template)}")


def refused(template: str) -> str:
    """Render a template that must fail soon and in little room; return what is told of it."""
    rendering = compile_profile(profile_of(template))["create"].rendering
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.thread_time()
    with pytest.raises(Unrenderable) as caught, bounds.bounded(SHORT):
        rendering.draft(VALUES)
    assert time.thread_time() - began < SHORT + 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < 300
    assert caught.value.where == "create.body.title"
    return caught.value.problem


@pytest.mark.parametrize("template", LONG)
def test_a_template_that_takes_too_long_is_cut_off(template: str) -> None:
    assert refused(template) == f"was cut off after {SHORT} s"


@pytest.mark.parametrize("template", LARGE)
def test_a_template_that_makes_too_much_is_cut_off(template: str) -> None:
    # Values that stand in many places are walked through, until one or the other is over.
    assert refused(template) in ("was cut off at 64 MB", f"was cut off after {SHORT} s")


@pytest.mark.parametrize("template", FORBIDDEN)
def test_a_step_that_nobody_could_stop_is_not_taken(template: str) -> None:
    told = refused(template)

    assert any(words in told for words in ("not allowed here", "takes a number up to", "takes at most", "adds numbers"))


@pytest.mark.parametrize("template", ["{% for a in range(9) %}" * 40 + "{% endfor %}" * 40, "(" * 9000])
def test_a_template_that_is_nested_too_deeply_earns_a_sentence(template: str) -> None:
    expression = template if "for" in template else f"{{{{ {template} }}}}"

    with pytest.raises(ConfigError, match="is no valid template"):
        check_profile(profile_of(expression), options={})


@pytest.mark.parametrize("number", ["9" * 5000, "1e999", '"nan" | float'])
def test_a_number_that_no_template_can_hold_earns_a_sentence(number: str) -> None:
    with pytest.raises(ConfigError, match=r"create.body.title (is no valid template|fails on the sample alert)"):
        check_profile(profile_of(f"{{{{ {number} }}}}"), options={})


def test_fields_together_have_one_budget() -> None:
    loop = "{% for a in range(9000) %}{{ 'x' * 999 }}{% endfor %}"
    rendering = compile_profile(small_profile("\n".join(f'f{n} = "{loop}"' for n in range(9))))["create"].rendering

    with pytest.raises(Unrenderable, match="f3"):
        rendering.draft(VALUES)


def test_usual_templates_of_a_large_alert_stay_within_their_bounds() -> None:
    """32 MB of events, the most that an alert has, written out twice and looked through."""
    events = [{"ID": str(number), "Message": "y" * 32_000, "Tags": ["a"]} for number in range(1000)]
    body = (
        'all = "{{ events }}"\nraw = "{{ events | json }}"\n'
        'names = \'{{ events | map(attribute="ID") | unique | join(", ") }}\'\n'
        'few = \'{% for e in events if e.ID == "7" %}{{ e.ID ~ "-" ~ e.Tags[0] }}{% endfor %}\''
    )
    rendering = compile_profile(small_profile(body))["create"].rendering

    draft = rendering.draft({**VALUES, "events": events})

    assert draft.body is not None
    assert (len(str(draft.body["raw"])) > 32_000_000, draft.body["few"]) == (True, "7-a")


def test_a_loop_keeps_what_jinja_says_of_it() -> None:
    template = (
        "{% for a, b in [[1, 2], [3, 4]] %}{{ loop.index }}/{{ loop.length }}{{ a }}{{ b }}{{ loop.last }} {% endfor %}"
        '{% for x in [] %}{% else %}none {% endfor %}{{ 1 in [1] }} {{ {"k": [1, "a"]} | json }} '
        '{{ "%s-%02d" % ("a", 5) }}'
    )
    rendering = compile_profile(profile_of(template))["create"].rendering

    body = rendering.draft(VALUES).body

    assert body == {"title": '1/212False 2/234True none True {"k": [1, "a"]} a-05'}


def test_a_profile_that_runs_away_on_the_sample_is_refused_at_start() -> None:
    told = rf"create.body.title fails on the sample alert: was cut off after {SHORT} s"
    with pytest.raises(ConfigError, match=told), bounds.bounded(SHORT):
        check_profile(profile_of(LONG[0]), options={})


async def loop_goes_on(work: Callable[[], object]) -> tuple[float, BaseException | None]:
    """Return the longest time for which the event loop stood still while something was done, and how that ended."""
    longest, ended = 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal longest
        while not ended.is_set():
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        await asyncio.sleep(0.01)
        try:
            await bounds.patiently(work)
            error = None
        except (RemoteError, Unrenderable) as failed:
            error = failed
        ended.set()
    return longest, error


async def test_the_event_loop_goes_on_while_a_template_runs_away() -> None:
    async with client(Irp((201, {})), profile=profile_of(LONG[0])) as irp_client:
        longest, error = await loop_goes_on(partial(irp_client.draft, "create", VALUES))

    assert isinstance(error, Permanent)
    assert (error.summary, error.detail) == ("the template create.body.title failed", "was cut off after 2 s")
    assert longest < 1


async def test_a_template_that_runs_away_leaves_the_threads_of_others_alone() -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    rendering = compile_profile(profile_of(LONG[0]))["create"].rendering

    running = asyncio.create_task(bounds.patiently(partial(rendering.draft, VALUES)))
    await asyncio.sleep(0)
    await asyncio.to_thread(int)

    assert not running.done()
    with pytest.raises(Unrenderable):
        await running


async def test_what_takes_longer_than_a_moment_is_done_all_the_same() -> None:
    template = "{% for a in range(400) %}{% for b in range(1500) %}{% endfor %}{% endfor %}done"
    async with client(Irp((201, {})), profile=profile_of(template)) as irp_client:
        began = time.thread_time()
        draft = await bounds.patiently(partial(irp_client.draft, "create", VALUES))
        here = time.thread_time() - began

    assert draft.body == {"title": "done"}
    assert here < bounds.TIME


DOUBLED = " | ".join(["[@, @]"] * 60)
EXPRESSIONS = [
    f"{DOUBLED} | to_string(@)",
    " | ".join(["[@, @][]"] * 60),
    f"({DOUBLED}) == ({DOUBLED})",
    " | ".join(["[@, @][]"] * 20) + " | " + "[*].".join(["[@, @]"] * 30),
    "join(to_string(@), " + " | ".join(["[@, @][]"] * 22) + " | [*].to_string(@))",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_that_runs_away_is_cut_off(expression: str) -> None:
    update = f'[update]\nmethod = "PUT"\npath = "/x"\nok_when = {json.dumps(expression)}\n'
    answers = compile_profile(small_profile(more=update))["update"].answers
    began = time.thread_time()

    with pytest.raises(Permanent, match=r"update.ok_when was cut off (after 0.1 s|at 64 MB)"), bounds.bounded(SHORT):
        answers.judge(Answer(status=200, body=b'{"a": [1]}', changes=True))

    assert time.thread_time() - began < SHORT + 1


UNREADABLE = ["(" * 9000, "!" * 9000 + "a", "a[" + "9" * 5000 + "]", "`" + "[" * 50_000 + "`", "a" + " && a" * 9000]


@pytest.mark.parametrize("expression", UNREADABLE, ids=lambda text: text[:9])
def test_an_expression_that_nobody_can_read_earns_a_sentence(expression: str) -> None:
    with pytest.raises(ConfigError, match=r"create.ok_when is no valid JMESPath"):
        check_profile(small_profile(create=f"ok_when = {json.dumps(expression)}"), options={})


ODD = ["contains(t, n)", "merge(o, l)", "ceil(i)", "avg([h, i])", "l[::0]"]


@pytest.mark.parametrize("expression", ODD)
def test_an_expression_finds_nothing_in_what_it_did_not_expect(expression: str) -> None:
    tree = {"t": "text", "n": 1, "o": {"a": 1}, "l": [1], "i": float("inf"), "h": 10**400}

    assert Expression(expression, "find.extract.id").search(tree) is None


async def test_a_create_whose_answer_runs_away_may_have_happened() -> None:
    profile = small_profile(create=f"ok_when = {json.dumps(EXPRESSIONS[0])}")
    async with client(Irp((201, {"id": "1"})), profile=profile) as irp_client:
        draft = irp_client.draft("create", VALUES)
        with pytest.raises(Transient) as caught, bounds.bounded(SHORT):
            await irp_client.create(draft)

    assert (caught.value.ambiguous, caught.value.unidentified) == (True, True)
    assert caught.value.summary == f"create.ok_when was cut off after {SHORT} s"


def test_jmespath_finds_what_the_library_finds() -> None:
    import jmespath  # the library itself is the measure, here alone

    tree = {"a": {"b": [{"c": 1, "d": "x"}, {"c": 2, "d": "y"}]}, "n": None, "t": "text"}
    for source in (
        *("a.b", "a.x.y", "t.x", "n", "a.b[?c == `2`].d | [0]", "a.b[*].[c, d]", "a.b[?c > `1` && d != 'x'].c", "a.*"),
        *("length(a.b) == `2`", "join('-', a.b[*].d)", "{k: t, l: a.b[0]}", "sort_by(a.b, &d)[-1].c", "a.b[].c", "!n"),
        *("contains(t, 'ex')", "max_by(a.b, &c).d", "map(&c, a.b)", "t == t", "a == {b: a.b}", "a.b[1:]", "nil || t"),
    ):
        assert Expression(source, "x").search(tree) == jmespath.search(source, tree), source
